"""A run is continued with the data that it began with: files are told apart by their contents, not by their times."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from theworld.config import DataCompData, DataSettings, MixturePart, TrainingConfig
from theworld.datasets import contents
from theworld.datasets.contents import digests, files_of
from theworld.datasets.factory import open_samples, open_stream
from theworld.training.manifest import MANIFEST_NAME, check_data, check_manifest
from theworld.training.run import train

MakeConfig = Callable[..., TrainingConfig]


def write_llava(path: Path, answer: str, num_rows: int = 12) -> Path:
    def turns(number: int) -> list[dict[str, str]]:
        return [{"from": "human", "value": f"Number {number}?"}, {"from": "gpt", "value": f"{answer} {number}"}]

    rows = [{"id": f"{number}", "conversations": turns(number)} for number in range(num_rows)]
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture
def llava(make_config: MakeConfig, tmp_path: Path) -> TrainingConfig:
    source = write_llava(tmp_path / "train.json", "yes")
    config = make_config(num_steps=2, data=DataSettings(dataset="llava", source=str(source)))
    train(config)
    return config


def test_a_changed_file_is_refused_by_its_name_and_the_same_bytes_are_not(llava: TrainingConfig):
    source = Path(dataclasses.asdict(llava.data)["source"])
    longer = dataclasses.replace(llava, resume=True)
    content = source.read_bytes()
    write_llava(source, "nay")

    with pytest.raises(ValueError, match=r"data: train\.json has other contents since .*checkpoint-2: put the data"):
        train(longer)

    source.write_bytes(content)
    os.utime(source, (1, 1))
    train(longer)


def test_a_changed_part_of_a_mixture_is_refused(make_config: MakeConfig, tmp_path: Path):
    files = [write_llava(tmp_path / f"{name}.json", name) for name in ("first", "second")]
    parts = tuple(MixturePart(data=DataSettings(dataset="llava", source=str(file))) for file in files)
    config = make_config(num_steps=2, mixture=parts)
    train(config)
    write_llava(files[1], "other!")

    with pytest.raises(ValueError, match=r"data: second\.json has other contents"):
        train(dataclasses.replace(config, resume=True))


def test_a_checkpoint_without_digests_is_continued_with_a_warning_as_an_earlier_version_may_have_written_it(
    llava: TrainingConfig, caplog: pytest.LogCaptureFixture
):
    checkpoint = llava.output_dir / "checkpoint-2"
    check_manifest(checkpoint)
    assert MANIFEST_NAME not in caplog.text

    (checkpoint / MANIFEST_NAME).unlink()
    train(dataclasses.replace(llava, resume=True))
    [line] = [record.getMessage() for record in caplog.records if MANIFEST_NAME in record.getMessage()]
    assert line.endswith(
        "checkpoint-2 has no manifest.json: an earlier version wrote it, or the file is lost; its files and the data"
        " are not checked"
    )


@pytest.mark.parametrize("content", ["{}", "[]", '{"data": {}}', '{"files": []}'])
def test_a_manifest_without_digests_of_files_is_damaged(content: str, tmp_path: Path):
    (tmp_path / MANIFEST_NAME).write_text(content)
    with pytest.raises(ValueError, match=r"manifest\.json is damaged: it holds no digests by name"):
        check_manifest(tmp_path)


def test_new_and_missing_files_are_refused(tmp_path: Path):
    manifest = {"data": {"0.tar": "a", "1.tar": "b"}, "validation": {}, "files": {}}
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(manifest))

    check_data(tmp_path, {"data": {"0.tar": "a", "1.tar": "b"}, "validation": {"new.json": "c"}})
    with pytest.raises(ValueError, match=r"data: 2\.tar is new, 1\.tar is gone since"):
        check_data(tmp_path, {"data": {"0.tar": "a", "2.tar": "b"}})


def vsr(folder: Path) -> dict[str, Any]:
    row = {"image": "1.jpg", "caption": "A cat is on a mat.", "label": 1, "relation": "on"}
    (folder / "train.jsonl").write_text(json.dumps(row))
    return {"dataset": "vsr", "source": str(folder / "train.jsonl"), "image_dir": folder}


def open_spatial(folder: Path) -> dict[str, Any]:
    (folder / "rows.json").write_text("[{}]")
    return {"dataset": "open-spatial", "source": str(folder / "rows.json"), "image_dir": folder}


def hf(folder: Path) -> dict[str, Any]:
    data = folder / "columns"
    data.mkdir(exist_ok=True)
    (data / "train.jsonl").write_text("".join(f'{{"question": "q{n}", "answer": "{n}"}}\n' for n in range(9)))
    return {"dataset": "hf", "source": str(data), "image_column": None}


@pytest.mark.parametrize("make", [vsr, open_spatial, hf])
def test_every_data_set_of_files_knows_its_files(
    make: Callable[[Path], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")

    def digests_now() -> dict[str, str]:
        return digests(files_of(open_samples(DataSettings(**settings), "train", None)))

    settings = make(tmp_path)
    before = digests_now()
    assert len(before) == 1
    source = Path(settings["source"])
    rows = source / "train.jsonl" if source.is_dir() else source
    os.utime(rows, (1, 1))
    assert digests_now() == before
    rows.write_text(rows.read_text().replace("1", "2").replace("{}", "{},{}"))
    assert digests_now() != before


def test_a_stream_knows_its_shards(tmp_path: Path):
    (tmp_path / "00000.tar").write_bytes(bytes(10_240))

    assert list(digests(files_of(open_stream(DataCompData(source=str(tmp_path)), "train")))) == ["00000.tar"]


def test_files_of_one_name_keep_the_folders_that_distinguish_them(tmp_path: Path):
    for name in ("Counting", "Jigsaw"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "val.parquet").write_text(name)
    files = sorted(tmp_path.rglob("*.parquet"))

    assert list(digests([*files, *files])) == ["Counting/val.parquet", "Jigsaw/val.parquet"]
    moved = shutil.copytree(tmp_path, tmp_path.with_name("moved"))
    assert digests(sorted(moved.rglob("*.parquet"))) == digests(files)


@pytest.mark.parametrize("place", [0, 5_000, 9_999])
def test_of_large_files_size_start_end_and_blocks_between_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
):
    for name, value in (("_MOST_BYTES_READ", 1_000), ("_BLOCK_BYTES", 100), ("_NUM_BLOCKS", 51)):
        monkeypatch.setattr(contents, name, value)
    path = tmp_path / "large.json"
    path.write_bytes(bytes(10_000))
    before = digests([path])
    path.write_bytes(bytes(10_001))
    assert digests([path]) != before
    changed = bytearray(10_000)
    changed[place] = 1
    path.write_bytes(changed)
    assert digests([path]) != before
