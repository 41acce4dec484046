"""Looks: camera, light and colours of a picture, and the regions of looks that the splits of varied scenes show."""

import colorsys
from collections.abc import Mapping
from random import Random
from typing import Final, Literal, NamedTuple, get_args

from pydantic.dataclasses import dataclass

from theworld.config import STRICT

Rgb = tuple[int, int, int]

Colour = Literal["red", "orange", "yellow", "green", "blue", "purple"]
COLOURS: Final[tuple[Colour, ...]] = get_args(Colour)

PALETTE: Final[Mapping[Colour, Rgb]] = {
    "red": (208, 32, 48),
    "orange": (250, 134, 24),
    "yellow": (246, 212, 50),
    "green": (44, 156, 70),
    "blue": (44, 92, 216),
    "purple": (142, 68, 188),
}
BACKGROUND: Final[Rgb] = (244, 243, 238)
TABLE: Final[Rgb] = (222, 230, 226)
"""Background of scenes seen from above."""
SOLID: Final[Rgb] = (66, 70, 78)
"""Planks, walls, floor and dividers."""


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Look:
    """Camera, light and colours of a picture; the default is the look of plain scenes."""

    zoom: float = 1.0
    """Size of things in the picture; the middle stays in place."""
    shift_x: float = 0.0
    """To the right, picture sides: 1/64 is a pixel at 64 px."""
    shift_y: float = 0.0
    """Downwards."""
    light: float = 1.0
    """Factor of all colours."""
    palette: tuple[Rgb, ...] = tuple(PALETTE.values())
    """Shades of the six colours, in the order of `COLOURS`, before the light."""
    background: Rgb = BACKGROUND
    """Wall behind a scene seen from the side, or table of one seen from above."""
    solid: Rgb = SOLID
    """Walls, floor and dividers."""
    plank: Rgb = SOLID

    def shade(self, colour: Colour) -> Rgb:
        """Return the shade of a colour under the light."""
        return self.lit(self.palette[COLOURS.index(colour)])

    def lit(self, rgb: Rgb) -> Rgb:
        """Return a colour under the light."""
        red, green, blue = (min(round(value * self.light), 255) for value in rgb)
        return red, green, blue

    def seen(self, x: float, y: float) -> tuple[float, float]:
        """Return the place in the picture of a place in the scene, both in unit lengths."""
        return self.zoom * x + self.offset[0], self.zoom * y + self.offset[1]

    @property
    def offset(self) -> tuple[float, float]:
        """Return the place in the picture of the scene's upper left corner."""
        return (1 - self.zoom) / 2 + self.shift_x, (1 - self.zoom) / 2 + self.shift_y


Factor = Literal["shift", "zoom", "light", "shades", "surroundings", "sizes"]
FACTORS: Final[tuple[Factor, ...]] = get_args(Factor)

Band = Literal["corner", "away", "videos", "held-out"]
"""Values of a factor: near those of plain scenes; in the videos but not near them; any in the videos; in none."""

Region = Literal["corner", "videos", "seen", "unseen"]
"""Looks of a split: all factors in the corner; as videos show them; each of them away from the corner; one or two of
them in no video, the others as in the videos."""

SHARE_CORNER: Final = 0.25
"""Share of the videos in the corner."""

PIXEL: Final = 1 / 64

SHIFTS_PX: Final[Mapping[Band, tuple[float, float]]] = {"corner": (0, 1), "away": (1, 5), "held-out": (6, 8)}
"""Larger of the two shifts, pixels at 64 px; videos: 0 to 5."""
ZOOMS: Final[Mapping[Band, tuple[float, float]]] = {
    "corner": (0.97, 1.03),
    "videos": (0.85, 1.12),
    "held-out": (0.74, 0.82),
}
LIGHTS: Final[Mapping[Band, tuple[float, float]]] = {
    "corner": (0.95, 1.05),
    "videos": (0.70, 1.15),
    "held-out": (0.58, 0.66),
}
SATURATIONS: Final[Mapping[Band, tuple[float, float]]] = {
    "corner": (0.95, 1.0),
    "videos": (0.78, 1.0),
    "held-out": (0.64, 0.72),
}
"""Factor of the saturation of the six colours."""
HUES: Final[Mapping[Band, tuple[float, float]]] = {"corner": (-0.2, 0.2), "videos": (-1, 1), "held-out": (-1, 1)}
"""Turn of the hues, in units of `_MOST_TURN`."""
BALL_RADII: Final[Mapping[Band, tuple[float, float]]] = {"corner": (0.047, 0.053), "videos": (0.042, 0.058)}
PLANK_RADII: Final[Mapping[Band, tuple[float, float]]] = {"corner": (0.016, 0.020), "videos": (0.013, 0.023)}
"""Unit lengths; no size is held out, since sizes change the motion, too."""

_MOST_TURN: Final[Mapping[Colour, float]] = {
    "red": 6.0,
    "orange": 5.0,
    "yellow": 5.0,
    "green": 18.0,
    "blue": 11.0,
    "purple": 10.0,
}
"""Degrees; all colours turn in the same direction, so that neighbours stay apart."""
_CAMERA_TRIES: Final = 60
_DECIMALS: Final = 4


