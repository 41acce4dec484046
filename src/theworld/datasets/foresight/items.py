"""Items: one fixed scene for each split, task and index; no scene is in two splits."""

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol

import numpy as np
from jaxtyping import Float

from theworld.datasets.foresight import collide, drop, hide, roll, topple
from theworld.datasets.foresight.ground_truth import controls_of, static_kinds
from theworld.datasets.foresight.physics import Motion, simulate
from theworld.datasets.foresight.scene import SCENE_KINDS, TASKS, Kit, Scene, Scenes, Task
from theworld.datasets.foresight.variety import MARKED_SPLITS, PLAIN_SPLITS, SPLITS, Split, propose_scene

NUM_SHIPPED: Final[Mapping[Split, int]] = {"validation": 300, "test": 600}
"""Items of each task in the package, with their scenes and motions; all others are simulated on demand."""
SCENES: Final = Path(__file__).parent / "scenes"
"""Folder of the shipped items: a file per split and task, an item per line."""

VERSION: Final = 2
"""Version of scenes, pictures and questions; a new one changes every item."""
VARIED_VERSION: Final = 1
"""The same for varied scenes."""

_MAX_ATTEMPTS = 5_000  # the mean is 14, the maximum over 1,000 items 511
_DECIMALS = 4
_TICKS = 10**_DECIMALS  # coordinates are multiples of one tick, 1 / 10,000


class Design(Protocol):
    """Interface of the module of a task."""

    @property
    def PERIOD(self) -> int:  # noqa: N802  # a constant of the module
        """Consecutive indices over which outcomes are balanced jointly with the cues of simple rules."""
        ...

    @property
    def VARIED_PERIOD(self) -> int:  # noqa: N802  # a constant of the module
        """The same in varied scenes."""
        ...

    def propose(self, rng: Random, index: int, kit: Kit | None = None) -> Scene:
        """Return a scene with the properties that the index requires, of varied scenes if there is a kit.

        Its outcome is still unknown.
        """
        ...

    def examine(self, scene: Scene, index: int) -> Motion | None:
        """Return the motion of a scene that is fit for a question and has the index's outcome, otherwise None."""
        ...

    def outcome(self, scene: Scene, motion: Motion) -> int | None:
        """Return the outcome as the number of an answer; None: it is not one of the answers."""
        ...


DESIGNS: Final[Mapping[Task, Design]] = {
    "drop": drop,
    "topple": topple,
    "roll": roll,
    "collide": collide,
    "hide": hide,
}


@dataclass(frozen=True)
class Item:
    """A scene that is fit for a question, with its motion."""

    split: Split
    index: int
    scene: Scene
    poses: Float[np.ndarray, "17 num_bodies 3"]
    """Centre (x, y) in unit lengths and angle in rad of balls, then blocks, in each frame, to 4 decimals."""
    outcome: int
    """Outcome, as the number of an answer."""

    @property
    def id(self) -> str:
        """Return the name of the item, unique among all worlds, tasks and splits."""
        world = "varied-" if self.scene.is_varied else ""
        return f"{self.scene.task}-{world}{self.split}-{self.index}"

    def to_dict(self) -> dict[str, Any]:
        """Return scene, outcome and motion as plain values for JSON; `from_dict` turns them into an equal item."""
        return {"scene": self.scene.to_dict(), "outcome": self.outcome, "poses": self.poses.tolist()}

    @classmethod
    def from_dict(cls, split: Split, index: int, values: Mapping[str, Any]) -> "Item":
        """Return the item that `to_dict` described.

        Raises:
            ValueError: if the scene is not valid.
        """
        poses = np.array(values["poses"])
        poses.setflags(write=False)  # callers share the item
        return cls(split, index, Scene.from_dict(values["scene"]), poses, values["outcome"])


def make_item(split: Split, index: int, task: Task = "drop", scenes: Scenes = "plain") -> Item:
    """Return the item of an index: a pure function of its arguments.

    Shipped items (`NUM_SHIPPED`) of plain scenes are read from a file; all others are found by simulation.

    Raises:
        ValueError: for an unknown world, split or task, or a negative index.
    """
    check_split(split, scenes)
    if task not in TASKS:
        raise ValueError(f"task {task!r}: expected one of {TASKS}")
    if index < 0:
        raise ValueError(f"index {index}: expected 0 or more")
    return _make_item(split, index, task, scenes)


def index_of(first_scene: int, tasks: Sequence[Task]) -> int:
    """Return the index of the items of a scene; scenes cycle through the tasks.

    Raises:
        ValueError: for a scene inside a round of the tasks.
    """
    index, rest = divmod(first_scene, len(tasks))
    if rest or first_scene < 0:
        raise ValueError(f"first_scene={first_scene}: expected a multiple of {len(tasks)}, the number of tasks")
    return index


