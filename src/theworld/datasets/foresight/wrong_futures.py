"""Wrong futures of simulated scenes, beside the true ones: for measures of surprise."""

from dataclasses import replace
from random import Random
from typing import Any, Final, Literal, get_args

import numpy as np
from jaxtyping import Float, UInt8

from theworld.datasets.foresight.items import Item, make_item
from theworld.datasets.foresight.physics import law_of, simulate
from theworld.datasets.foresight.rendering import draw_clip
from theworld.datasets.foresight.scene import TASKS, Task
from theworld.datasets.foresight.variety import Split

Wrong = Literal["other-scene", "permuted", "reversed", "frozen", "other-law"]
"""other-scene: the future of another scene of the same kind; permuted, reversed: its own frames in another order;
frozen: its current frame stays; other-law: simulated in the same scene under another law of physics."""
WRONG: Final[tuple[Wrong, ...]] = get_args(Wrong)

_LAWS: Final[dict[Task, dict[str, Any]]] = {
    "drop": {"gravity": 1.0},
    "topple": {"gravity": 1.0},
    "roll": {"gravity": 1.0},
    "collide": {"sticky": False, "restitution": 1.0},
    "hide": {"restitution": 0.0},
}
"""Constants of the other law: half of gravity; balls that bounce and do not stick; a ball that does not bounce. Until
something falls or touches, nothing differs, so that the given frames stay as they are."""
_COMPARED_PX: Final = 64
"""Side of the frames in which two futures are compared."""
_LEAST_GREY: Final = 32
"""Difference of a pixel that counts, of 255."""
_LEAST_SHARE: Final = 0.005
"""Share of the pixels of a frame, that of a ball moved by its radius, below which two futures look alike."""


def scenes_of(split: Split, size: int) -> list[Item]:
    """Return the first scenes of a split, of all kinds in turn."""
    return [make_item(split, place // len(TASKS), TASKS[place % len(TASKS)]) for place in range(size)]


def given_frames(item: Item, size_px: int) -> UInt8[np.ndarray, "F {size_px} {size_px} 3"]:
    """Draw the frames of a scene that its question shows: one, or five."""
    return draw_clip(item.scene, item.poses[: item.scene.num_given_frames], size_px)


def future_frames(item: Item, wrong: Wrong | None, size_px: int) -> UInt8[np.ndarray, "F {size_px} {size_px} 3"]:
    """Draw the frames that follow the given ones of a scene.

    Args:
        item: the scene with its motion.
        wrong: the way in which the future is wrong; None: the true future.
        size_px: side of the frames.
    """
    first = item.scene.num_given_frames
    if wrong == "other-scene":
        other = make_item(item.split, item.index + 1, item.scene.task)
        return draw_clip(other.scene, other.poses[first:], size_px)
    return draw_clip(item.scene, _motion(item, wrong)[first:], size_px)


def visible_wrongs(item: Item) -> tuple[Wrong, ...]:
    """Return the ways in which a wrong future of a scene looks different from the true one.

    A tower that stands is the same in any order of its frames, and so is a ball that rests behind a screen.
    """
    true = future_frames(item, None, _COMPARED_PX).astype(int)

    def looks_different(wrong: Wrong) -> bool:
        difference = np.abs(future_frames(item, wrong, _COMPARED_PX) - true).max(-1)
        return bool((difference >= _LEAST_GREY).mean((1, 2)).max() >= _LEAST_SHARE)

    return tuple(wrong for wrong in WRONG if looks_different(wrong))


def _motion(item: Item, wrong: Wrong | None) -> Float[np.ndarray, "17 num_bodies 3"]:
    """Return the poses of all frames, the given ones as they are."""
    first = item.scene.num_given_frames
    given, future = item.poses[:first], item.poses[first:]
    if wrong == "frozen":
        future = np.repeat(given[-1:], len(future), axis=0)
    elif wrong == "reversed":
        future = future[::-1]
    elif wrong == "permuted":
        order = list(range(len(future)))
        Random(item.id).shuffle(order)
        future = future[order]
    elif wrong == "other-law":
        future = simulate(item.scene, replace(law_of(item.scene), **_LAWS[item.scene.task])).poses[first:]
    return np.concatenate([given, future])
