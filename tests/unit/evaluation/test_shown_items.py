"""Items that a report shows: drawn whatever the replies, with the pictures and futures that they have."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from theworld.datasets.errors import ImageError
from theworld.datasets.foresight import ForesightDataset
from theworld.datasets.sample import question
from theworld.evaluation.results_file import pairs_of
from theworld.evaluation.shown_items import write_futures, write_items
from theworld.modeling import TheWorld

SCENES = ForesightDataset("validation", 30, with_future=True)


def seconds(path: Path) -> float:
    """How long a film plays; equal frames are stored once, so their number tells nothing."""
    with Image.open(path) as film:
        return sum(frame.info["duration"] for frame in ImageSequence.Iterator(film)) / 1000


def ids(root: Path) -> list[str]:
    return [json.loads(path.read_text())["id"] for path in sorted(root.glob("items/*/item.json"))]


def test_items_are_drawn_from_all_samples_and_the_same_ones_again(tmp_path: Path) -> None:
    write_items(SCENES, tmp_path / "a", 6.0)
    write_items(SCENES, tmp_path / "b", 6.0)
    shown = ids(tmp_path / "a")
    assert len(set(shown)) == 12
    assert shown == ids(tmp_path / "b")
    assert len({name.split("-")[0] for name in shown}) == 5  # every kind of scene


def test_a_film_shows_what_was_given_and_what_followed(tmp_path: Path) -> None:
    write_items(SCENES, tmp_path, 6.0)
    for path in tmp_path.glob("items/*"):
        assert seconds(path / "true.gif") == pytest.approx(16 / 6 + 1, abs=0.01)
        with Image.open(path / "picture.png") as picture:
            assert picture.size == (64, 64)


def test_few_samples_are_all_shown_and_none_makes_no_folder(tmp_path: Path) -> None:
    write_items(ForesightDataset("validation", 3), tmp_path, 6.0)
    assert len(ids(tmp_path)) == 3
    assert not list(tmp_path.glob("items/*/true.gif"))
    write_items([], tmp_path / "none", 6.0)
    assert not (tmp_path / "none").exists()


def test_large_pictures_are_made_small_and_several_stand_side_by_side(tmp_path: Path) -> None:
    pictures = [np.full((1000, 500, 3), 200, np.uint8), np.full((40, 60, 3), 9, np.uint8)]
    write_items([question("two", pictures, "Which?", "a")], tmp_path, 6.0)
    with Image.open(tmp_path / "items" / "00" / "picture.png") as picture:
        assert picture.height == 320
        assert picture.width == 160 + 4 + 60


def test_an_unreadable_picture_leaves_its_item_out(tmp_path: Path) -> None:
    bad = question("bad", [ImageError("cut off")], "Which?", "a")
    text = question("text", [], "Which?", "a")
    write_items([bad, text], tmp_path, 6.0)
    assert ids(tmp_path) == ["text"]
    assert not list(tmp_path.glob("items/*/picture.png"))


@pytest.mark.parametrize("tap", [{"world_tap": "rollout"}, {"world_tap": "dit", "dit_block": 1}])
def test_a_model_that_imagines_shows_its_future_of_each_item(tmp_path: Path, tap: dict[str, Any]) -> None:
    write_items(SCENES, tmp_path, 6.0, num_shown=2)
    model = TheWorld.from_pretrained("tiny", num_world_steps=4, frame_rate_hz=6.0, **tap)
    write_futures(model, SCENES, tmp_path, num_shown=2)
    for path in tmp_path.glob("items/*"):
        assert seconds(path / "imagined.gif") == pytest.approx(16 / 6 + 1, abs=0.01)


def test_a_model_that_imagines_no_video_shows_none(tmp_path: Path) -> None:
    write_items(SCENES, tmp_path, 6.0, num_shown=2)
    write_futures(TheWorld.from_pretrained("tiny"), SCENES, tmp_path, num_shown=2)
    assert not list(tmp_path.glob("items/*/imagined.gif"))


@pytest.mark.parametrize(
    ("arms", "pairs"),
    [
        (["world"], []),
        (["majority", "gemma", "world"], [("gemma", "world"), ("majority", "world")]),
        (["world-K0", "world-K4", "blind"], [("blind", "world-K0"), ("blind", "world-K4"), ("world-K0", "world-K4")]),
        (["gemma", "blind", "majority"], [("blind", "gemma"), ("majority", "gemma")]),
    ],
)
def test_the_world_is_compared_with_every_other_arm(arms: list[str], pairs: list[tuple[str, str]]) -> None:
    assert pairs_of(arms) == pairs
