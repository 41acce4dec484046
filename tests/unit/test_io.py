"""Folders that are whole or put back, and fingerprints that every byte of the weights enters."""

import json
import os
import shutil
from pathlib import Path

import pytest

from theworld import io
from theworld.io import fingerprint_weights, name_of_path, read_lines, recover, replace_folder, whole_folder

NUM_BYTES = 3_000_000
LONG_AGO_NS = 10**18


def folder_with(path: Path, content: str) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text(content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/llava/channel", "llava/channel"),
        ("runs/vsr/channel", "vsr/channel"),
        ("channel", "channel"),
        ("runs", "runs"),
        ("../elsewhere/channel", "elsewhere/channel"),
        ("/scratch/a/channel", "scratch/a/channel"),
    ],
)
def test_folders_that_end_alike_have_names_of_their_own(
    path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert name_of_path(Path(path), "runs").endswith(name)
    assert name_of_path(tmp_path / "runs" / "vsr" / "channel", "runs") == "vsr/channel"


def test_a_folder_takes_the_place_of_another_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = folder_with(tmp_path / "model", "old")

    replace_folder(folder_with(tmp_path / "aside", "new"), target)

    assert (target / "file").read_text() == "new"
    assert names(tmp_path) == ["model"]


def test_where_the_second_rename_fails_the_old_folder_steps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, aside = folder_with(tmp_path / "model", "old"), folder_with(tmp_path / "aside", "new")
    rename = Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self == aside:
            raise OSError(5, "Input/output error")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", failing)

    with pytest.raises(OSError, match="Input/output"):
        replace_folder(aside, target)

    assert (target / "file").read_text() == "old"
    assert names(tmp_path) == ["aside", "model"]


def killed_between_the_renames(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process killed between the two renames leaves: as if nothing after the first had run."""
    aside = folder_with(target.parent / "aside", "new")
    rename = Path.rename

    def killed(self: Path, to: Path) -> Path:
        if self == aside:
            raise KeyboardInterrupt
        return rename(self, to)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            replace_folder(aside, target)
    shutil.rmtree(aside)
    assert not target.exists()


def test_what_a_kill_between_the_renames_took_away_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = folder_with(tmp_path / "model[1]", "old")
    killed_between_the_renames(target, monkeypatch)

    assert recover(target)

    assert (target / "file").read_text() == "old"
    assert names(tmp_path) == ["model[1]"]
    assert not recover(target)


def test_a_folder_that_is_written_anew_after_a_kill_loses_nothing_if_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder_with(tmp_path / "model", "old")
    killed_between_the_renames(target, monkeypatch)

    with pytest.raises(RuntimeError, match="no more"), whole_folder(target):
        raise RuntimeError("no more")

    assert (target / "file").read_text() == "old"


def test_with_two_earlier_folders_none_is_put_back(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder_with(tmp_path / f".model.old.{name}" / "model", name)

    assert not recover(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_replaced_folder_that_is_half_deleted_is_not_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder_with(tmp_path / "model", "old")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda folder: None)
        replace_folder(folder_with(tmp_path / "aside", "new"), target)
    shutil.rmtree(target)

    assert not recover(target)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a large file of weights, last changed long ago, and a cache of its own."""
    monkeypatch.setenv("THEWORLD_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(NUM_BYTES))
    os.utime(folder / "model.safetensors", ns=(LONG_AGO_NS, LONG_AGO_NS))
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read to the end, in order."""
    found: list[str] = []
    digest = io._digest

    def counted(file: Path) -> str:
        found.append(file.name)
        return digest(file)

    monkeypatch.setattr(io, "_digest", counted)
    return found


@pytest.mark.parametrize("position", [*range(0, NUM_BYTES, 333_333), NUM_BYTES - 1])
def test_a_byte_anywhere_changes_the_fingerprint(weights: Path, position: int) -> None:
    before = fingerprint_weights(weights)
    with (weights / "model.safetensors").open("r+b") as stream:
        stream.seek(position)
        stream.write(b"1")

    assert fingerprint_weights(weights) != before


def test_the_names_of_the_files_enter_the_fingerprint(weights: Path) -> None:
    before = fingerprint_weights(weights)
    (weights / "model.safetensors").rename(weights / "other.safetensors")

    assert fingerprint_weights(weights) != before


def test_a_file_is_read_once(weights: Path, read: list[str]) -> None:
    assert fingerprint_weights(weights) == fingerprint_weights(weights)
    assert read == ["model.safetensors"]


def test_two_names_of_one_file_both_count(weights: Path, read: list[str]) -> None:
    before = fingerprint_weights(weights)
    (weights / "second.safetensors").symlink_to(weights / "model.safetensors")

    assert fingerprint_weights(weights) != before
    assert read == ["model.safetensors"]


def test_a_file_that_has_just_changed_is_read_again(weights: Path, read: list[str]) -> None:
    os.utime(weights / "model.safetensors")
    fingerprint_weights(weights)
    fingerprint_weights(weights)

    assert len(read) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"PATH": 3}', b'{"PATH": {"sha256": 5}}'])
def test_a_damaged_cache_is_as_good_as_none(weights: Path, read: list[str], tmp_path: Path, content: bytes) -> None:
    before = fingerprint_weights(weights)
    cache = tmp_path / "cache" / "fingerprints.json"
    (path,) = json.loads(cache.read_bytes())
    cache.write_bytes(content.replace(b"PATH", path.encode()))

    assert [fingerprint_weights(weights), fingerprint_weights(weights)] == [before, before]
    assert len(read) == 2


def test_a_cache_that_cannot_be_written_costs_a_second_reading_only(
    weights: Path, read: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")

    assert fingerprint_weights(weights) == fingerprint_weights(weights)
    assert len(read) == 2
    assert "cannot be written" in caplog.text


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors files"):
        fingerprint_weights(tmp_path)


def test_everything_in_a_folder_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside, target = folder_with(tmp_path / "aside", "new"), tmp_path / "model"
    inner = folder_with(aside / "inner", "new")
    expected = {path.stat().st_ino for path in (aside, aside / "file", inner, inner / "file")}
    synced: set[int] = set()
    before_the_rename: list[set[int]] = []
    fsync, rename = os.fsync, Path.rename

    def noting_fsync(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def noting_rename(self: Path, to: Path) -> Path:
        before_the_rename.append(set(synced))
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "rename", noting_rename)

    replace_folder(aside, target)

    assert before_the_rename == [expected]
    assert tmp_path.stat().st_ino in synced, "the new name itself was not synced"


@pytest.mark.parametrize(
    ("content", "message"), [('{"step": 1}\n{"step":\n', "line 2: no JSON"), ("[1]\n", "line 1: expected")]
)
def test_a_damaged_line_is_named_with_its_file(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"metrics\.jsonl, {message}"):
        read_lines(path)


def test_a_last_line_that_a_kill_cut_off_and_an_absent_file_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_lines(path) == []
    path.write_text('{"step": 1}\n{"st')
    assert read_lines(path) == [{"step": 1}]
