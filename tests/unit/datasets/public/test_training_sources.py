"""Public data sets reach training through the settings: every source, split and layout."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from fixtures_public import open_spatial_row, picture, stored, write_llava, write_open_spatial, write_vsr
from theworld.config import DataSettings
from theworld.datasets.errors import RecordError
from theworld.datasets.factory import open_samples
from theworld.datasets.held_out import id_hash
from theworld.hub import fetch


def samples_of(split: Any = "train", size: int | None = None, **settings: Any) -> Any:
    return open_samples(DataSettings(**settings), split, size)


def in_hub_layout(folder: Path, subset: str, labels: list[int]) -> str:
    write_vsr(folder / subset, labels, "train")
    return str(folder / subset)


def in_github_layout(folder: Path, subset: str, labels: list[int]) -> str:
    write_vsr(folder / "data/splits" / subset, labels, "train")
    return str(folder)


def in_splits_of_github(folder: Path, subset: str, labels: list[int]) -> str:
    write_vsr(folder / subset, labels, "train")
    return str(folder)


@pytest.mark.parametrize("layout", [in_hub_layout, in_github_layout, in_splits_of_github])
def test_vsr_trains_with_both_subsets_in_every_layout(tmp_path: Path, layout: Callable[[Path, str, list[int]], str]):
    _, images = write_vsr(tmp_path / "pictures", [1, 0, 1])
    found = {}
    for subset, labels in (("random", [1, 0, 1]), ("zeroshot", [0])):
        source = layout(tmp_path / "annotations", subset, labels)
        samples = samples_of(dataset="vsr", source=source, subsets=(subset,), image_dir=images)
        found[subset] = [samples[index].answer for index in range(len(samples))]

    assert found == {"random": ["true", "false", "true"], "zeroshot": ["false"]}


def test_a_row_of_vsr_that_is_broken_is_one_bad_record(tmp_path: Path):
    folder, images = write_vsr(tmp_path, [1, 0], "train")
    path = folder / "train.jsonl"
    first, second = map(json.loads, path.read_text().splitlines())
    del first["caption"]
    path.write_text(json.dumps(first) + "\n" + json.dumps({**second, "label": 2}) + "\n")
    samples = samples_of(dataset="vsr", source=str(folder), image_dir=images)

    for index, message in ((0, "no column caption"), (1, "label 2; expected 0 or 1")):
        with pytest.raises(RecordError, match=message) as caught:
            samples[index]
        assert caught.value.cause == "malformed"


def test_llava_and_open_spatial_are_opened_with_their_settings(tmp_path: Path):
    path, images = write_llava(tmp_path)
    llava = {"dataset": "llava", "source": str(path), "image_dir": images, "index_dir": tmp_path / "cache"}
    spatial_path, spatial_images = write_open_spatial(tmp_path, [open_spatial_row()])
    spatial = {"dataset": "open-spatial", "source": str(spatial_path), "image_dir": spatial_images, "marks": "masks"}

    assert len(samples_of(**llava)) == 3
    assert len(samples_of(size=2, **llava)) == 2
    assert len(samples_of("validation", **llava)) == 1
    assert len(samples_of(**llava, held_out_by="id")) == 4
    assert len(samples_of("validation", **llava, held_out_by="id")) == 0
    assert samples_of(**spatial)[0].fields == {"marks": "masks"}
    assert [one.name[:22] for one in (tmp_path / "cache").glob("*.rows")] == ["llava_v1_5_mix665k.jso"]
    with pytest.raises(ValueError, match="no split 'test'"):
        samples_of("test", **llava)


# --- any data set of the hub -----------------------------------------------------------------------------------------


def write_hub(folder: Path, splits: dict[str, list[dict[str, Any]]]) -> str:
    """A data set in a layout of the hub: `data/SPLIT-00000-of-00001.parquet`."""
    (folder / "data").mkdir(parents=True)
    for split, rows in splits.items():
        datasets.Dataset.from_list(rows).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")
    datasets.disable_progress_bars()


def row(number: int) -> dict[str, Any]:
    return {
        "picture": stored(picture(number)),
        "q": f"What is {number}?",
        "a": f"It is {number}.",
        "name": f"n{number}",
    }


COLUMNS = {"dataset": "hf", "image_column": "picture", "question_column": "q", "answer_column": "a"}


def test_any_data_set_of_the_hub_is_read_by_its_columns(tmp_path: Path):
    source = write_hub(tmp_path / "set", {"train": [row(0), row(1)], "validation": [row(2)]})

    train = samples_of(source=source, id_column="name", **COLUMNS)
    validation = samples_of("validation", source=source, id_column="name", **COLUMNS)

    assert [train[index].id for index in range(len(train))] == ["n0", "n1"]
    assert [turn.text for turn in train[1].turns] == ["What is 1?", "It is 1."]
    assert train[1].images[0].getpixel((0, 0)) == picture(1).getpixel((0, 0))
    assert (validation[0].id, len(validation)) == ("n2", 1)
    assert (train.text_length_of(1), train.num_images_of(1)) == (len("What is 1?It is 1."), 1)


def test_a_column_of_conversations_stands_in_the_place_of_questions_and_answers(tmp_path: Path):
    talk = [{"role": "user", "content": "<image>\nWhy?"}, {"role": "assistant", "content": "Gravity."}]
    source = write_hub(
        tmp_path / "set", {"train": [{"images": [stored(picture(0)), stored(picture(1))], "messages": talk}]}
    )

    with pytest.raises(RecordError, match="1 times <image> for 2 pictures"):
        samples_of(dataset="hf", source=source, image_column="images", conversation_column="messages")[0]
    text = samples_of(dataset="hf", source=source, image_column=None, conversation_column="messages")

    assert text[0].turns[1].text == "Gravity."
    assert (text.text_length_of(0), text.num_images_of(0)) == (len("<image>\nWhy?Gravity."), 0)


def test_with_the_rule_of_former_versions_one_id_in_a_hundred_is_held_out(tmp_path: Path):
    rows = [{key: value for key, value in row(number).items() if key != "picture"} for number in range(300)]
    source = write_hub(tmp_path / "set", {"train": rows})
    settings: dict[str, Any] = {**COLUMNS, "image_column": None, "source": source, "id_column": "name"}
    settings["held_out_by"] = "id"

    train, validation = samples_of(**settings), samples_of("validation", **settings)

    held_out = [name for name in (f"n{number}" for number in range(300)) if id_hash(name) % 100 == 0]
    assert held_out
    assert [validation[index].id for index in range(len(validation))] == held_out
    assert len(train) == 300 - len(held_out)
    with pytest.raises(ValueError, match="no split for 'test': it has train"):
        samples_of("test", **settings)


def test_pictures_that_cannot_be_read_are_bad_records(tmp_path: Path):
    whole = stored(picture(0))["bytes"]
    rows = [{**row(0), "picture": {"bytes": whole[: len(whole) // 2], "path": None}}, row(1)]
    source = write_hub(tmp_path / "set", {"train": rows, "validation": [row(2)]})
    features = datasets.Features(
        {"picture": datasets.Image(), **{name: datasets.Value("string") for name in ("q", "a", "name")}}
    )
    datasets.Dataset.from_list(rows, features=features).to_parquet(
        Path(source) / "data" / "train-00000-of-00001.parquet"
    )
    samples = samples_of(source=source, **COLUMNS)

    with pytest.raises(RecordError) as caught:
        samples[0]
    assert caught.value.cause == "unreadable picture"
    assert np.asarray(samples[1].images[0]).shape == (32, 32, 3)


def test_a_data_set_that_cannot_be_had_is_named_with_the_remedy(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"'.*empty' could not be loaded as a data set: .*Check the id"):
        samples_of(source=str(tmp_path / "empty"), **COLUMNS)


@pytest.mark.parametrize("name", ["questions.json", "rows.csv", "photos.zip", "./set", "/nowhere/set", "a/b/c"])
def test_a_path_that_is_not_there_is_never_looked_for_on_the_hub(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))

    with pytest.raises(ValueError, match=f"{re.escape(name)}: no such file or folder$"):
        samples_of(source=name, **COLUMNS)
    with pytest.raises(ValueError, match=r"no such file or folder$"):
        fetch(name, ["*.json"], kind="dataset")


def test_a_file_of_rows_is_named_as_your_own_data(tmp_path: Path):
    path = tmp_path / "questions.json"
    path.write_text("[]")

    with pytest.raises(ValueError, match=r"a file; dataset 'hf' takes a hub id or a folder: .*--data.dataset own$"):
        samples_of(source=str(path), **COLUMNS)


@pytest.mark.parametrize("number", [1, 3])
def test_all_rows_of_a_picture_are_on_one_side_whatever_column_holds_it(tmp_path: Path, number: int):
    one = [stored(picture(index // 2)) for index in range(80)]
    held = one if number == 1 else [[item, *one[:2]] for item in one]
    rows = [{**row(index), "picture": held[index]} for index in range(80)]
    source = write_hub(tmp_path / "set", {"train": rows})

    train, validation = samples_of(source=source, **COLUMNS), samples_of("validation", source=source, **COLUMNS)

    sides = [[samples[index] for index in range(len(samples))] for samples in (train, validation)]
    first, second = ({sample.images[0].getpixel((0, 0)) for sample in side} for side in sides)
    assert first
    assert second
    assert not first & second
    assert sorted(int(sample.id) for side in sides for sample in side) == list(range(80))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dataset": "llava"}, "source: missing; give source"),
        ({"dataset": "hf"}, "source: missing; give source"),
        ({"dataset": "open-spatial"}, "image_dir: missing; give image_dir"),
        (
            {"dataset": "llava", "source": "x", "marks": "masks"},
            "marks is for dataset 'spatial-rgpt' or",
        ),
        (
            {"dataset": "vsr", "image_dir": Path(), "question_column": "q"},
            "question_column is for dataset 'hf'",
        ),
    ],
)
def test_settings_without_which_nothing_can_be_read_are_asked_for(given: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        DataSettings(**given)