class Box(NamedTuple):
    """The part of a scene that must be in the picture, unit lengths."""

    left: float
    top: float
    right: float
    bottom: float


def draw_bands(rng: Random, region: Region) -> dict[Factor, Band]:
    """Return the band of each factor of a look in a region."""
    if region == "corner" or (region == "videos" and rng.random() < SHARE_CORNER):
        return dict.fromkeys(FACTORS, "corner")
    if region == "seen":
        return dict.fromkeys(FACTORS, "away")
    bands: dict[Factor, Band] = dict.fromkeys(FACTORS, "videos")
    if region == "unseen":
        candidates: list[Factor] = [factor for factor in FACTORS if factor != "sizes"]
        for factor in rng.sample(candidates, rng.randint(1, 2)):
            bands[factor] = "held-out"
    return bands


def draw_within(rng: Random, ranges: Mapping[Band, tuple[float, float]], band: Band) -> float:
    """Return a value of a band; `away` is the range of the videos without that of the corner."""
    if band != "away":
        return round(rng.uniform(*ranges[band]), _DECIMALS)
    low, high = ranges["corner"]
    while low <= (value := round(rng.uniform(*ranges["videos"]), _DECIMALS)) <= high:
        pass
    return value


def draw_look(rng: Random, bands: Mapping[Factor, Band], box: Box) -> Look:
    """Return a look whose camera shows a box of the scene."""
    zoom, shift_x, shift_y = _camera(rng, bands, box)
    background, solid, plank = _surroundings(rng, bands["surroundings"])
    return Look(
        zoom=zoom,
        shift_x=shift_x,
        shift_y=shift_y,
        light=draw_within(rng, LIGHTS, bands["light"]),
        palette=_shades(rng, bands["shades"]),
        background=background,
        solid=solid,
        plank=plank,
    )


def _camera(rng: Random, bands: Mapping[Factor, Band], box: Box) -> tuple[float, float, float]:
    """Return zoom and shifts. The box is static, so that the camera reveals nothing of the future."""
    most_zoom = min(1 / (box.right - box.left), 1 / (box.bottom - box.top))
    least_px, most_px = (0.0, 5.0) if bands["shift"] == "videos" else SHIFTS_PX[bands["shift"]]
    while True:
        zoom = draw_within(rng, ZOOMS, bands["zoom"])
        if zoom > most_zoom:
            continue
        offset = (1 - zoom) / 2
        ranges = [
            (max(-most_px * PIXEL, -offset - zoom * low), min(most_px * PIXEL, 1 - offset - zoom * high))
            for low, high in ((box.left, box.right), (box.top, box.bottom))
        ]
        if any(low > high for low, high in ranges):
            continue
        for _ in range(_CAMERA_TRIES):
            shift_x, shift_y = (round(rng.uniform(*allowed), _DECIMALS) for allowed in ranges)
            if max(abs(shift_x), abs(shift_y)) >= least_px * PIXEL:
                return zoom, shift_x, shift_y


def _shades(rng: Random, band: Band) -> tuple[Rgb, ...]:
    turn, saturation = draw_within(rng, HUES, band), draw_within(rng, SATURATIONS, band)
    spread = 0.1 if band == "corner" else 0.25
    shades = []
    for colour, rgb in PALETTE.items():
        hue, chroma, value = colorsys.rgb_to_hsv(*(part / 255 for part in rgb))
        turned = turn + rng.uniform(-spread, spread)
        hue += max(min(turned, 1.0), -1.0) * _MOST_TURN[colour] / 360
        value *= 1 - rng.uniform(0.0, spread / 2)
        shades.append(_rgb(hue, chroma * saturation, value))
    return tuple(shades)


def _surroundings(rng: Random, band: Band) -> tuple[Rgb, Rgb, Rgb]:
    """Return the colours of background, solid parts and planks; no colour is as saturated as the six."""
    if band == "corner":
        grey = rng.uniform(0.24, 0.34)
        solid = _rgb(rng.uniform(0.55, 0.65), rng.uniform(0.05, 0.18), grey)
        return _rgb(rng.uniform(0.1, 0.5), rng.uniform(0.0, 0.04), rng.uniform(0.88, 0.97)), solid, solid
    hues = rng.random(), rng.random(), rng.random()
    if band == "held-out":  # light on dark
        return (
            _rgb(hues[0], rng.uniform(0.05, 0.25), rng.uniform(0.14, 0.24)),
            _rgb(hues[1], rng.uniform(0.0, 0.15), rng.uniform(0.62, 0.74)),
            _rgb(hues[2], rng.uniform(0.0, 0.15), rng.uniform(0.76, 0.90)),
        )
    tint = (0.05, 0.20) if band == "away" else (0.0, 0.20)
    return (
        _rgb(hues[0], rng.uniform(*tint), rng.uniform(0.68, 0.97)),
        _rgb(hues[1], rng.uniform(0.05, 0.35), rng.uniform(0.16, 0.38)),
        _rgb(hues[2], rng.uniform(0.05, 0.35), rng.uniform(0.16, 0.42)),
    )


def _rgb(hue: float, saturation: float, value: float) -> Rgb:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue % 1, saturation, min(value, 1.0)))
    return red, green, blue


def mixed(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Return a colour between two: `share` of the second."""
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue
