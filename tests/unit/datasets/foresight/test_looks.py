"""Looks of varied scenes: the plain look is the identity, regions keep apart, and colours can be named."""

import colorsys
from random import Random

import numpy as np
import pytest

from theworld.datasets.foresight.looks import (
    BACKGROUND,
    COLOURS,
    LIGHTS,
    PALETTE,
    ZOOMS,
    Box,
    Look,
    draw_bands,
    draw_look,
)
from theworld.datasets.foresight.rendering import draw
from theworld.datasets.foresight.scene import Ball, Plank, Scene

BOX = Box(0.054, 0.05, 0.946, 0.945)
SCENE = Scene(
    task="drop",
    balls=(Ball(x=0.25, y=0.125, colour="red"),),
    planks=(Plank(x0=0.5, y0=0.4, x1=0.75, y1=0.5),),
    bins=("blue", "green", "orange"),
)
START = np.array([[0.25, 0.125, 0.0]])


def with_look(**changes) -> Scene:
    return Scene.from_dict(SCENE.to_dict() | {"look": changes})


def looks_of(region, number=150) -> list[Look]:
    return [draw_look(rng, draw_bands(rng, region), BOX) for rng in map(Random, range(number))]


@pytest.mark.parametrize("size_px", [64, 200, 896])
def test_the_default_look_gives_the_pixels_of_a_plain_scene(size_px):
    assert draw(with_look(), START, size_px).tobytes() == draw(SCENE, START, size_px).tobytes()


def test_a_shift_by_whole_pixels_moves_the_picture_and_one_by_a_part_blends_it():
    plain, moved = (np.asarray(draw(scene, START, 64)) for scene in (SCENE, with_look(shift_x=3 / 64, shift_y=2 / 64)))
    np.testing.assert_array_equal(moved[12:50, 13:60], plain[10:48, 10:57])
    part = np.asarray(draw(with_look(shift_x=0.5 / 64), START, 64))
    assert (part != plain).any()
    assert np.abs(part.astype(int) - plain).max() < 150


def test_a_zoom_keeps_the_middle_and_scales_around_it():
    look = Look(zoom=0.8)
    assert look.seen(0.5, 0.5) == pytest.approx((0.5, 0.5))
    near, far = (np.asarray(draw(with_look(zoom=zoom), START, 128)) for zoom in (1.1, 0.8))
    red = [np.abs(picture.astype(int) - PALETTE["red"]).sum(-1).__lt__(30).sum() for picture in (near, far)]
    assert red[0] / red[1] == pytest.approx((1.1 / 0.8) ** 2, rel=0.1)


def test_light_scales_every_colour():
    picture = draw(with_look(light=0.5), START, 64)
    assert picture.getpixel((32, 12)) == tuple(round(value / 2) for value in BACKGROUND)


def test_a_camera_shows_the_box():
    for region in ("corner", "videos", "seen", "unseen"):
        for look in looks_of(region, 60):
            assert min(look.seen(BOX.left, BOX.top)) >= -1e-3
            assert max(look.seen(BOX.right, BOX.bottom)) <= 1 + 1e-3


def test_regions_keep_apart():
    def inside(look: Look, band: str) -> list[bool]:
        shift = 64 * max(abs(look.shift_x), abs(look.shift_y))
        return [
            shift <= 1.0001 if band == "corner" else shift > 5.001,
            ZOOMS[band][0] <= look.zoom <= ZOOMS[band][1],
            LIGHTS[band][0] <= look.light <= LIGHTS[band][1],
        ]

    assert all(all(inside(look, "corner")) for look in looks_of("corner"))
    assert not any(any(inside(look, "corner")[1:]) or inside(look, "corner")[0] for look in looks_of("seen"))
    assert not any(
        any(inside(look, "held-out")) for region in ("corner", "videos", "seen") for look in looks_of(region)
    )
    assert sum(any(inside(look, "held-out")) for look in looks_of("unseen")) > 60  # shades and surroundings are others


def test_videos_show_the_corner_too():
    share = np.mean([set(draw_bands(Random(seed), "videos").values()) == {"corner"} for seed in range(400)])
    assert share == pytest.approx(0.25, abs=0.06)


def test_shades_keep_the_order_of_their_hues_and_stay_near_their_colour():
    for region in ("videos", "seen", "unseen"):
        for look in looks_of(region):
            hues = [360 * colorsys.rgb_to_hsv(*(part / 255 for part in rgb))[0] for rgb in look.palette]
            plain = [360 * colorsys.rgb_to_hsv(*(part / 255 for part in rgb))[0] for rgb in PALETTE.values()]
            off = [abs((hue - own + 180) % 360 - 180) for hue, own in zip(hues, plain, strict=True)]
            assert max(off) < 19
            red, orange, yellow = ((hue + 90) % 360 for hue in hues[:3])
            assert red + 20 < orange < yellow - 8
            assert len({*look.palette}) == len(COLOURS)
