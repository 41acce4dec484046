"""Varied scenes: looks, sizes, laws and numbers of parts of its scenes, and the share that each split shows."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Final, Literal, get_args

from theworld.datasets.foresight.looks import (
    BALL_RADII,
    PLANK_RADII,
    Box,
    Region,
    draw_bands,
    draw_look,
    draw_within,
)
from theworld.datasets.foresight.physics import GRAVITIES, LAWS, RESTITUTIONS
from theworld.datasets.foresight.scene import FLOOR_Y, Kit, Scene, Spot, Task

Split = Literal[
    "world", "language", "train", "validation", "test", "shift-seen", "shift-unseen", "composition", "train-seen"
]
"""`world`: videos for the world model; `language`: static questions for the language side; `train`, `validation`,
`test`: the fused model. The others are of varied scenes: three tests, and `train-seen`, for training on the looks of
videos."""
SPLITS: Final[tuple[Split, ...]] = get_args(Split)
PLAIN_SPLITS: Final = SPLITS[:5]
MARKED_SPLITS: Final = SPLITS[:8]
"""Splits with a mark of their own; `train-seen` has that of `train`, so that the others keep theirs."""
TEST_SPLITS: Final = SPLITS[4:8]

REGIONS: Final[Mapping[Split, Region]] = {
    "world": "videos",
    "language": "videos",
    "train": "corner",
    "validation": "corner",
    "test": "videos",
    "shift-seen": "seen",
    "shift-unseen": "unseen",
    "composition": "corner",
    "train-seen": "videos",
}
"""Looks of each split of varied scenes. A language side that had seen the corner alone could read no other look,
whatever its world showed."""

NUM_SPOTS: Final = (1, 2, 3, 4)
MORE_SPOTS: Final = 5
"""Spots of `collide` in the split `composition`: this task has no second number of parts."""
_SPOT_X: Final = (0.08, 0.92)
_SPOT_Y: Final = (0.06, 0.86)
_SPOT_RADIUS: Final = (0.014, 0.034)
_SPOTS_APART: Final = 0.10
_DECIMALS: Final = 4

# The camera may cut off walls, and a third of a ball that leans on one at the strongest zoom, but nothing that decides.
_SIDES: Final = (0.054, 0.946)
_FLOOR_SEEN: Final = FLOOR_Y + 0.015
_BINS_SEEN: Final = FLOOR_Y + 0.035


def propose_scene(
    propose: Callable[[Random, int, Kit], Scene], rng: Random, index: int, task: Task, split: Split
) -> Scene:
    """Return a varied scene: the task's proposal with sizes, laws, spots and a look of the split.

    Args:
        propose: of the module of the task.
        rng: decides everything that the index leaves open.
        index: of the item.
        task: the kind of scene.
        split: decides the region of looks, and which numbers of parts go together.
    """
    bands = draw_bands(rng, REGIONS[split])
    kit = Kit(
        ball_radius=draw_within(rng, BALL_RADII, bands["sizes"]),
        plank_radius=draw_within(rng, PLANK_RADII, bands["sizes"]),
        gravity=_drawn(rng, GRAVITIES) if LAWS[task].gravity else None,
        restitution=_drawn(rng, RESTITUTIONS[task]) if task in RESTITUTIONS else None,
    )
    scene = propose(rng, index, kit)
    scene = replace(
        scene,
        ball_radius=kit.ball_radius,
        plank_radius=kit.plank_radius,
        gravity=kit.gravity,
        restitution=kit.restitution,
        spots=_spots(rng, rng.choice(numbers_of_spots(scene, split))),
    )
    return replace(scene, look=draw_look(rng, bands, box_of(scene)))


def number_of_parts(scene: Scene) -> int:
    """Return the number that goes together with that of the spots.

    Planks of `drop`, blocks of `topple`, bent ramps of `roll`, posts of `hide`; 0 for `collide`, which has none.
    """
    if scene.task == "collide":
        return 0
    return len(scene.planks) - {"drop": 0, "topple": 0, "roll": 4, "hide": 1}[scene.task] + len(scene.blocks)


def numbers_of_spots(scene: Scene, split: Split) -> tuple[int, ...]:
    """Return the numbers of spots that a scene of a split may have.

    For each number of parts, one number of spots is kept for `composition`; it appears elsewhere with other parts.
    """
    kept = MORE_SPOTS if scene.task == "collide" else NUM_SPOTS[-1] if number_of_parts(scene) % 2 else NUM_SPOTS[0]
    return (kept,) if split == "composition" else tuple(number for number in NUM_SPOTS if number != kept)


def box_of(scene: Scene) -> Box:
    """Return the part of a scene that its pictures must show, from the first frame alone."""
    left, right = _SIDES
    if scene.task == "collide":
        return Box(left, left, right, right)
    heights = [ball.y - scene.ball_radius for ball in scene.balls]
    heights += [block.y - block.height / 2 for block in scene.blocks]
    heights += [min(plank.y0, plank.y1) - scene.plank_radius for plank in scene.planks]
    return Box(left, max(min(heights), 0.0), right, _BINS_SEEN if scene.bins else _FLOOR_SEEN)


def _spots(rng: Random, number: int) -> tuple[Spot, ...]:
    spots: list[Spot] = []
    while len(spots) < number:
        x, y, radius = (round(rng.uniform(*limits), _DECIMALS) for limits in (_SPOT_X, _SPOT_Y, _SPOT_RADIUS))
        if all(max(abs(x - spot.x), abs(y - spot.y)) > _SPOTS_APART for spot in spots):
            spots.append(Spot(x=x, y=y, radius=radius))
    return tuple(spots)


def _drawn(rng: Random, limits: tuple[float, float]) -> float:
    return round(rng.uniform(*limits), _DECIMALS)
