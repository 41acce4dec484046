"""The preview is a PNG with a strip per scene."""

import pytest
from PIL import Image

from theworld.datasets.foresight import preview


def test_a_preview_is_a_png_that_grows_by_its_rows(tmp_path):
    preview(tmp_path / "one.png", rows=1, image_size_px=32)
    preview(tmp_path / "five.png", rows=5, image_size_px=32)  # one scene of each task
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "five.png") as five:
        assert one.format == "PNG"
        assert one.width == five.width > 8 * 32
        assert five.height > 4 * one.height


def test_the_same_preview_has_the_same_bytes(tmp_path, task):
    for name in ("a.png", "b.png"):
        preview(tmp_path / name, split="test", rows=1, image_size_px=32, task=task)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_preview_of_all_tasks_begins_with_the_first(tmp_path):
    preview(tmp_path / "all.png", rows=1, image_size_px=32)
    preview(tmp_path / "drop.png", rows=1, image_size_px=32, task="drop")
    assert (tmp_path / "all.png").read_bytes() == (tmp_path / "drop.png").read_bytes()


def test_a_preview_without_rows_is_refused(tmp_path):
    with pytest.raises(ValueError, match="rows=0"):
        preview(tmp_path / "none.png", rows=0)
