"""Rendering: the picture of a scene at any resolution; the same scene always gives the same pixels."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from theworld.datasets.foresight.physics import LAWS
from theworld.datasets.foresight.scene import (
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
TABLE: Final[Rgb] = (222, 230, 226)
"""Background of scenes seen from above."""
SOLID: Final[Rgb] = (66, 70, 78)
"""Planks, walls, floor and dividers."""

_RIM: Final = 0.16
"""Width of a ball's darker rim, as a share of its radius."""
_EDGE: Final = 0.008
"""Width of a block's darker edge, unit lengths."""
_RIM_BRIGHTNESS: Final = 0.72
_LEAST_SIZE_PX: Final = 16

_Box = tuple[float, float, float, float]


def draw(scene: Scene, poses: Float[np.ndarray, "num_bodies 3"], size_px: int) -> Image.Image:
    """Draw a scene with its balls and blocks in the given poses.

    Args:
        scene: the scene.
        poses: centre (x, y) in unit lengths and angle in rad, balls first, then blocks.
        size_px: side of the picture, at least 16.

    Raises:
        ValueError: if the picture is too small to show planks.
    """
    return _Canvas(scene, size_px).with_bodies(poses)


def draw_clip(
    scene: Scene, poses: Float[np.ndarray, "num_frames num_bodies 3"], size_px: int
) -> UInt8[np.ndarray, "num_frames {size_px} {size_px} 3"]:
    """Draw the frames of a scene, each equal to `draw` at its poses; fixed parts are drawn only once."""
    canvas = _Canvas(scene, size_px)
    return np.stack([np.asarray(canvas.with_bodies(frame)) for frame in poses])


