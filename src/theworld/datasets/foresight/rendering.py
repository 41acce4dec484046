"""Rendering: the picture of a scene at any resolution; the same scene always gives the same pixels."""

import math
from typing import Final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from theworld.datasets.foresight.looks import BACKGROUND, TABLE, Look, Rgb, mixed
from theworld.datasets.foresight.physics import LAWS
from theworld.datasets.foresight.scene import DIVIDER_RADIUS, DIVIDER_TOP_Y, FLOOR_Y, WALL_WIDTH, Scene

_RIM: Final = 0.16
"""Width of a ball's darker rim, as a share of its radius."""
_EDGE: Final = 0.008
"""Width of a block's darker edge, unit lengths."""
_RIM_BRIGHTNESS: Final = 0.72
_LEAST_SIZE_PX: Final = 16
_SPOT_STRENGTH: Final = 0.22
"""Share of the solid parts' colour in that of a spot on the background."""
_TOUCHED: Final = 0.6
"""Radius of the dark middle of a ball of varied scenes that has touched another, as a share of the ball's."""
_TOUCH_GAP: Final = 0.004
"""Unit lengths. Balls that touch stay together, so the dark middle stays, too."""
_BEYOND: Final = 2.0
"""How far walls and floor go on outside the unit square, unit lengths; a camera may show some of it."""

_Box = tuple[float, float, float, float]


def draw(scene: Scene, poses: Float[np.ndarray, "num_bodies 3"], size_px: int, look: Look | None = None) -> Image.Image:
    """Draw a scene with its balls and blocks in the given poses.

    Args:
        scene: the scene.
        poses: centre (x, y) in unit lengths and angle in rad, balls first, then blocks.
        size_px: side of the picture, at least 16.
        look: to draw it in; None: its own.

    Raises:
        ValueError: if the picture is too small to show planks.
    """
    return _Canvas(scene, size_px, look or look_of(scene)).with_bodies(poses)


def draw_clip(
    scene: Scene, poses: Float[np.ndarray, "num_frames num_bodies 3"], size_px: int, look: Look | None = None
) -> UInt8[np.ndarray, "num_frames {size_px} {size_px} 3"]:
    """Draw the frames of a scene, each equal to `draw` at its poses; fixed parts are drawn only once."""
    canvas = _Canvas(scene, size_px, look or look_of(scene))
    return np.stack([np.asarray(canvas.with_bodies(frame)) for frame in poses])


def look_of(scene: Scene) -> Look:
    """Return the look that a scene is drawn in."""
    return scene.look or Look(background=TABLE if LAWS[scene.task].gravity == 0 else BACKGROUND)


