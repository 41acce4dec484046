"""Outcome detector: reads the outcome of a scene from the colours of its last picture, true or imagined."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, UInt8

from theworld.datasets.foresight import collide, hide, roll, topple
from theworld.datasets.foresight.looks import BACKGROUND, PALETTE, SOLID, TABLE
from theworld.datasets.foresight.scene import BALL_RADIUS, DIVIDER_TOP_Y, FLOOR_Y, Colour, Scene, Task, third

_FEWEST_SHARE: Final = 0.45
"""Share of a body's area that must be visible for it to count as present."""

_NEAR: Final = 70.0
"""Largest distance in RGB between a pixel and its colour; black and white are 442 apart."""

_NAMES: Final = tuple(PALETTE)
_COLOURS: Final = np.array([*PALETTE.values(), BACKGROUND, TABLE, SOLID], dtype=np.float32)

_Picture = UInt8[np.ndarray, "H W 3"]


def watched_outcome(scene: Scene, picture: _Picture) -> int | None:
    """Return the outcome in the last picture of a scene, as the number of an answer; None if it shows none.

    The position of a body is the median of the pixels with its colour.

    Args:
        scene: the scene, for its colours and the start of its bodies.
        picture: the last frame, true or imagined.
    """
    return _WATCHED[scene.task](scene, _nearest(picture))


def _nearest(picture: _Picture) -> np.ndarray:
    """Return the number of the colour of each pixel; -1 if none is near, as on the edges between two."""
    squares = np.square(picture[:, :, None].astype(np.float32) - _COLOURS).sum(-1)
    return np.where(squares.min(-1) < _NEAR**2, squares.argmin(-1), -1)


def _centre(nearest: np.ndarray, colour: Colour, area: float) -> Float[np.ndarray, "2"] | None:
    """Return the middle (x, y) of a colour, unit lengths; None if it covers too little of `area` (square units)."""
    seen: Bool[np.ndarray, "H W"] = nearest == _NAMES.index(colour)
    height, width = seen.shape
    if seen.sum() < _FEWEST_SHARE * area * height * width:
        return None
    rows, columns = np.nonzero(seen)
    return np.array([np.median(columns) + 0.5, np.median(rows) + 0.5]) / (width, height)


def _ball(scene: Scene, nearest: np.ndarray, number: int = 0) -> Float[np.ndarray, "2"] | None:
    return _centre(nearest, scene.balls[number].colour, np.pi * BALL_RADIUS**2)


def _of_drop(scene: Scene, nearest: np.ndarray) -> int | None:
    centre = _ball(scene, nearest)
    return None if centre is None or centre[1] < DIVIDER_TOP_Y - BALL_RADIUS else third(float(centre[0]))


def _of_topple(scene: Scene, nearest: np.ndarray) -> int | None:
    shifts = []
    for block in scene.blocks:
        centre = _centre(nearest, block.colour, block.width * block.height)
        if centre is None:
            return None
        shifts.append(float(centre[0]) - block.x)
    largest = max(shifts, key=abs)
    if abs(largest) < 0.04:
        return topple.STAYS
    return topple.RIGHT if largest > 0 else topple.LEFT


def _of_roll(scene: Scene, nearest: np.ndarray) -> int | None:
    left, right = _ball(scene, nearest, 0), _ball(scene, nearest, 1)
    if left is None or right is None or max(left[1], right[1]) < FLOOR_Y - 2 * BALL_RADIUS:
        return None
    return roll.LEFT if left[1] > right[1] else roll.RIGHT


def _of_collide(scene: Scene, nearest: np.ndarray) -> int | None:
    first, second = _ball(scene, nearest, 0), _ball(scene, nearest, 1)
    if first is None or second is None:
        return None
    return collide.YES if np.linalg.norm(first - second) < 2 * BALL_RADIUS + 0.02 else collide.NO


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
    "collide": _of_collide,
    "hide": _of_hide,
}