class _Canvas:
    """The fixed parts of a scene, drawn at a multiple of the size and averaged down box by box."""

    def __init__(self, scene: Scene, size_px: int) -> None:
        if size_px < _LEAST_SIZE_PX:
            raise ValueError(f"size_px={size_px}: expected {_LEAST_SIZE_PX} or more, to show planks")
        self._scene = scene
        self._scale = min(max(2048 // size_px, 4), 8)  # canvas pixels per pixel: an eighth, from 512 px on a quarter
        self._side = size_px * self._scale
        from_above = LAWS[scene.task].gravity == 0
        self._large = Image.new("RGB", (self._side, self._side), TABLE if from_above else BACKGROUND)
        pen = ImageDraw.Draw(self._large)
        if scene.bins is not None:
            for index, colour in enumerate(scene.bins):
                self._box(pen, (index / 3, FLOOR_Y, (index + 1) / 3, 1.0), PALETTE[colour])
            for x in (1 / 3, 2 / 3):
                self._bar(pen, x, DIVIDER_TOP_Y + DIVIDER_RADIUS, x, 1.0, DIVIDER_RADIUS)
        elif not from_above:
            self._box(pen, (0.0, FLOOR_Y, 1.0, 1.0), SOLID)
        for low in (0.0, 1 - WALL_WIDTH):
            self._box(pen, (low, 0.0, low + WALL_WIDTH, 1.0), SOLID)
            if from_above:
                self._box(pen, (0.0, low, 1.0, low + WALL_WIDTH), SOLID)
        for plank in scene.planks:
            self._bar(pen, plank.x0, plank.y0, plank.x1, plank.y1, PLANK_RADIUS)
        self._small = self._large.reduce(self._scale)

    def with_bodies(self, poses: Float[np.ndarray, "num_bodies 3"]) -> Image.Image:
        """Return the picture with its bodies; only the box around them is drawn large and averaged again."""
        scene = self._scene
        if len(poses) != len(scene.balls) + len(scene.blocks):
            raise ValueError(f"{len(poses)} poses for {len(scene.balls)} balls and {len(scene.blocks)} blocks")
        size_px = self._side // self._scale
        low, high = self._extent(poses)
        low = np.floor(low * size_px - 1).clip(0, size_px - 1).astype(int)
        high = np.ceil(high * size_px + 1).clip(low + 1, size_px).astype(int)
        left, top, right, bottom = (int(edge) * self._scale for edge in (*low, *high))
        patch = self._large.crop((left, top, right, bottom))
        pen = ImageDraw.Draw(patch)
        origin = np.array([left / self._side, top / self._side, 0.0])
        for ball, (x, y, _) in zip(scene.balls, poses - origin, strict=False):
            self._disc(pen, x, y, BALL_RADIUS, _darker(PALETTE[ball.colour]))
            self._disc(pen, x, y, BALL_RADIUS * (1 - _RIM), PALETTE[ball.colour])
        for block, pose in zip(scene.blocks, (poses - origin)[len(scene.balls) :], strict=True):
            colour = PALETTE[block.colour]
            self._tile(pen, pose, block.width, block.height, _darker(colour))
            self._tile(pen, pose, block.width - 2 * _EDGE, block.height - 2 * _EDGE, colour)
        if scene.screen is not None:
            x0, x1, y0 = scene.screen.left - origin[0], scene.screen.right - origin[0], scene.screen.top - origin[1]
            self._box(pen, (x0, y0, x1, FLOOR_Y - origin[1]), PALETTE[scene.screen.colour])
        picture = self._small.copy()
        picture.paste(patch.reduce(self._scale), (int(low[0]), int(low[1])))
        return picture

    def _extent(self, poses: Float[np.ndarray, "num_bodies 3"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the upper left and lower right corner of the box around all bodies and the screen."""
        scene = self._scene
        reach = [BALL_RADIUS] * len(scene.balls)
        reach += [math.hypot(block.width, block.height) / 2 for block in scene.blocks]
        spread = np.array(reach)[:, None]
        low, high = (poses[:, :2] - spread).min(0), (poses[:, :2] + spread).max(0)
        if scene.screen is not None:
            low = np.minimum(low, (scene.screen.left, scene.screen.top))
            high = np.maximum(high, (scene.screen.right, FLOOR_Y))
        return low, high

    # Pillow's boxes include their last pixel and truncate fractions: round here, and end one pixel earlier.
    def _box(self, pen: ImageDraw.ImageDraw, box: _Box, colour: Rgb) -> None:
        left, top, right, bottom = (round(value * self._side) for value in box)
        pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def _disc(self, pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Rgb) -> None:
        box = (x - radius, y - radius, x + radius, y + radius)
        left, top, right, bottom = (round(value * self._side) for value in box)
        pen.ellipse((left, top, right - 1, bottom - 1), fill=colour)

    def _bar(self, pen: ImageDraw.ImageDraw, x0: float, y0: float, x1: float, y1: float, radius: float) -> None:
        """Draw a thick line with round ends, as in the physics."""
        angle = math.atan2(y1 - y0, x1 - x0)
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2, angle])
        self._tile(pen, middle, math.hypot(x1 - x0, y1 - y0), 2 * radius, SOLID)
        self._disc(pen, x0, y0, radius, SOLID)
        self._disc(pen, x1, y1, radius, SOLID)

    def _tile(self, pen: ImageDraw.ImageDraw, pose: np.ndarray, width: float, height: float, colour: Rgb) -> None:
        """Draw a rectangle around (x, y), turned by an angle."""
        x, y, angle = pose
        along = np.array([math.cos(angle), math.sin(angle)]) * width / 2
        across = np.array([-math.sin(angle), math.cos(angle)]) * height / 2
        corners = [along + across, along - across, -along - across, across - along]
        pen.polygon(
            [(round((x + dx) * self._side - 0.5), round((y + dy) * self._side - 0.5)) for dx, dy in corners],
            fill=colour,
        )


def _darker(colour: Rgb) -> Rgb:
    red, green, blue = colour
    return int(red * _RIM_BRIGHTNESS), int(green * _RIM_BRIGHTNESS), int(blue * _RIM_BRIGHTNESS)