def check_split(split: Split, scenes: Scenes) -> None:
    """Check that a world has a split.

    Raises:
        ValueError: for an unknown world, or a split that it does not have.
    """
    if scenes not in SCENE_KINDS:
        raise ValueError(f"scenes={scenes!r}: expected one of {SCENE_KINDS}")
    splits = SPLITS if scenes == "varied" else PLAIN_SPLITS
    if split not in splits:
        remedy = " (the others are splits of varied scenes)" if split in SPLITS else ""
        raise ValueError(f"split {split!r}: expected one of {splits}{remedy}")


@lru_cache(maxsize=1024)
def _make_item(split: Split, index: int, task: Task, scenes: Scenes) -> Item:
    if scenes == "plain" and index < NUM_SHIPPED.get(split, 0):
        return Item.from_dict(split, index, json.loads(_shipped(split, task)[index]))
    return find_item(split, index, task, scenes)


@cache
def _shipped(split: Split, task: Task) -> list[bytes]:
    return gzip.decompress(shipped_path(SCENES, split, task).read_bytes()).rstrip(b"\n").split(b"\n")


def shipped_path(folder: Path, split: Split, task: Task) -> Path:
    """Return the path of the file with the items of a split and task."""
    return folder / f"{split}-{task}.jsonl.gz"


def find_item(split: Split, index: int, task: Task, scenes: Scenes = "plain") -> Item:
    """Draw scenes until one has the outcome of the index, and a picture that decides all controls."""
    design = DESIGNS[task]
    for scene in _proposals(split, index, task, scenes):
        motion = design.examine(scene, index)
        if motion is None:
            continue
        poses = motion.poses.round(_DECIMALS) + 0.0  # no -0.0
        if _is_clear(scene, poses):
            poses.setflags(write=False)
            outcome = design.outcome(scene, motion)
            assert outcome is not None, "an examined scene has an outcome"
            return Item(split, index, scene, poses, outcome)
    raise AssertionError(f"{task} {split} {index}: no fit scene in {_MAX_ATTEMPTS} attempts, physics is broken")


def _is_clear(scene: Scene, poses: Float[np.ndarray, "17 num_bodies 3"]) -> bool:
    """Return True if the current picture decides every control."""
    return len(controls_of(scene, poses[scene.num_given_frames - 1])) == len(static_kinds(scene.task, scene.is_varied))


def make_film(index: int, scenes: Scenes = "plain") -> tuple[Scene, Motion]:
    """Return scene and motion of the split `world`, for the training of a world model: the first proposal of the index.

    Indices cycle through the tasks. No proposal is rejected: these scenes have no questions, and a world model must see
    near misses, too.
    """
    scene = make_film_scene(index, scenes)
    return scene, simulate(scene)


def make_film_scene(index: int, scenes: Scenes = "plain") -> Scene:
    """Return the scene of `make_film` without its motion."""
    return next(_proposals("world", index // len(TASKS), TASKS[index % len(TASKS)], scenes))


def _proposals(split: Split, index: int, task: Task, scenes: Scenes) -> Iterator[Scene]:
    version = f"{VERSION}" if scenes == "plain" else f"{scenes}-{VARIED_VERSION}"
    for attempt in range(_MAX_ATTEMPTS):
        text = f"foresight/{version}/{task}/{split}/{index}/{attempt}"
        rng = Random(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big"))
        propose = DESIGNS[task].propose
        scene = propose(rng, index) if scenes == "plain" else propose_scene(propose, rng, index, task, split)
        yield _mark(scene, split)


def split_of(scene: Scene) -> Split:
    """Return the split of a scene, from the scene alone.

    The x of the first ball, or of the lowest block, in ticks of 1/10,000, is congruent to the split's number modulo
    the number of splits: five in plain scenes, eight in the varied one. Hence no scene belongs to two splits, but for
    `train-seen`, whose scenes are marked as those of `train`.
    """
    first = (scene.balls or scene.blocks)[0]
    return SPLITS[round(first.x * _TICKS) % _num_splits(scene)]


def _num_splits(scene: Scene) -> int:
    return len(MARKED_SPLITS if scene.is_varied else PLAIN_SPLITS)


def _mark(scene: Scene, split: Split) -> Scene:
    number, num_splits = SPLITS.index("train" if split == "train-seen" else split), _num_splits(scene)
    if scene.balls:
        first = replace(scene.balls[0], x=_marked(scene.balls[0].x, number, num_splits))
        return replace(scene, balls=(first, *scene.balls[1:]))
    first = replace(scene.blocks[0], x=_marked(scene.blocks[0].x, number, num_splits))
    return replace(scene, blocks=(first, *scene.blocks[1:]))


def _marked(x: float, number: int, num_splits: int) -> float:
    ticks = round(x * _TICKS)
    return (ticks + number - ticks % num_splits) / _TICKS  # moves by 7 ticks at most: 1/22 px at 64 px
