"""The task `topple`: to which side does a tower of blocks fall, or does it stay?"""

from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Final

import numpy as np
from jaxtyping import Float, Int

from theworld.datasets.foresight.physics import Motion, simulate
from theworld.datasets.foresight.scene import COLOURS, FLOOR_Y, WALL_WIDTH, Block, Kit, Scene

PERIOD: Final = 12
"""Consecutive indices over which targets are balanced exactly: 3 outcomes x 2 leans x 2 block counts."""

VARIED_PERIOD: Final = 24
"""The same in varied scenes, with four block counts."""

LEFT, RIGHT, STAYS = range(3)

BLOCKS: Final = (4, 5)
VARIED_BLOCKS: Final = (3, 4, 5, 6)

_HEIGHT = 0.10
_VARIED_HEIGHTS = (0.080, 0.105)
_WIDTHS = (0.10, 0.26)
_BASE_X = (0.40, 0.60)
_MOST_OFFSET = 0.13  # greatest shift of a block from the one below it
_LEAST_LEAN = 0.025  # least shift of the top block from the lowest, so that the lean is clear at 64 px
_LEAST_OVERLAP = 0.02
_MARGIN = 0.022  # least distance of a centre of mass from the deciding edge: 1.4 px of 64
_MOVED = 0.05  # least shift of a fallen block, unit lengths
_STAYED = 0.01  # greatest shift of a block in a tower that stays
_STAYED_RAD = 0.05
_STAYED_BESIDE = 0.025  # greatest shift of a block to the other side, in varied scenes
_JITTER = 0.5 / 64
_CROWD = 512  # towers drawn at a time
_DECIMALS = 4


def counts_of(scene: Scene) -> tuple[int, ...]:
    """Return the numbers of blocks in its kind of scenes."""
    return VARIED_BLOCKS if scene.is_varied else BLOCKS


def propose(rng: Random, index: int, kit: Kit | None = None) -> Scene:
    """Return a tower with the lean, the number of blocks and, by statics, the outcome of the index.

    Args:
        rng: decides all that the index leaves open.
        index: of the item.
        kit: of a varied scene; None: plain scenes.
    """
    counts = VARIED_BLOCKS if kit else BLOCKS
    leans_left, num_blocks = index // 3 % 2 == 0, counts[index // 6 % len(counts)]
    height = round(rng.uniform(*_VARIED_HEIGHTS), _DECIMALS) if kit else _HEIGHT
    colours = rng.sample(COLOURS, num_blocks)
    xs, widths = _tower(np.random.default_rng(rng.getrandbits(64)), aim_of(index), leans_left, num_blocks)
    blocks = tuple(
        Block(
            x=float(x),
            y=round(FLOOR_Y - height * (level + 0.5), _DECIMALS),
            width=float(width),
            height=height,
            colour=colour,
        )
        for level, (x, width, colour) in enumerate(zip(xs, widths, colours, strict=True))
    )
    return Scene(task="topple", blocks=blocks)


