"""Items: the scene of a split and an index, always the same one, and never one of another split."""

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Float

from theworld.foresight import drop
from theworld.foresight.scene import TASKS, Scene, Task, third

Split = Literal["world", "language", "train", "validation", "test"]
"""`world`: videos for the world model; `language`: static questions for the language side; `train`, `validation`,
`test`: the fused model."""
SPLITS: Final[tuple[Split, ...]] = get_args(Split)

_VERSION = 1  # change it, and every item changes
_MAX_ATTEMPTS = 5_000  # ten are needed on average, 209 were the most of 648 items
_TICKS = 10_000  # coordinates are multiples of one tick, 1 / 10,000


@dataclass(frozen=True)
class Item:
    """A scene that is fit to ask about, with what happens in it."""

    split: Split
    index: int
    scene: Scene
    positions: Float[np.ndarray, "17 num_balls 2"]
    """Centres (x, y) of the balls in each frame, unit lengths."""

    @property
    def id(self) -> str:
        """Names the item among all tasks and splits."""
        return f"{self.scene.task}-{self.split}-{self.index}"

    @property
    def start(self) -> int:
        """The third of the picture, 0 to 2, that the ball starts above."""
        return third(self.scene.ball.x)

    @property
    def end(self) -> int:
        """The bin, 0 to 2, in which the ball comes to rest."""
        return third(float(self.positions[-1, 0, 0]))


def make_item(split: Split, index: int, task: Task = "drop") -> Item:
    """The item of an index: a pure function of its arguments.

    Scenes are drawn until one fits the target of the index and passes `drop.examine`.

    Raises:
        ValueError: unknown split or task, negative index.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: expected one of {SPLITS}")
    if task not in TASKS:
        raise ValueError(f"task {task!r}: expected one of {TASKS}")
    if index < 0:
        raise ValueError(f"index {index}: expected 0 or more")
    return _make_item(split, index, task)


@lru_cache(maxsize=1024)
def _make_item(split: Split, index: int, task: Task) -> Item:
    target = drop.Target.of(index)
    for attempt in range(_MAX_ATTEMPTS):
        text = f"foresight/{_VERSION}/{task}/{split}/{index}/{attempt}"
        rng = Random(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big"))
        scene = _mark(drop.propose(rng, target), split)
        motion = drop.examine(scene, target)
        if motion is not None:
            motion.positions.setflags(write=False)  # the item is shared by all who ask for it
            return Item(split, index, scene, motion.positions)
    raise AssertionError(f"{task} {split} {index}: no fit scene in {_MAX_ATTEMPTS} attempts, physics is broken")


def split_of(scene: Scene) -> Split:
    """The split that a scene belongs to, read from the scene alone.

    The start of the first ball, counted in ticks of 1/10,000, has the split's number as remainder modulo five.
    Hence no scene can belong to two splits.
    """
    return SPLITS[round(scene.balls[0].x * _TICKS) % len(SPLITS)]


def _mark(scene: Scene, split: Split) -> Scene:
    first, *rest = scene.balls
    ticks = round(first.x * _TICKS)
    ticks += SPLITS.index(split) - ticks % len(SPLITS)  # at most 4 ticks: a fortieth of a pixel at 64 px
    return replace(scene, balls=(replace(first, x=ticks / _TICKS), *rest))
