"""A sheet of asked scenes: the frames that are shown, the colours of answers, the same bytes each time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from theworld.report.figures import AskedScene, draw_sheet

GREEN, RED = (24, 128, 68), (190, 50, 50)


def scene(**changes) -> AskedScene:
    """Sixteen frames of a future, each of one red value; what happened has no green but a blue value of its own."""
    frames = np.zeros((16, 8, 8, 3), np.uint8)
    frames[..., 0] = (10 * np.arange(1, 17))[:, None, None]
    given = {
        "given": np.full((8, 8, 3), (1, 2, 3), np.uint8),
        "imagined": frames,
        "happened": frames + np.array((0, 0, 99), np.uint8),
        "question": "Which bin?",
        "answer": "red",
        "with_world": "red",
        "without_world": "none",
    }
    return replace(AskedScene(**given), **changes)


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as sheet:
        return set(map(tuple, np.asarray(sheet).reshape(-1, 3).tolist()))


def test_frames_after_an_eighth_a_quarter_a_half_and_the_whole_of_a_future_are_shown(tmp_path):
    draw_sheet([scene()], tmp_path / "sheet.png", frame_rate_hz=6.0)

    found = colours(tmp_path / "sheet.png")
    assert [number for number in range(1, 17) if (10 * number, 0, 0) in found] == [2, 4, 8, 16]
    assert [number for number in range(1, 17) if (10 * number, 0, 99) in found] == [2, 4, 8, 16]
    assert (1, 2, 3) in found


@pytest.mark.parametrize(
    ("with_world", "shown"), [("red", {GREEN, RED}), ("none", {RED})], ids=["one right", "both wrong"]
)
def test_a_right_answer_is_green_and_a_wrong_one_red(tmp_path, with_world, shown):
    draw_sheet([scene(with_world=with_world)], tmp_path / "sheet.png", 6.0)

    assert colours(tmp_path / "sheet.png") & {GREEN, RED} == shown


def test_scenes_stand_below_each_other_and_the_same_scenes_give_the_same_bytes(tmp_path):
    for name, number in (("one", 1), ("two", 2), ("again", 2)):
        draw_sheet([scene()] * number, tmp_path / f"{name}.png", 6.0)

    sizes = {name: Image.open(tmp_path / f"{name}.png").size for name in ("one", "two")}
    assert sizes["one"][0] == sizes["two"][0]
    assert sizes["one"][1] < sizes["two"][1] < 2 * sizes["one"][1]
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_a_sheet_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no scenes"):
        draw_sheet([], tmp_path / "sheet.png", 6.0)
