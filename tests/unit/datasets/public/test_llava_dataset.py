"""LLaVA's conversations as samples, with several pictures, one, or none."""

import json
from pathlib import Path
from typing import Any

import pytest

from fixtures_public import picture, write_llava
from theworld.datasets.errors import RecordError
from theworld.datasets.public.llava import LlavaDataset


def one_row(folder: Path, **changes: Any) -> LlavaDataset:
    """The second row of the file, changed."""
    path, images = write_llava(folder)
    row = {**json.loads(path.read_text())[1], **changes}
    path.write_text(json.dumps([row]))
    return LlavaDataset(path, images)


def test_each_kind_of_row_becomes_a_sample(tmp_path: Path):
    samples = LlavaDataset(*write_llava(tmp_path))

    assert [samples[index].id for index in range(len(samples))] == [
        "GCC_train_002582585",
        "000000033471",
        "17",
        "several",
    ]
    pair, instructions, text, several = (samples[index] for index in range(4))
    assert [turn.text for turn in pair.turns] == [
        "Provide a brief description of the given image.",
        "olive oil is a healthy ingredient used liberally .",
    ]
    assert [turn.role for turn in instructions.turns] == ["user", "assistant", "user", "assistant"]
    assert instructions.turns[0].text == "What are the colors of the bus?"
    assert text.images == ()
    assert text.turns[0].text == "Answer briefly.\n\nWhat does <image> mean in HTML?"
    assert several.turns[0].text == "Which is darker?"


def test_several_pictures_come_in_the_order_of_the_row(tmp_path: Path):
    images: Any = LlavaDataset(*write_llava(tmp_path))[3].images

    first, second = (image.getpixel((16, 16)) for image in images)
    assert first == picture(2).getpixel((0, 0))
    assert all(abs(a - b) < 6 for a, b in zip(second, picture(0).getpixel((0, 0)), strict=True))  # a JPEG


def test_lengths_are_known_without_the_pictures(tmp_path: Path):
    path, images = write_llava(tmp_path)
    samples = LlavaDataset(path, images)
    lengths = [sum(len(turn.text) for turn in samples[index].turns) for index in range(4)]
    for image in images.rglob("*.*"):
        image.unlink()

    assert [samples.text_length_of(index) for index in range(4)] == lengths
    assert [samples.num_images_of(index) for index in range(4)] == [1, 1, 0, 2]


def test_text_alone_needs_no_folder_of_pictures(tmp_path: Path):
    samples = LlavaDataset(write_llava(tmp_path)[0])

    assert samples[2].images == ()
    with pytest.raises(RecordError, match=r"give image_dir.*\(missing picture\)"):
        samples[1]


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"image": "coco/train2017/gone.jpg"}, "missing picture"),
        ({"image": 3}, "malformed"),
        ({"image": ["GCC_train_002582585.jpg", "vg/VG_100K/2.png"]}, "malformed"),
        ({"conversations": [{"from": "gpt", "value": "White."}]}, "malformed"),
        ({"conversations": None}, "malformed"),
        ({"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": ""}]}, "empty answer"),
        ({"conversations": [{"from": "human", "value": "y" * 2**20}, {"from": "gpt", "value": "No."}]}, "overlong"),
    ],
)
def test_a_row_that_gives_no_sample_says_why(tmp_path: Path, changes: dict[str, Any], cause: str):
    samples = one_row(tmp_path, **changes)

    with pytest.raises(RecordError) as caught:
        samples[0]
    assert caught.value.cause == cause


def test_a_picture_that_was_cut_off_is_unreadable(tmp_path: Path):
    samples = one_row(tmp_path)
    path = tmp_path / "images/coco/train2017/000000033471.jpg"
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(RecordError, match="000000033471") as caught:
        samples[0]
    assert caught.value.cause == "unreadable picture"


def test_a_row_that_is_no_object_is_one_bad_record(tmp_path: Path):
    path = tmp_path / "chat.json"
    path.write_text('["hello", null]')
    samples = LlavaDataset(path)

    assert (len(samples), samples.text_length_of(0), samples.num_images_of(0)) == (2, 0, 0)
    with pytest.raises(RecordError, match="row 0: expected an object, got str"):
        samples[0]


def test_a_folder_of_pictures_that_is_not_there_is_refused(tmp_path: Path):
    path, _ = write_llava(tmp_path)

    with pytest.raises(ValueError, match="no such folder"):
        LlavaDataset(path, tmp_path / "nowhere")