def _tower(rng: np.random.Generator, aim: int, leans_left: bool, num_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return middles and widths of blocks from the lowest up: draw crowds of towers until one fits."""
    while True:
        widths = rng.uniform(*_WIDTHS, (_CROWD, num_blocks)).round(_DECIMALS)
        steps = rng.uniform(-_MOST_OFFSET, _MOST_OFFSET, (_CROWD, num_blocks))
        steps[:, 0] = rng.uniform(*_BASE_X, _CROWD)
        xs = steps.cumsum(axis=1).round(_DECIMALS)
        lean = (xs[:, -1] - xs[:, 0]) * (-1 if leans_left else 1)
        inside = ((xs >= 0) & (xs <= 1)).all(axis=1)  # one tower of 20,000 reaches beyond the picture
        (fit,) = np.nonzero((lean > _LEAST_LEAN) & (statics(xs, widths) == aim) & inside)
        if len(fit):
            return xs[fit[0]], widths[fit[0]]


def aim_of(index: int) -> int:
    """Return the required outcome of the item of an index."""
    return index % 3


def examine(scene: Scene, index: int) -> Motion | None:
    """Return the motion if it and its neighbours have the index's outcome; otherwise None."""
    aim = aim_of(index)
    if any(min(block.x, 1 - block.x) - block.width / 2 < WALL_WIDTH for block in scene.blocks):
        return None  # a block that starts inside a wall is pushed out by it
    motion = simulate(scene)
    if outcome(scene, motion) != aim or (scene.is_varied and _against(motion, aim) > _STAYED_BESIDE):
        return None
    return motion if all(outcome(variant, simulate(variant)) == aim for variant in neighbours(scene)) else None


def _against(motion: Motion, aim: int) -> float:
    """Return the largest shift of a block to the side to which the tower does not fall, unit lengths."""
    shifts = motion.poses[-1, :, 0] - motion.poses[0, :, 0]
    return 0.0 if aim == STAYS else float((shifts if aim == LEFT else -shifts).max())


def outcome(scene: Scene, motion: Motion) -> int | None:
    """Return 0 for fallen to the left, 1 to the right, 2 for standing at the end; None if undecided."""
    return fallen(motion.poses[0], motion.poses[-1])


def fallen(start: Float[np.ndarray, "num_blocks 3"], poses: Float[np.ndarray, "num_blocks 3"]) -> int | None:
    """Return 0 if blocks fell to the left, 1 to the right, 2 if the tower stands; None for both, or in mid-fall."""
    shifts = poses[:, 0] - start[:, 0]
    if np.abs(shifts).max() < _STAYED and np.abs(poses[:, 2]).max() < _STAYED_RAD:
        return STAYS
    moved = shifts[np.abs(shifts) > _MOVED]
    if not len(moved) or (moved > 0).any() == (moved < 0).any():
        return None
    return RIGHT if moved[0] > 0 else LEFT


def neighbours(scene: Scene) -> tuple[Scene, ...]:
    """Return towers with every block moved by less than a picture can show, to alternate sides."""
    patterns = ((1, -1, 1, -1, 1, -1), (-1, 1, -1, 1, -1, 1))
    return tuple(
        replace(
            scene,
            blocks=tuple(
                replace(block, x=block.x + sign * _JITTER / 2)
                for sign, block in zip(pattern, scene.blocks, strict=False)
            ),
        )
        for pattern in patterns
    )


def statics(
    xs: Float[np.ndarray, "num_towers num_blocks"], widths: Float[np.ndarray, "num_towers num_blocks"]
) -> Int[np.ndarray, " num_towers"]:
    """Return outcomes by statics; -1 within a margin of an edge, or if a block does not rest on the one below.

    The blocks above an interface topple over an edge of its contact if their common centre of mass is beyond that edge.
    Blocks have equal heights, so their masses are proportional to their widths.
    """
    falls = np.zeros((2, len(xs)), dtype=bool)
    unclear = np.zeros(len(xs), dtype=bool)
    for level in range(xs.shape[1] - 1):
        pair, half = xs[:, level : level + 2], widths[:, level : level + 2] / 2
        low, high = (pair - half).max(axis=1), (pair + half).min(axis=1)
        above, masses = xs[:, level + 1 :], widths[:, level + 1 :]
        centre = (above * masses).sum(axis=1) / masses.sum(axis=1)
        unclear |= (high - low < _LEAST_OVERLAP) | (np.minimum(abs(centre - low), abs(centre - high)) < _MARGIN)
        falls[LEFT] |= centre < low
        falls[RIGHT] |= centre > high
    outcome = np.where(falls[LEFT], LEFT, np.where(falls[RIGHT], RIGHT, STAYS))
    return np.where(unclear | falls.all(axis=0), -1, outcome)


def lean(scene: Scene) -> int:
    """Answer by the top alone: the tower falls to the side of its top block."""
    return RIGHT if scene.blocks[-1].x > scene.blocks[0].x else LEFT


def overhang(scene: Scene) -> int:
    """Answer by a rule that looks one step ahead: a block whose middle has no support falls to that side.

    The rule judges each block by the one below it, and ignores the load on top.
    """
    below, block = max(pairwise(scene.blocks), key=lambda pair: abs(pair[1].x - pair[0].x) - pair[0].width / 2)
    if abs(block.x - below.x) <= below.width / 2:
        return STAYS
    return RIGHT if block.x > below.x else LEFT
