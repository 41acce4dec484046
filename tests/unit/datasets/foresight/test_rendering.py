"""Pictures show the scene at every size, smoothly, and always with the same pixels."""

import json
import math

import numpy as np
import pytest

from theworld.datasets.foresight.looks import BACKGROUND, PALETTE, SOLID, TABLE
from theworld.datasets.foresight.rendering import draw, draw_clip
from theworld.datasets.foresight.scene import FLOOR_Y, Ball, Block, Plank, Scene, Screen

SCENE = Scene(
    task="drop",
    balls=(Ball(x=0.25, y=0.125, colour="red"),),
    planks=(Plank(x0=0.5, y0=0.4, x1=0.75, y1=0.5),),
    bins=("blue", "green", "orange"),
)
START = np.array([[0.25, 0.125, 0.0]])


def colours_of(picture) -> set[object]:
    return {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3).tolist()}


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


def test_a_block_is_drawn_turned_by_its_angle():
    scene = Scene(task="topple", blocks=(Block(x=0.5, y=0.5, width=0.4, height=0.1, colour="green"),))

    def pixel(angle: float, x: float, y: float) -> object:
        return draw(scene, np.array([[0.5, 0.5, angle]]), 64).getpixel((int(x * 64), int(y * 64)))

    assert [pixel(0.0, *place) for place in ((0.65, 0.5), (0.5, 0.65))] == [PALETTE["green"], BACKGROUND]
    assert [pixel(math.pi / 2, *place) for place in ((0.65, 0.5), (0.5, 0.65))] == [BACKGROUND, PALETTE["green"]]
    clockwise = [pixel(math.pi / 4, *place) for place in ((0.6, 0.6), (0.6, 0.4))]
    assert clockwise == [PALETTE["green"], BACKGROUND]


def test_a_screen_hides_what_is_behind_it_and_nothing_else():
    screen = Screen(left=0.4, right=0.6, top=0.5, colour="blue")
    post = Plank(x0=0.5, y0=0.3, x1=0.5, y1=FLOOR_Y)
    scene = Scene(task="hide", balls=(Ball(x=0.2, y=0.88, colour="red"),), planks=(post,), screen=screen)
    seen, hidden = (draw(scene, np.array([[x, 0.88, 0.0]]), 64) for x in (0.2, 0.5))
    assert PALETTE["red"] in colours_of(seen)
    assert PALETTE["red"] not in colours_of(hidden)
    assert [hidden.getpixel((32, int(y * 64))) for y in (0.4, 0.7)] == [SOLID, PALETTE["blue"]]


def test_a_table_seen_from_above_has_its_own_colour_and_four_rails():
    picture = draw(Scene(task="collide", balls=(Ball(x=0.2, y=0.2, colour="red"),)), np.array([[0.2, 0.2, 0.0]]), 64)
    assert picture.getpixel((32, 32)) == TABLE
    assert {picture.getpixel(place) for place in ((0, 32), (63, 32), (32, 0), (32, 63))} == {SOLID}


def test_the_same_description_gives_the_same_pixels(items):
    for item in items[:3]:
        again = Scene.from_dict(json.loads(json.dumps(item.scene.to_dict())))
        for frame in (0, 8):
            assert draw(again, item.poses[frame], 64).tobytes() == draw(item.scene, item.poses[frame], 64).tobytes()


def test_pictures_of_64_and_896_px_show_the_same_scene(items):
    item = items[2]
    small = np.asarray(draw(item.scene, item.poses[0], 64), dtype=float)
    large = np.asarray(draw(item.scene, item.poses[0], 896).reduce(14), dtype=float)
    assert np.abs(small - large).mean() < 1.0
    assert np.abs(small - large).max() < 40  # an edge may fall an eighth of a pixel elsewhere


def test_edges_are_smooth():
    assert len(colours_of(draw(SCENE, START, 64))) > 30  # eight flat ones, the others lie on edges


def test_a_quarter_of_a_pixel_shows():
    shifted = draw(SCENE, START + np.array([0.25 / 64, 0.0, 0.0]), 64)
    assert shifted.tobytes() != draw(SCENE, START, 64).tobytes()


def test_a_moved_ball_changes_only_pixels_near_the_ball():
    there = np.array([[0.8, 0.7, 0.0]])
    before, after = np.asarray(draw(SCENE, START, 64)), np.asarray(draw(SCENE, there, 64))
    rows, columns = np.nonzero((before != after).any(axis=2))
    centres = np.stack([columns + 0.5, rows + 0.5], axis=1) / 64
    nearest = np.minimum(*(np.hypot(*(centres - place[0, :2]).T) for place in (START, there)))
    assert len(nearest) > 60
    assert nearest.max() < 0.05 + 1 / 64


def test_each_frame_of_a_clip_equals_the_picture_of_its_poses(items):
    item = items[2]
    clip = draw_clip(item.scene, item.poses, 64)
    assert clip.shape == (17, 64, 64, 3)
    assert clip.dtype == np.uint8
    for frame in (0, 7, 16):
        np.testing.assert_array_equal(clip[frame], np.asarray(draw(item.scene, item.poses[frame], 64)))


def test_a_ball_outside_the_picture_is_not_drawn():
    assert PALETTE["red"] not in colours_of(draw(SCENE, np.array([[0.5, -0.5, 0.0]]), 64))


def test_a_picture_too_small_to_show_a_plank_is_refused():
    with pytest.raises(ValueError, match="size_px=8: expected 16 or more"):
        draw(SCENE, START, 8)


def test_a_pose_for_every_body_is_demanded():
    with pytest.raises(ValueError, match="2 poses for 1 balls and 0 blocks"):
        draw(SCENE, np.zeros((2, 3)), 64)
