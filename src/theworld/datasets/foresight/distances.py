"""Distances between scenes: how near the nearest of many training scenes is to a scene, in pixels."""

from collections.abc import Iterable, Sequence
from itertools import permutations
from typing import Final

import numpy as np
from jaxtyping import Float

from theworld.datasets.foresight.scene import FRAME_RATE_HZ, NUM_GIVEN_FRAMES, Scene

SIZE_PX: Final = 64
"""Side of the picture whose pixels are the unit of distances."""

_Numbers = Float[np.ndarray, " num_numbers"]


def numbers_of(scene: Scene) -> _Numbers:
    """Return all places and sizes of a scene in pixels at 64 px, in an order that depends on the scene alone.

    Balls: place, and in a clip the way within the given frames; blocks: place and sides; planks: both ends; screen:
    edges and top; spots: place and radius, from the left. The look and what no picture shows are left out.
    """
    seconds = (NUM_GIVEN_FRAMES[scene.task] - 1) / FRAME_RATE_HZ
    rows: list[Sequence[float]] = [(scene.ball_radius, scene.plank_radius)]
    rows += [(ball.x, ball.y, ball.vx * seconds, ball.vy * seconds) for ball in scene.balls]
    rows += [(block.x, block.y, block.width, block.height) for block in scene.blocks]
    planks = [(plank.x0, plank.y0, plank.x1, plank.y1) for plank in scene.planks]
    rows += sorted(planks) if scene.task == "drop" else planks  # only there the order means nothing
    if scene.screen is not None:
        rows.append((scene.screen.left, scene.screen.right, scene.screen.top))
    rows += sorted((spot.x, spot.y, spot.radius) for spot in scene.spots)
    return SIZE_PX * np.array([number for row in rows for number in row])


def kind_of(scene: Scene) -> tuple[object, ...]:
    """Return the numbers of parts of a scene; scenes of another kind have no distance."""
    bent = tuple(plank.x0 < plank.x1 for plank in scene.planks) if scene.task != "drop" else ()
    return scene.task, len(scene.balls), len(scene.blocks), len(scene.planks), bent, len(scene.spots)


def nearest_px(scenes: Iterable[Scene], known: Iterable[Scene]) -> Float[np.ndarray, " num_scenes"]:
    """Return the distance of each scene from the nearest known one of its kind, pixels at 64 px; infinite without one.

    The distance is the largest difference of two numbers. Spots and planks without an order are matched as well as
    they can be.
    """
    groups: dict[tuple[object, ...], list[_Numbers]] = {}
    for scene in known:
        groups.setdefault(kind_of(scene), []).append(numbers_of(scene))
    tables = {kind: np.stack(rows).astype(np.float32) for kind, rows in groups.items()}
    distances = []
    for scene in scenes:
        table = tables.get(kind_of(scene))
        nearest = np.inf
        if table is not None:
            for numbers in _matched(scene):
                nearest = min(nearest, float(np.abs(table - numbers).max(axis=1).min()))
        distances.append(nearest)
    return np.array(distances)


def _matched(scene: Scene) -> Iterable[_Numbers]:
    """Yield the numbers of a scene with its spots, and the planks of `drop`, in every order."""
    numbers = numbers_of(scene)
    num_spots = len(scene.spots)
    spots = numbers[len(numbers) - 3 * num_spots :].reshape(num_spots, 3)
    start = 2 + 4 * len(scene.balls)
    num_planks = len(scene.planks) if scene.task == "drop" else 0
    planks = numbers[start : start + 4 * num_planks].reshape(num_planks, 4)
    for plank_order in permutations(range(num_planks)):
        for spot_order in permutations(range(num_spots)):
            yield np.concatenate(
                [
                    numbers[:start],
                    planks[list(plank_order)].ravel(),
                    numbers[start + 4 * num_planks : len(numbers) - 3 * num_spots],
                    spots[list(spot_order)].ravel(),
                ]
            ).astype(np.float32)
