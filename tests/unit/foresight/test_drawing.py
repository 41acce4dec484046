"""Pictures show the scene at every size, smoothly, and always with the same pixels."""

import numpy as np
import pytest

from theworld.foresight.drawing import BACKGROUND, PALETTE, SOLID, draw, draw_clip
from theworld.foresight.scene import Ball, Plank, Scene

SCENE = Scene(
    task="drop",
    balls=(Ball(x=0.25, y=0.125, colour="red"),),
    planks=(Plank(x0=0.5, y0=0.4, x1=0.75, y1=0.5),),
    bins=("blue", "green", "orange"),
)
START = np.array([[0.25, 0.125]])


@pytest.mark.parametrize("size_px", [64, 224, 896])
def test_things_have_their_colour_where_the_scene_puts_them(size_px):
    picture = draw(SCENE, START, size_px)
    assert picture.size == (size_px, size_px)

    def colour_at(x: float, y: float) -> object:
        return picture.getpixel((int(x * size_px), int(y * size_px)))

    assert colour_at(0.25, 0.125) == PALETTE["red"]
    assert [colour_at(x, 0.97) for x in (0.2, 0.5, 0.8)] == [PALETTE[c] for c in ("blue", "green", "orange")]
    assert colour_at(0.625, 0.45) == SOLID
    assert colour_at(1 / 3, 0.88) == SOLID
    assert colour_at(0.005, 0.5) == SOLID
    assert colour_at(0.5, 0.2) == BACKGROUND


def test_the_same_scene_gives_the_same_pixels():
    assert draw(SCENE, START, 64).tobytes() == draw(SCENE, START, 64).tobytes()


def test_pictures_of_64_and_896_px_show_the_same_scene(items):
    item = items[2]
    small = np.asarray(draw(item.scene, item.positions[0], 64), dtype=float)
    large = np.asarray(draw(item.scene, item.positions[0], 896).reduce(14), dtype=float)
    assert np.abs(small - large).mean() < 1.0
    assert np.abs(small - large).max() < 40  # an edge may fall an eighth of a pixel elsewhere


def test_edges_are_smooth():
    colours = {tuple(colour) for colour in np.asarray(draw(SCENE, START, 64)).reshape(-1, 3)}
    assert len(colours) > 30  # eight flat ones, the others lie on edges


def test_a_quarter_of_a_pixel_shows():
    shifted = draw(SCENE, START + np.array([0.25 / 64, 0.0]), 64)
    assert shifted.tobytes() != draw(SCENE, START, 64).tobytes()


def test_a_moved_ball_changes_only_pixels_near_the_ball():
    there = np.array([[0.8, 0.7]])
    before, after = np.asarray(draw(SCENE, START, 64)), np.asarray(draw(SCENE, there, 64))
    rows, columns = np.nonzero((before != after).any(axis=2))
    centres = np.stack([columns + 0.5, rows + 0.5], axis=1) / 64
    nearest = np.minimum(np.hypot(*(centres - START[0]).T), np.hypot(*(centres - there[0]).T))
    assert len(nearest) > 60
    assert nearest.max() < 0.05 + 1 / 64


def test_each_frame_of_a_clip_equals_the_picture_of_its_positions(items):
    item = items[2]
    clip = draw_clip(item.scene, item.positions, 64)
    assert clip.shape == (17, 64, 64, 3)
    assert clip.dtype == np.uint8
    for frame in (0, 7, 16):
        np.testing.assert_array_equal(clip[frame], np.asarray(draw(item.scene, item.positions[frame], 64)))


def test_a_ball_outside_the_picture_is_not_drawn():
    empty = draw(SCENE, np.array([[0.5, -0.5]]), 64)
    assert PALETTE["red"] not in {tuple(colour) for colour in np.asarray(empty).reshape(-1, 3)}


def test_a_picture_too_small_to_show_a_plank_is_refused():
    with pytest.raises(ValueError, match="size_px=8: expected 16 or more"):
        draw(SCENE, START, 8)


def test_a_position_for_every_ball_is_demanded():
    with pytest.raises(ValueError, match="2 positions for 1 balls"):
        draw(SCENE, np.array([[0.2, 0.2], [0.5, 0.5]]), 64)
