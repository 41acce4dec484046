"""Drawing: the picture of a scene at any resolution, the same pixels for the same scene."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from theworld.foresight.scene import (
    BALL_RADIUS,
    DIVIDER_RADIUS,
    DIVIDER_TOP_Y,
    FLOOR_Y,
    PLANK_RADIUS,
    WALL_WIDTH,
    Colour,
    Scene,
)

Rgb = tuple[int, int, int]

PALETTE: Final[Mapping[Colour, Rgb]] = {
    "red": (208, 32, 48),
    "orange": (250, 134, 24),
    "yellow": (246, 212, 50),
    "green": (44, 156, 70),
    "blue": (44, 92, 216),
    "purple": (142, 68, 188),
}
BACKGROUND: Final[Rgb] = (244, 243, 238)
SOLID: Final[Rgb] = (66, 70, 78)
"""Planks, walls and dividers."""

_RIM: Final = 0.16
"""Width of a ball's darker rim, as a share of its radius."""
_RIM_BRIGHTNESS: Final = 0.72
_LEAST_SIZE_PX: Final = 16


def draw(scene: Scene, positions: Float[np.ndarray, "num_balls 2"], size_px: int) -> Image.Image:
    """The picture of a scene with its balls at the given places.

    Args:
        scene: the scene.
        positions: centres (x, y) of the balls, unit lengths.
        size_px: side of the picture, at least 16.

    Raises:
        ValueError: if the picture is too small to tell anything apart.
    """
    canvas = _Canvas(scene, size_px)
    return canvas.with_balls(positions)


def draw_clip(
    scene: Scene, positions: Float[np.ndarray, "num_frames num_balls 2"], size_px: int
) -> UInt8[np.ndarray, "num_frames {size_px} {size_px} 3"]:
    """The frames of a scene, each equal to `draw` at its positions; what stands still is drawn once."""
    canvas = _Canvas(scene, size_px)
    return np.stack([np.asarray(canvas.with_balls(frame)) for frame in positions])


class _Canvas:
    """The fixed parts of a scene, drawn several times too large and averaged down box by box."""

    def __init__(self, scene: Scene, size_px: int) -> None:
        if size_px < _LEAST_SIZE_PX:
            raise ValueError(f"size_px={size_px}: expected {_LEAST_SIZE_PX} or more, or planks can not be seen")
        self._scene = scene
        self._scale = min(max(2048 // size_px, 4), 8)  # canvas pixels per pixel: an eighth, from 512 px on a quarter
        self._side = size_px * self._scale
        self._large = Image.new("RGB", (self._side, self._side), BACKGROUND)
        pen = ImageDraw.Draw(self._large)
        for index, colour in enumerate(scene.bins):
            self._box(pen, index / 3, FLOOR_Y, (index + 1) / 3, 1.0, PALETTE[colour])
        for x in (1 / 3, 2 / 3):
            self._bar(pen, x, DIVIDER_TOP_Y + DIVIDER_RADIUS, x, 1.0, DIVIDER_RADIUS)
        for left in (0.0, 1 - WALL_WIDTH):
            self._box(pen, left, 0.0, left + WALL_WIDTH, 1.0, SOLID)
        for plank in scene.planks:
            self._bar(pen, plank.x0, plank.y0, plank.x1, plank.y1, PLANK_RADIUS)
        self._small = self._large.reduce(self._scale)

    def with_balls(self, positions: Float[np.ndarray, "num_balls 2"]) -> Image.Image:
        """The picture with its balls; only the box around them is drawn large and averaged again."""
        if len(positions) != len(self._scene.balls):
            raise ValueError(f"{len(positions)} positions for {len(self._scene.balls)} balls")
        size_px = self._side // self._scale
        low = np.floor((positions.min(0) - BALL_RADIUS) * size_px - 1).clip(0, size_px - 1).astype(int)
        high = np.ceil((positions.max(0) + BALL_RADIUS) * size_px + 1).clip(1, size_px).astype(int)
        left, top, right, bottom = (int(edge) * self._scale for edge in (*low, *high))
        patch = self._large.crop((left, top, right, bottom))
        pen = ImageDraw.Draw(patch)
        for ball, (x, y) in zip(self._scene.balls, positions, strict=True):
            red, green, blue = PALETTE[ball.colour]
            rim = (int(red * _RIM_BRIGHTNESS), int(green * _RIM_BRIGHTNESS), int(blue * _RIM_BRIGHTNESS))
            x, y = x - left / self._side, y - top / self._side
            self._disc(pen, x, y, BALL_RADIUS, rim)
            self._disc(pen, x, y, BALL_RADIUS * (1 - _RIM), PALETTE[ball.colour])
        picture = self._small.copy()
        picture.paste(patch.reduce(self._scale), (int(low[0]), int(low[1])))
        return picture

    # Pillow's boxes include their last pixel and cut fractions off: round here, end one pixel earlier.
    def _box(self, pen: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float, colour: Rgb) -> None:
        left, top, right, bottom = (round(value * self._side) for value in (x0, y0, x1, y1))
        pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def _disc(self, pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Rgb) -> None:
        box = (x - radius, y - radius, x + radius, y + radius)
        left, top, right, bottom = (round(value * self._side) for value in box)
        pen.ellipse((left, top, right - 1, bottom - 1), fill=colour)

    def _bar(self, pen: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float, radius: float) -> None:
        """A thick line with round ends, the shape that the physics has."""
        length = math.hypot(x1 - x0, y1 - y0)
        across_x, across_y = -(y1 - y0) / length * radius, (x1 - x0) / length * radius
        corners = (
            (x0 + across_x, y0 + across_y),
            (x1 + across_x, y1 + across_y),
            (x1 - across_x, y1 - across_y),
            (x0 - across_x, y0 - across_y),
        )
        pen.polygon([(round(x * self._side - 0.5), round(y * self._side - 0.5)) for x, y in corners], fill=SOLID)
        self._disc(pen, x0, y0, radius, SOLID)
        self._disc(pen, x1, y1, radius, SOLID)
