"""OpenSpatialDataset as samples: every region drawn once, and named by the number that is drawn."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from fixtures_public import open_spatial_row, picture, write_open_spatial
from theworld.datasets import SpatialRGPTDataset
from theworld.datasets.errors import RecordError
from theworld.datasets.images import to_image
from theworld.datasets.public import open_spatial
from theworld.datasets.regions import decode_mask, draw_regions


def opened(folder: Path, row: dict[str, Any], **given: Any) -> SpatialRGPTDataset:
    path, images = write_open_spatial(folder, [row])
    return SpatialRGPTDataset(str(path), image_dir=images, **given)


def test_questions_and_answers_name_regions_by_the_numbers_that_are_drawn(tmp_path: Path):
    sample = opened(tmp_path, open_spatial_row())[0]

    assert sample.id == "0000f2a1b2c3d4e5"
    assert [turn.text for turn in sample.turns] == [
        "Does Region [0] have a greater width compared to Region [1]?",
        "Region [0], not Region [1].",
        "What is the height of Region [1]?",
        "Region [1] is 3.2 feet in height.",
        "And what is in front of Region [2]?",
        "Nothing is in front of Region [2].",
    ]


def test_a_region_that_comes_back_is_drawn_once_and_another_mask_in_its_box_is_another_region(tmp_path: Path):
    row = open_spatial_row()
    path, images = write_open_spatial(tmp_path, [row])
    plain = to_image(images / "0000f2a1b2c3d4e5.jpg")
    a, b = (tuple(map(float, box)) for box in row["bbox"][:2])
    masks = [decode_mask(row["rle"][k]) for k in (0, 1, 3)]

    boxed = SpatialRGPTDataset(str(path), image_dir=images)[0]
    tinted = SpatialRGPTDataset(str(path), image_dir=images, marks="masks")[0]

    assert np.array_equal(np.asarray(boxed.images[0]), np.asarray(draw_regions(plain, [a, b, b])))
    assert np.array_equal(np.asarray(tinted.images[0]), np.asarray(draw_regions(plain, [a, b, b], masks)))
    assert (boxed.fields["marks"], tinted.fields["marks"]) == ("boxes", "masks")


def test_without_masks_boxes_tell_regions_apart_and_are_drawn(tmp_path: Path):
    row = {key: value for key, value in open_spatial_row().items() if key != "rle"}

    sample = opened(tmp_path, row, marks="masks")[0]

    assert sample.turns[4].text == "And what is in front of Region [1]?"
    assert sample.fields["marks"] == "boxes"


def test_a_question_may_name_its_regions_by_number_too(tmp_path: Path):
    row = open_spatial_row()
    row["conversations"][4]["value"] = "Is Region [0], that is <mask> <depth>, free?"

    assert opened(tmp_path, row)[0].turns[4].text == "Is Region [2], that is Region [2], free?"


def changed(**changes: Any) -> dict[str, Any]:
    return {**open_spatial_row(), **changes}


def with_boxes(*last: float) -> dict[str, Any]:
    row = open_spatial_row()
    return {**row, "bbox": [*row["bbox"][:3], list(last)]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (with_boxes(10, 4, 10, 20), "left < right"),
        (with_boxes(20, 4, 10, 20), "left < right"),
        (with_boxes(32, 4, 40, 20), "32 x 32"),
        (with_boxes(-9, 4, 0, 20), "32 x 32"),
        (with_boxes(4, 4, 9), "left < right"),
        (changed(bbox=open_spatial_row()["bbox"][:3]), "4 times <mask>, 3 boxes, 4 masks"),
        (changed(rle=open_spatial_row()["rle"][:3]), "4 times <mask>, 4 boxes, 3 masks"),
        (changed(rle=[{"size": [64, 32], "counts": "x"}] * 4), r"of size \[64, 32\]; its picture is \[32, 32\]"),
        (changed(rle=["x"] * 4), "no run-length codes"),
    ],
)
def test_a_wrong_region_is_named_as_one(tmp_path: Path, row: dict[str, Any], message: str):
    samples = opened(tmp_path, row)

    with pytest.raises(RecordError, match=message) as caught:
        samples[0]
    assert caught.value.cause == "wrong region"
    assert samples.num_images_of(0) == 1


def test_an_answer_that_names_a_region_its_question_does_not_have_is_wrong(tmp_path: Path):
    row = open_spatial_row()
    row["conversations"][3]["value"] = "Region [1] is 3.2 feet in height."

    with pytest.raises(RecordError, match=r"Region \[1\] where its question names 1 regions \(wrong region\)"):
        opened(tmp_path, row)[0]


def test_a_mask_that_cannot_be_decoded_is_a_wrong_region(tmp_path: Path):
    row = changed(rle=[{"size": [32, 32], "counts": [1, 2]}] * 4)

    with pytest.raises(RecordError, match="wrong region"):
        opened(tmp_path, row, marks="masks")[0]


def test_missing_and_cut_off_pictures_are_told_apart(tmp_path: Path):
    samples = opened(tmp_path, open_spatial_row())
    path = samples.image_dir / "0000f2a1b2c3d4e5.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RecordError, match="unreadable picture"):
        samples[0]

    path.unlink()
    with pytest.raises(RecordError, match="missing picture"):
        samples[0]


@pytest.mark.parametrize("name", [None, 3, ""])
def test_a_row_without_a_name_is_malformed(tmp_path: Path, name: Any):
    path, images = write_open_spatial(tmp_path, [open_spatial_row()])
    path.write_text(json.dumps([changed(filename=name)]))

    with pytest.raises(RecordError, match="malformed"):
        SpatialRGPTDataset(str(path), image_dir=images)[0]


def test_lengths_are_those_of_what_is_trained_on(tmp_path: Path):
    samples = opened(tmp_path, open_spatial_row())
    length = sum(len(turn.text) for turn in samples[0].turns)
    (samples.image_dir / "0000f2a1b2c3d4e5.jpg").unlink()

    assert (samples.text_length_of(0), samples.num_images_of(0)) == (length, 1)


def test_a_folder_that_holds_the_file_is_a_source(tmp_path: Path):
    _, images = write_open_spatial(tmp_path, [open_spatial_row()])

    assert len(SpatialRGPTDataset(str(tmp_path), image_dir=images)) == 1
    with pytest.raises(ValueError, match=f"{open_spatial.FILE}: no such file"):
        SpatialRGPTDataset(str(images), image_dir=images)


def test_one_in_a_hundred_is_held_out_by_its_id_wherever_it_stands(tmp_path: Path):
    rows = [open_spatial_row(f"{number:016x}") for number in range(400)]
    path, images = tmp_path / "rows.json", tmp_path
    path.write_text(json.dumps(rows))
    picture(0).save(tmp_path / "x.jpg")

    def ids(path: Path, part: Any) -> set[str]:
        samples = SpatialRGPTDataset(str(path), image_dir=images, part=part)
        return {samples.rows[int(place)]["filename"] for place in samples.places}

    train, validation = ids(path, "train"), ids(path, "validation")
    (turned := tmp_path / "turned.json").write_text(json.dumps(rows[::-1]))

    assert train | validation == {row["filename"] for row in rows}
    assert not train & validation
    assert 1 <= len(validation) <= 12
    assert ids(turned, "validation") == validation


WRONG_CODES = [
    {"size": [32, 32], "counts": counts}
    for counts in ("", "1", "ooooooooo", ["26", "54"], [1034, -10], ["a"], [[1]], [], [10**18], None, 5, "V4>b0" * 9)
]


@pytest.mark.parametrize("code", [*WRONG_CODES, {}, {"size": [70_000, 70_000], "counts": "1"}, [1, 2], None, 7])
def test_every_wrong_mask_is_one_bad_record(tmp_path: Path, code: Any):
    row = open_spatial_row()
    row["rle"][0] = code

    with pytest.raises(RecordError, match=r"0000f2a1b2c3d4e5.*\(wrong region\)"):
        opened(tmp_path, row, marks="masks")[0]


@pytest.mark.parametrize(
    "box", [None, 5, "abcd", [1, 2, 3, "4"], [1, 2, -(10**18), 9], [True, 2, 9, 9], [[1], 2, 3, 4], {}]
)
def test_every_wrong_box_is_one_bad_record(tmp_path: Path, box: Any):
    row = open_spatial_row()
    row["bbox"][3] = box

    with pytest.raises(RecordError, match=r"0000f2a1b2c3d4e5: box .*\(wrong region\)"):
        opened(tmp_path, row)[0]


@pytest.mark.parametrize("digits", ["9" * 5_000, "0" * 5_000, "9" * 10, "٣" * 5_000])
@pytest.mark.parametrize("turn", [0, 1])
def test_a_region_number_of_any_length_is_one_bad_record(tmp_path: Path, digits: str, turn: int):
    row = open_spatial_row()
    row["conversations"][turn]["value"] += f" Region [{digits}]"

    with pytest.raises(RecordError, match=r"Region \[.*\(wrong region\)") as caught:
        opened(tmp_path, row)[0]
    assert len(str(caught.value)) < 200


def test_a_split_of_hugging_face_and_former_names_give_the_same_samples(tmp_path: Path):
    rows = [open_spatial_row(), {**open_spatial_row(), "rle": open_spatial_row()["rle"][::-1]}]
    path, images = write_open_spatial(tmp_path, rows)
    expected = SpatialRGPTDataset(path, image_dir=str(images), index_dir=str(tmp_path / "index"))

    split = datasets.Dataset.from_list(rows)
    given = SpatialRGPTDataset(split, image_folder=str(images), draw_bboxes=True)

    assert len(given) == len(expected) == 2
    for index in range(2):
        assert (given[index].id, given[index].turns) == (expected[index].id, expected[index].turns)
        assert np.array_equal(np.asarray(given[index].images[0]), np.asarray(expected[index].images[0]))
        assert given.text_length_of(index) == expected.text_length_of(index)
    with pytest.raises(ValueError, match="marks=False: questions name regions, so they are drawn"):
        SpatialRGPTDataset(split, image_folder=str(images), draw_bboxes=False)
    with pytest.raises(TypeError, match="both image_folder and image_dir"):
        SpatialRGPTDataset(split, image_folder=str(images), image_dir=images)