class _Canvas:
    """The fixed parts of a scene, drawn at a multiple of the size and averaged down box by box."""

    def __init__(self, scene: Scene, size_px: int, look: Look) -> None:
        if size_px < _LEAST_SIZE_PX:
            raise ValueError(f"size_px={size_px}: expected {_LEAST_SIZE_PX} or more, to show planks")
        self._scene = scene
        from_above = LAWS[scene.task].gravity == 0
        self._look = look
        self._scale = min(max(2048 // size_px, 4), 8)  # canvas pixels per pixel: an eighth, from 512 px on a quarter
        self._side = size_px * self._scale
        self._zoom, self._origin = look.zoom, np.array([*look.offset, 0.0])
        solid = look.lit(look.solid)
        self._large = Image.new("RGB", (self._side, self._side), look.lit(look.background))
        pen = _Pen(self._large, self._side, self._zoom, self._origin)
        for spot in scene.spots:
            pen.disc(spot.x, spot.y, spot.radius, look.lit(mixed(look.background, look.solid, _SPOT_STRENGTH)))
        if scene.bins is not None:
            for index, colour in enumerate(scene.bins):
                left, right = (-_BEYOND if index == 0 else index / 3), (_BEYOND if index == 2 else (index + 1) / 3)
                pen.box((left, FLOOR_Y, right, _BEYOND), look.shade(colour))
            for x in (1 / 3, 2 / 3):
                pen.bar(x, DIVIDER_TOP_Y + DIVIDER_RADIUS, x, _BEYOND, DIVIDER_RADIUS, solid)
        elif not from_above:
            pen.box((-_BEYOND, FLOOR_Y, _BEYOND, _BEYOND), solid)
        for low, high in ((-_BEYOND, WALL_WIDTH), (1 - WALL_WIDTH, _BEYOND)):
            pen.box((low, -_BEYOND, high, _BEYOND), solid)
            if from_above:
                pen.box((-_BEYOND, low, _BEYOND, high), solid)
        for plank in scene.planks:
            pen.bar(plank.x0, plank.y0, plank.x1, plank.y1, scene.plank_radius, look.lit(look.plank))
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
        corner = np.array([left / self._side, top / self._side, 0.0])
        pen = _Pen(patch, self._side, self._zoom, self._origin - corner)
        look, radius, touch = self._look, scene.ball_radius, _touch(scene, poses)
        for ball, (x, y, _) in zip(scene.balls, poses, strict=False):
            colour = look.shade(ball.colour)
            pen.disc(x, y, radius, _darker(colour))
            pen.disc(x, y, radius * (1 - _RIM), colour)
            if touch:
                pen.disc(x, y, radius * _TOUCHED, look.lit(look.solid))
        for block, pose in zip(scene.blocks, poses[len(scene.balls) :], strict=True):
            colour = look.shade(block.colour)
            pen.tile(pose, block.width, block.height, _darker(colour))
            pen.tile(pose, block.width - 2 * _EDGE, block.height - 2 * _EDGE, colour)
        if scene.screen is not None:
            screen = scene.screen
            pen.box((screen.left, screen.top, screen.right, FLOOR_Y), look.shade(screen.colour))
        picture = self._small.copy()
        picture.paste(patch.reduce(self._scale), (int(low[0]), int(low[1])))
        return picture

    def _extent(self, poses: Float[np.ndarray, "num_bodies 3"]) -> tuple[np.ndarray, np.ndarray]:
        """Return the upper left and lower right corner, in the picture, of the box around all bodies and the screen."""
        scene = self._scene
        reach = [scene.ball_radius] * len(scene.balls)
        reach += [math.hypot(block.width, block.height) / 2 for block in scene.blocks]
        spread = np.array(reach)[:, None]
        low, high = (poses[:, :2] - spread).min(0), (poses[:, :2] + spread).max(0)
        if scene.screen is not None:
            low = np.minimum(low, (scene.screen.left, scene.screen.top))
            high = np.maximum(high, (scene.screen.right, FLOOR_Y))
        return low * self._zoom + self._origin[:2], high * self._zoom + self._origin[:2]


class _Pen:
    """Draws shapes of the scene, in unit lengths, on a part of the canvas.

    Args:
        image: the part.
        side: side of the whole canvas, pixels.
        zoom: size of a unit length of the scene, canvas sides.
        origin: place of the scene's upper left corner, relative to the part's, canvas sides; and an angle of 0.
    """

    def __init__(self, image: Image.Image, side: int, zoom: float, origin: Float[np.ndarray, "3"]) -> None:
        self._pen = ImageDraw.Draw(image)
        self._side, self._zoom = side, zoom
        self._left, self._top, _ = origin.tolist()

    # Pillow's boxes include their last pixel and truncate fractions: round here, and end one pixel earlier.
    def box(self, box: _Box, colour: Rgb) -> None:
        x0, y0, x1, y1 = box
        edges = (self._x(x0), self._y(y0), self._x(x1), self._y(y1))
        left, top, right, bottom = (round(value * self._side) for value in edges)
        if right > left and bottom > top:
            self._pen.rectangle((left, top, right - 1, bottom - 1), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Rgb) -> None:
        x, y, radius = self._x(x), self._y(y), radius * self._zoom
        box = (x - radius, y - radius, x + radius, y + radius)
        left, top, right, bottom = (round(value * self._side) for value in box)
        self._pen.ellipse((left, top, right - 1, bottom - 1), fill=colour)

    def bar(self, x0: float, y0: float, x1: float, y1: float, radius: float, colour: Rgb) -> None:
        """Draw a thick line with round ends, as in the physics."""
        angle = math.atan2(y1 - y0, x1 - x0)
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2, angle])
        self.tile(middle, math.hypot(x1 - x0, y1 - y0), 2 * radius, colour)
        self.disc(x0, y0, radius, colour)
        self.disc(x1, y1, radius, colour)

    def tile(self, pose: np.ndarray, width: float, height: float, colour: Rgb) -> None:
        """Draw a rectangle around (x, y), turned by an angle."""
        x, y, angle = self._x(pose[0]), self._y(pose[1]), pose[2]
        along = np.array([math.cos(angle), math.sin(angle)]) * width * self._zoom / 2
        across = np.array([-math.sin(angle), math.cos(angle)]) * height * self._zoom / 2
        corners = [along + across, along - across, -along - across, across - along]
        self._pen.polygon(
            [(round((x + dx) * self._side - 0.5), round((y + dy) * self._side - 0.5)) for dx, dy in corners],
            fill=colour,
        )

    def _x(self, x: float) -> float:
        return x * self._zoom + self._left

    def _y(self, y: float) -> float:
        return y * self._zoom + self._top


def _touch(scene: Scene, poses: Float[np.ndarray, "num_bodies 3"]) -> bool:
    """Return True if the balls of a table in varied scenes touch, which their dark middles show."""
    if scene.task != "collide" or not scene.is_varied or len(scene.balls) < 2:
        return False
    gap = math.hypot(*(poses[1, :2] - poses[0, :2])) - 2 * scene.ball_radius
    return gap < _TOUCH_GAP


def _darker(colour: Rgb) -> Rgb:
    red, green, blue = colour
    return int(red * _RIM_BRIGHTNESS), int(green * _RIM_BRIGHTNESS), int(blue * _RIM_BRIGHTNESS)
