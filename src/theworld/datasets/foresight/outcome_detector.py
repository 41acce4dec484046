"""Outcome detector: reads the outcome of a scene from the colours of its last picture, true or imagined."""

import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8

from theworld.datasets.foresight import collide, hide, roll, topple
from theworld.datasets.foresight.looks import BACKGROUND, PALETTE, SOLID, TABLE, Look
from theworld.datasets.foresight.scene import DIVIDER_TOP_Y, FLOOR_Y, Ball, Colour, Scene, Task, third

_FEWEST_SHARE: Final = 0.45
"""Share of a body's area that must be visible for it to count as present."""
_FEWEST_SHARE_OF_RING: Final = 0.12
"""The same for balls of varied scenes on a table, whose middle turns dark when they touch."""

_MIDDLE: Final = 0.35
"""Radius of a ball's middle, as a share of the ball's."""

_WINDOW: Final = 1.5
"""Side of the square in which a body of a varied scene is looked for, as a multiple of the root of its area."""

_NEAR: Final = 70.0
"""Largest distance in RGB between a pixel and its colour; black and white are 442 apart."""

_NAMES: Final = tuple(PALETTE)

_Picture = UInt8[np.ndarray, "H W 3"]


def watched_outcome(scene: Scene, picture: _Picture) -> int | None:
    """Return the outcome in the last picture of a scene, as the number of an answer; None if it shows none.

    The position of a body is the median of the pixels with its colour.

    Args:
        scene: the scene, for its colours and the start of its bodies.
        picture: the last frame, true or imagined.
    """
    if scene.task == "collide":
        return _of_collide(scene, picture)
    return _WATCHED[scene.task](scene, _nearest(scene.look, picture))


def _nearest(look: Look | None, picture: _Picture) -> np.ndarray:
    """Return the number of the colour of each pixel; -1 if none is near, as on the edges between two."""
    if look is None:
        colours = [*PALETTE.values(), BACKGROUND, TABLE, SOLID]
    else:
        colours = [look.lit(rgb) for rgb in (*look.palette, look.background, look.solid, look.plank)]
    squares = np.square(picture[:, :, None].astype(np.float32) - np.array(colours, dtype=np.float32)).sum(-1)
    return np.where(squares.min(-1) < _NEAR**2, squares.argmin(-1), -1)


def _centre(
    scene: Scene, nearest: np.ndarray, colour: Colour, area: float, fewest: float = _FEWEST_SHARE
) -> Float[np.ndarray, "2"] | None:
    """Return the middle (x, y) of a colour, unit lengths; None if it covers too little of `area` (square units)."""
    seen: Bool[np.ndarray, "H W"] = nearest == _NAMES.index(colour)
    height, width = seen.shape
    zoom, (left, top) = (scene.look.zoom, scene.look.offset) if scene.look else (1.0, (0.0, 0.0))
    if seen.sum() < fewest * area * zoom**2 * height * width:
        return None
    if scene.look is not None:
        seen = _densest(seen, round(_WINDOW * math.sqrt(area) * zoom * width))
    rows, columns = np.nonzero(seen)
    middle = np.array([np.median(columns) + 0.5, np.median(rows) + 0.5]) / (width, height)
    return (middle - (left, top)) / zoom


def _densest(seen: Bool[np.ndarray, "H W"], side: int) -> Bool[np.ndarray, "H W"]:
    """Keep the pixels in the square of a side that holds most: edges between two other colours may have this one."""
    side = max(1, min(side, *seen.shape))
    sums = np.pad(seen.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    counts = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(counts.argmax(), counts.shape)
    kept = np.zeros_like(seen)
    kept[top : top + side, left : left + side] = seen[top : top + side, left : left + side]
    return kept


def _ball(
    scene: Scene, nearest: np.ndarray, number: int = 0, fewest: float = _FEWEST_SHARE
) -> Float[np.ndarray, "2"] | None:
    return _centre(scene, nearest, scene.balls[number].colour, np.pi * scene.ball_radius**2, fewest)


def _of_drop(scene: Scene, nearest: np.ndarray) -> int | None:
    centre = _ball(scene, nearest)
    return None if centre is None or centre[1] < DIVIDER_TOP_Y - scene.ball_radius else third(float(centre[0]))


def _of_topple(scene: Scene, nearest: np.ndarray) -> int | None:
    shifts = []
    for block in scene.blocks:
        centre = _centre(scene, nearest, block.colour, block.width * block.height)
        if centre is None:
            return None
        shifts.append(float(centre[0]) - block.x)
    largest = max(shifts, key=abs)
    if abs(largest) < 0.04:
        return topple.STAYS
    return topple.RIGHT if largest > 0 else topple.LEFT


def _of_roll(scene: Scene, nearest: np.ndarray) -> int | None:
    left, right = _ball(scene, nearest, 0), _ball(scene, nearest, 1)
    if left is None or right is None or max(left[1], right[1]) < FLOOR_Y - 2 * scene.ball_radius:
        return None
    return roll.LEFT if left[1] > right[1] else roll.RIGHT


def _of_collide(scene: Scene, picture: _Picture) -> int | None:
    nearest = _nearest(scene.look, picture)
    fewest = _FEWEST_SHARE_OF_RING if scene.look else _FEWEST_SHARE
    first, second = _ball(scene, nearest, 0, fewest), _ball(scene, nearest, 1, fewest)
    if first is None or second is None:
        return None
    if scene.look is not None:
        is_dark = [
            _is_dark(scene, scene.look, picture, *pair) for pair in zip(scene.balls, (first, second), strict=True)
        ]
        return collide.YES if all(is_dark) else collide.NO
    return collide.YES if np.linalg.norm(first - second) < 2 * scene.ball_radius + 0.02 else collide.NO


def _is_dark(scene: Scene, look: Look, picture: _Picture, ball: Ball, centre: Float[np.ndarray, "2"]) -> bool:
    """Return True if the middle of a ball has the colour of a ball that has touched another, rather than its own."""
    height, width = picture.shape[:2]
    x, y = look.seen(float(centre[0]), float(centre[1]))
    columns, rows = (np.arange(width) + 0.5) / width - x, (np.arange(height) + 0.5) / height - y
    inside = np.hypot(columns[None], rows[:, None]) < max(_MIDDLE * scene.ball_radius * look.zoom, 0.75 / width)
    if not inside.any():
        return False
    colour = picture[inside].astype(np.float32).mean(axis=0)
    own, dark = (np.array(rgb, dtype=np.float32) for rgb in (look.shade(ball.colour), look.lit(look.solid)))
    return float(np.linalg.norm(colour - dark)) < float(np.linalg.norm(colour - own))


def _of_hide(scene: Scene, nearest: np.ndarray) -> int | None:
    assert scene.screen is not None
    centre = _ball(scene, nearest)
    if centre is None:
        return hide.NOWHERE
    return hide.LEFT if centre[0] < (scene.screen.left + scene.screen.right) / 2 else hide.RIGHT


_WATCHED: Final[Mapping[Task, Callable[[Scene, np.ndarray], int | None]]] = {
    "drop": _of_drop,
    "topple": _of_topple,
    "roll": _of_roll,
    "hide": _of_hide,
}
