"""FeatureStore on damaged, foreign and hostile files: right bytes or one line that names the file, and no hang."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from theworld.world.store import FeatureStore, StoreDamagedError, StoreError, stored_fingerprint
from theworld.world.store_files import checksum

ITEM_BYTES = 2 * 1 * 3 * 3 * 4
KEYS = ["a", "b", "c", "d"]


def features_of(*values: float) -> torch.Tensor:
    return torch.stack([torch.full((2, 1, 3, 3), float(value)) for value in values])


def filled(folder: Path) -> Path:
    """Return a store of two shards and three commits."""
    store = FeatureStore(folder / "features", "abc", create=True)
    store.put(["a", "b"], features_of(1, 2))
    store.put(["c"], features_of(3))
    FeatureStore(store.folder, "abc").put(["d"], features_of(4))
    return store.folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return filled(tmp_path)


def commit(folder: Path, number: int) -> Path:
    return folder / "commits" / f"{number:08d}.json"


def fields_of(file: Path) -> dict[str, Any]:
    return json.loads(file.read_bytes().partition(b"\n")[2])


def rewrite(file: Path, content: Any) -> None:
    """Write a commit with a right checksum."""
    body = json.dumps(content).encode()
    file.write_bytes(checksum(body).encode() + b"\n" + body)


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replace_by_link(file: Path, target: str) -> None:
    file.unlink()
    file.symlink_to(target)


def replace_by_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def test_a_changed_bit_is_noticed_at_the_first_read_of_its_item(folder: Path) -> None:
    (shard,) = [file for file in (folder / "shards").iterdir() if file.stat().st_size == 3 * ITEM_BYTES]
    flip(shard, ITEM_BYTES + 7)
    store = FeatureStore(folder, "abc")
    assert torch.equal(store.get(["a", "c", "d"]), features_of(1, 3, 4))
    for _ in range(2):
        with pytest.raises(StoreDamagedError, match=f"{shard}.*delete these files"):
            store.get(["a", "b"])
    shard.unlink()
    again = FeatureStore(folder, "abc", create=True)
    assert again.missing(KEYS) == [0, 1, 2]


def test_a_read_item_is_not_compared_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []
    monkeypatch.setattr("theworld.world.store.checksum", lambda row: counted.append(len(row)) or checksum(row))
    store = FeatureStore(folder, "abc")
    store.get(["a", "b", "a"])
    store.get(["a", "c"])
    store.get(KEYS)
    assert counted == [ITEM_BYTES] * 4


STRAYS = [
    "junk.json",
    "._00000000.json",
    "00000001 (1).json",
    "1.json",
    "-0000001.json",
    "0000000٣.json",
    "9" * 240,
    f"{'9' * 200}.json",
]


@pytest.mark.parametrize("name", STRAYS)
def test_a_file_of_another_name_among_the_commits_is_ignored(folder: Path, name: str) -> None:
    (folder / "commits" / name).write_text("{}")
    store = FeatureStore(folder, "abc")
    assert torch.equal(store.get(KEYS), features_of(1, 2, 3, 4))
    store.put(["e"], features_of(5))
    assert commit(folder, 3).exists()


@pytest.mark.parametrize("name", ["99999999.json", "999999999999999.json"])
@pytest.mark.parametrize("content", [b"{}", None])
def test_a_commit_far_beyond_the_others_is_refused_at_once(folder: Path, name: str, content: bytes | None) -> None:
    file = folder / "commits" / name
    file.write_bytes(commit(folder, 2).read_bytes() if content is None else content)
    with pytest.raises(StoreError, match=rf"{name}: [0-9,]+ commits before it are absent.*Move the file"):
        FeatureStore(folder, "abc")


def test_deleted_commits_are_named_in_one_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FeatureStore(folder, "abc")
    for number in range(3, 40):
        store.put([str(number)], features_of(number))
    for number in range(1, 39):
        commit(folder, number).unlink()
    assert FeatureStore(folder, "abc").missing(["a", "c", "39"]) == [1]
    assert [record.getMessage() for record in caplog.records] == [
        f"{commit(folder, 1)} and 37 more commits: gone; the features count as not stored"
    ]


WRONG_FIELDS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no object": lambda fields: [fields],
    "nothing": lambda fields: {},
    "null": lambda fields: None,
    "a missing field": lambda fields: {name: fields[name] for name in fields if name != "keys"},
    "another field": lambda fields: {**fields, "more": 1},
    "a text as offset": lambda fields: {**fields, "offset": "0"},
    "a negative offset": lambda fields: {**fields, "offset": -72},
    "a fractional offset": lambda fields: {**fields, "offset": 0.5},
    "a boolean offset": lambda fields: {**fields, "offset": True},
    "a negative size": lambda fields: {**fields, "item_bytes": -72},
    "another size": lambda fields: {**fields, "item_bytes": 76},
    "an unknown number format": lambda fields: {**fields, "dtype": "int8"},
    "a list as number format": lambda fields: {**fields, "dtype": ["float32"]},
    "a number as shape": lambda fields: {**fields, "shape": 18},
    "negative sides": lambda fields: {**fields, "shape": [-2, -1, 3, 3]},
    "an empty shape": lambda fields: {**fields, "shape": [2, 0, 3, 3], "item_bytes": 0},
    "a nested key": lambda fields: {**fields, "keys": [["a"], "b"]},
    "more keys than checksums": lambda fields: {**fields, "keys": [*fields["keys"], "z"]},
    "no keys": lambda fields: {**fields, "keys": [], "checksums": []},
    "a checksum of another kind": lambda fields: {**fields, "checksums": ["0"] * len(fields["keys"])},
    "a path upwards": lambda fields: {**fields, "shard": "../../outside"},
    "an absolute path": lambda fields: {**fields, "shard": "/etc/passwd"},
    "a NUL": lambda fields: {**fields, "shard": "\0"},
    "a folder's name": lambda fields: {**fields, "shard": "."},
    "no name": lambda fields: {**fields, "shard": ""},
    "a name with a line break": lambda fields: {**fields, "shard": f"{fields['shard']}\n"},
}


@pytest.mark.parametrize("wrong", WRONG_FIELDS)
def test_a_commit_with_a_right_checksum_and_wrong_fields_is_itself_the_damaged_file(folder: Path, wrong: str) -> None:
    outside = folder.parent / "outside"
    outside.write_bytes(b"mine")
    file = commit(folder, 1)
    rewrite(file, WRONG_FIELDS[wrong](fields_of(file)))
    with pytest.raises(StoreDamagedError) as refused:
        FeatureStore(folder, "abc")
    assert refused.value.files == (file,)
    assert "outside" not in str(refused.value).replace(str(file), "")
    assert outside.read_bytes() == b"mine"


@pytest.mark.parametrize("offset", [1, ITEM_BYTES, 2**40, 2**63, 10**30])
def test_a_commit_of_other_bytes_gives_no_wrong_feature(folder: Path, offset: int) -> None:
    file = commit(folder, 0)
    fields = fields_of(file)
    rewrite(file, {**fields, "offset": offset})
    with pytest.raises(StoreDamagedError, match=str(folder)):
        FeatureStore(folder, "abc").get(["a", "b"])


REPLACED: dict[str, Callable[[Path], None]] = {
    "a folder": replace_by_folder,
    "a pipe": replace_by_pipe,
    "a link to itself": lambda file: replace_by_link(file, file.name),
    "a link to a device": lambda file: replace_by_link(file, "/dev/zero"),
}


@pytest.mark.parametrize("kind", REPLACED)
@pytest.mark.parametrize("part", ["shards", "commits"])
def test_another_thing_in_the_place_of_a_file_is_refused_by_its_name(folder: Path, part: str, kind: str) -> None:
    file = sorted((folder / part).iterdir())[0]
    store = FeatureStore(folder, "abc")
    REPLACED[kind](file)
    with pytest.raises(StoreDamagedError, match=str(file)):
        FeatureStore(folder, "abc")
    if part == "shards":
        assert file in store.verify().damaged


def test_a_broken_link_keeps_its_number_and_its_features_count_as_not_stored(folder: Path) -> None:
    store = FeatureStore(folder, "abc")
    commit(folder, 3).symlink_to("nowhere")
    store.put(["e"], features_of(5))
    assert commit(folder, 4).is_file()
    assert torch.equal(FeatureStore(folder, "abc").get(["e"]), features_of(5))


def test_linked_shards_are_read(folder: Path) -> None:
    shutil.move(folder / "shards", folder.parent / "disk")
    (folder / "shards").mkdir()
    for file in (folder.parent / "disk").iterdir():
        (folder / "shards" / file.name).symlink_to(file)
    assert torch.equal(FeatureStore(folder, "abc").get(KEYS), features_of(1, 2, 3, 4))


def test_a_store_without_its_folder_of_commits_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "commits")
    with pytest.raises(StoreError, match=rf"{folder / 'commits'}: No such file.*Copy the whole store"):
        FeatureStore(folder, "abc", create=True)
    (folder / "commits").write_text("")
    with pytest.raises(StoreError, match=rf"{folder / 'commits'}: Not a directory"):
        FeatureStore(folder, "abc", create=True)


ODD_IDENTITIES = [
    b"",
    b"[]",
    b"null",
    b'"fingerprint"',
    b"{}",
    b'{"format": 1}',
    b'{"fingerprint": "abc"}',
    b'{"format": true, "fingerprint": "abc"}',
    b'{"format": 1.0, "fingerprint": "abc"}',
    b'{"format": 1, "fingerprint": null}',
    b'{"format": 1, "fingerprint": ["abc"]}',
    b'{"format": 1, "fingerprint": "a\\nb"}',
    b'{"format": 1, "fingerprint": "' + b"a" * 100_000 + b'"}',
    b'{"format": ' + b"9" * 5000 + b', "fingerprint": "abc"}',
    b"[" * 100_000,
    b"\xff\xfe\x00",
]


@pytest.mark.parametrize("content", ODD_IDENTITIES, ids=lambda content: content[:40].decode("latin-1"))
def test_an_odd_identity_is_refused_in_one_line_that_advises_no_deletion(folder: Path, content: bytes) -> None:
    file = folder / "store.json"
    file.write_bytes(content)
    for call in (lambda: stored_fingerprint(folder), lambda: FeatureStore(folder, "abc", create=True)):
        with pytest.raises(StoreError) as refused:
            call()
        message = str(refused.value)
        assert message.startswith(f"{file} is damaged, or no file of a feature store: give another store folder")
        assert len(message.replace(str(file), "")) < 300
        assert "delete" not in message
    assert file.read_bytes() == content


@pytest.mark.parametrize("kind", REPLACED)
def test_another_thing_in_the_place_of_the_identity_is_refused(folder: Path, kind: str) -> None:
    REPLACED[kind](folder / "store.json")
    with pytest.raises(StoreError, match=r"store\.json"):
        FeatureStore(folder, "abc")


@pytest.mark.parametrize(
    "name", ["photo.jpg", ".bashrc", "Documents/letter.txt", "shards", "shards/0123456789abcdef.shard", "commits/a"]
)
def test_a_folder_of_other_files_does_not_become_a_store(tmp_path: Path, name: str) -> None:
    file = tmp_path / "given" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match=r"given: no feature store, and it has other contents \(.*new or an empty"):
        FeatureStore(tmp_path / "given", "abc", create=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert file.read_bytes() == b"mine"


def test_a_file_does_not_become_a_store(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(StoreError, match=r"photo\.jpg: no feature store"):
        FeatureStore(tmp_path / "photo.jpg", "abc", create=True)


@pytest.mark.parametrize("left", [(), ("shards",), ("shards", "commits"), ("shards", "commits", ".store.json.x1y2")])
def test_an_interrupted_creation_is_finished(tmp_path: Path, left: tuple[str, ...]) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    for name in left:
        (folder / name).touch() if name.startswith(".") else (folder / name).mkdir()
    store = FeatureStore(folder, "abc", create=True)
    store.put(["a"], features_of(1))
    assert torch.equal(FeatureStore(folder, "abc").get(["a"]), features_of(1))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../../outside", "/etc/passwd", "0123456789abcdef.shard", "float16"]),
    st.lists(st.one_of(st.integers(-3, 5), st.text(max_size=3)), max_size=4),
)
FIELDS = ["shard", "offset", "dtype", "shape", "item_bytes", "keys", "checksums", "other"]
BYTES = st.tuples(st.sampled_from(["flip", "cut", "fill"]), st.integers(0, 7), st.integers(0, 10_000))
EDITS = st.tuples(st.just("edit"), st.integers(0, 2), st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1))
THINGS = st.tuples(st.sampled_from(["unlink", *REPLACED]), st.integers(0, 7), st.none())


def damage(folder: Path, how: str, which: int, detail: Any) -> None:
    if how == "edit":
        file = commit(folder, which)
        if file.is_file():
            rewrite(file, {**fields_of(file), **detail})
        return
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if not files:
        return
    file = files[which % len(files)]
    if how in REPLACED:
        REPLACED[how](file)
    elif how == "unlink":
        file.unlink()
    elif how == "cut":
        os.truncate(file, detail % (file.stat().st_size + 1))
    elif how == "fill":
        file.write_bytes(os.urandom(detail))
    elif file.stat().st_size:
        flip(file, detail % file.stat().st_size)


def read_all(folder: Path) -> StoreError | None:
    """Read and verify a store, and return the error; a wrong feature fails the test."""
    try:
        store = FeatureStore(folder, "abc", create=True)
        for key, value in zip(KEYS, (1, 2, 3, 4), strict=True):
            if key in store:
                assert torch.equal(store.get([key]), features_of(value))
        store.verify().raise_if_damaged()
    except StoreError as error:
        return error
    return None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damages=st.lists(st.one_of(BYTES, EDITS, THINGS), min_size=1, max_size=3))
def test_any_damage_gives_right_features_or_one_line_and_touches_nothing_outside(
    tmp_path_factory: pytest.TempPathFactory, damages: list[tuple[str, int, Any]]
) -> None:
    parent = tmp_path_factory.mktemp("damaged")
    folder = filled(parent)
    (parent / "outside").write_bytes(b"mine")
    for how, which, detail in damages:
        try:
            damage(folder, how, which, detail)
        except (ValueError, OSError):  # an earlier damage left no commit to edit
            continue
    error = read_all(folder)
    if error is not None:
        files = error.files if isinstance(error, StoreDamagedError) else ()
        assert str(error).startswith((str(folder), "damaged in the feature store", "the feature store"))
        assert "\n" not in str(error)
        assert str(folder) in str(error)
        assert all(file.is_relative_to(folder) for file in files)
    assert (parent / "outside").read_bytes() == b"mine"
