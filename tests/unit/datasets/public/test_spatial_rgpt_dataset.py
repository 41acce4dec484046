"""SpatialRGPT-Bench as samples: every encoding of its nested fields, and regions drawn into the picture."""

import json
from pathlib import Path

import numpy as np
import pytest

from fixtures_public import SPATIAL_ROWS, picture, spatial_rows, write_spatial_json, write_spatial_parquet
from theworld.datasets.images import ImageError, to_image
from theworld.datasets.public.spatial_rgpt import SpatialRGPTBenchDataset


def read(sample):
    return sample.id, sample.prompt[-1].text, sample.answer, sample.fields["category"], sample.fields["type"]


@pytest.mark.parametrize("nested", ["native", "json", "repr"])
def test_nested_fields_are_read_as_they_are_and_as_text(tmp_path: Path, nested: str):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(spatial_rows(nested)))

    samples = SpatialRGPTBenchDataset(str(path), image_dir=tmp_path)

    assert len(samples) == len(SPATIAL_ROWS)
    assert read(samples[3]) == (
        "quantitative_3",
        "How tall is Region [0]?",
        "Region [0] is 30.05 inches in height.",
        "height_data",
        "quantitative",
    )


def test_both_layouts_give_the_same_samples(tmp_path: Path):
    table = SpatialRGPTBenchDataset(str(write_spatial_parquet(tmp_path / "table")))
    path, images = write_spatial_json(tmp_path / "json")
    rows = SpatialRGPTBenchDataset(str(path), image_dir=images)

    for index in range(len(SPATIAL_ROWS)):
        assert read(table[index]) == read(rows[index])
        assert np.array_equal(np.asarray(table[index].images[0]), np.asarray(rows[index].images[0]))


@pytest.mark.parametrize("marks", ["boxes", "masks"])
def test_regions_are_drawn_and_the_sample_says_how(tmp_path: Path, marks):
    folder = write_spatial_parquet(tmp_path)

    sample = SpatialRGPTBenchDataset(str(folder), marks=marks)[0]
    drawn, plain = np.asarray(sample.images[0]), np.asarray(picture(0))

    assert sample.fields["marks"] == marks
    assert not np.array_equal(drawn[6:20, 4:14], plain[6:20, 4:14])
    assert np.array_equal(drawn[31, :3], plain[31, :3])  # what no region covers is as it was


def test_without_masks_a_row_is_drawn_with_boxes(tmp_path: Path):
    rows = [{name: value for name, value in row.items() if name != "rle"} for row in spatial_rows("native")]
    path, images = write_spatial_json(tmp_path)
    path.write_text(json.dumps(rows))

    assert SpatialRGPTBenchDataset(str(path), image_dir=images, marks="masks")[0].fields["marks"] == "boxes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [[1, 2, 3]]}, "a box of 3 numbers"),
        ({"bbox": [[40, 2, 50, 9]]}, "expected left, top, right, bottom in a picture of 32 x 32"),
        ({"bbox": [[9, 2, 3, 9]]}, "expected left, top, right, bottom"),
        ({"image_info": {"file_path": "nowhere.png"}}, "no such file"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_of_its_item_alone(tmp_path: Path, change, message: str):
    path, images = write_spatial_json(tmp_path)
    rows = spatial_rows("native")
    path.write_text(json.dumps([{**rows[0], **change}, *rows[1:]]))

    samples = SpatialRGPTBenchDataset(str(path), image_dir=images)

    with pytest.raises(ImageError, match=message):
        to_image(samples[0].images[0])
    assert to_image(samples[1].images[0]).size == (32, 32)


def test_rows_without_pictures_need_a_folder_of_them(tmp_path: Path):
    path, _ = write_spatial_json(tmp_path)

    with pytest.raises(ImageError, match="give image_dir"):
        to_image(SpatialRGPTBenchDataset(str(path))[0].images[0])


def test_text_that_is_neither_json_nor_a_literal_is_refused(tmp_path: Path):
    path, images = write_spatial_json(tmp_path)
    path.write_text(json.dumps([{**spatial_rows("native")[0], "qa_info": "__import__('os')"}]))

    with pytest.raises(ValueError, match=r"qualitative_0: qa_info: .__import__.*; expected the text of JSON"):
        SpatialRGPTBenchDataset(str(path), image_dir=images)[0]


def code(counts: object, size: object = (32, 32)) -> dict[str, object]:
    return {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}


WRONG_CODES = (None, 5, "x", [1, 2], {}, code(""), code("1"), code("ooooooooo"), code(["26", "54"]))
WRONG_RUNS = (code([1034, -10]), code([]), code([10**400]), code("1", (70_000, 70_000)), code([100], (10, 10)))
WRONG_BOXES = ([None], [5], ["abcd"], [[1, 2, 3, "4"]], [[1, 2, 10**400, 9]])
WRONG_PATHS = ({"file_path": None}, {"file_path": "a" * 5_000}, {"file_path": "\0"})
WRONG = [
    *({"rle": [wrong]} for wrong in (*WRONG_CODES, *WRONG_RUNS)),
    *({"rle": wrong} for wrong in ({"a": 1}, "not json", 5, [code([1024])] * 3, "[" * 100_000)),
    *({"bbox": wrong} for wrong in (None, 5, {}, "not json", *WRONG_BOXES)),
    *({"image_info": wrong} for wrong in (None, 5, [], {}, *WRONG_PATHS)),
]


@pytest.mark.parametrize("change", WRONG, ids=range(len(WRONG)))
def test_a_wrong_region_is_an_error_of_its_item_alone(tmp_path: Path, change):
    path, images = write_spatial_json(tmp_path)
    rows = spatial_rows("native")
    single = {**rows[3], "rle": rows[3]["rle"]}
    path.write_text(json.dumps([{**single, **change}, *rows]))

    samples = SpatialRGPTBenchDataset(str(path), image_dir=images, marks="masks")

    with pytest.raises(ImageError) as caught:
        to_image(samples[0].images[0])
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)
    assert to_image(samples[1].images[0]).size == (32, 32)
