"""The task `collide`: after a clip of two balls on a table, seen from above, will they touch?"""

import math
from dataclasses import replace
from random import Random
from typing import Final

import numpy as np
from jaxtyping import Float

from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.foresight.physics import Motion, simulate
from theworld.datasets.foresight.scene import (
    BALL_RADIUS,
    COLOURS,
    FRAME_RATE_HZ,
    NUM_FRAMES,
    NUM_GIVEN_FRAMES,
    Ball,
    Kit,
    Scene,
)

PERIOD: Final = 6
"""Consecutive indices over which targets are balanced exactly: 2 outcomes x 3 distances in the last given frame."""
VARIED_PERIOD: Final = PERIOD

YES, NO = range(2)

_NOW = NUM_GIVEN_FRAMES["collide"] - 1
_SPEED = (0.10, 0.34)  # unit lengths / s
_MEETING_S = (1.1, 2.2)  # time of the nearest approach, from the first frame
_VARIED_MEETING_S = (1.0, 1.9)  # early enough for the last slot to show the touch in all of its frames
_MEETING_PLACE = (0.25, 0.75)
# Nearest distance of the centres, if touching balls could pass through each other, from twice the radius.
_HIT = -0.03  # at most
_MISSES = (0.04, 0.20)
_DISTANCES = (0.20, 0.32, 0.44, 0.60)  # edges of the three classes of distance in the last given frame
_EDGE = 0.04  # least distance of a ball's rim from the picture's edge, so that balls never reach the rails
_TOUCHING = 0.005  # greatest gap between balls that touch
_JITTER = 0.5 / 64
_DECIMALS = 4


def propose(rng: Random, index: int, kit: Kit | None = None) -> Scene:
    """Return two balls in straight motion; by geometry, they have the outcome and the distance of the index.

    Args:
        rng: decides all that the index leaves open.
        index: of the item.
        kit: sizes of a varied scene; None: plain scenes.
    """
    width = 2 * (kit.ball_radius if kit else BALL_RADIUS)
    distances = (0.0, width + _HIT), (width + _MISSES[0], width + _MISSES[1])
    touches, distance_class = aim_of(index) == YES, index // 2 % 3
    colours = rng.sample(COLOURS, 2)
    while True:
        velocities = [_polar(rng.uniform(*_SPEED), rng.uniform(0, 2 * math.pi)) for _ in range(2)]
        relative = velocities[1] - velocities[0]
        speed = float(np.linalg.norm(relative))
        if speed < 0.15:
            continue
        across = np.array([-relative[1], relative[0]]) / speed * rng.choice((-1, 1))
        nearest = rng.uniform(*distances[0 if touches else 1])
        meeting_s = rng.uniform(*(_VARIED_MEETING_S if kit else _MEETING_S))
        middle = np.array([rng.uniform(*_MEETING_PLACE), rng.uniform(*_MEETING_PLACE)])
        starts = [
            middle + sign * across * nearest / 2 - velocity * meeting_s
            for sign, velocity in zip((-1, 1), velocities, strict=True)
        ]
        now = [start + velocity * _NOW / FRAME_RATE_HZ for start, velocity in zip(starts, velocities, strict=True)]
        distance = float(np.linalg.norm(now[1] - now[0]))
        low, high = _DISTANCES[distance_class : distance_class + 2]
        if low <= distance < high and all(_inside(place, width / 2) for place in starts):
            break
    balls = tuple(
        Ball(
            x=round(float(start[0]), _DECIMALS),
            y=round(float(start[1]), _DECIMALS),
            vx=round(float(velocity[0]), _DECIMALS),
            vy=round(float(velocity[1]), _DECIMALS),
            colour=colour,
        )
        for start, velocity, colour in zip(starts, velocities, colours, strict=True)
    )
    return Scene(task="collide", balls=balls)


def _polar(radius: float, angle_rad: float) -> np.ndarray:
    return radius * np.array([math.cos(angle_rad), math.sin(angle_rad)])


def _inside(place: np.ndarray, radius: float) -> bool:
    edge = radius + _EDGE
    return bool((place > edge).all() and (place < 1 - edge).all())


def aim_of(index: int) -> int:
    """Return the required outcome of the item of an index."""
    return index % 2


def examine(scene: Scene, index: int) -> Motion | None:
    """Return the motion if it and its neighbours have the index's outcome, far from the rails; otherwise None."""
    aim = aim_of(index)
    motion = simulate(scene)
    places = motion.poses[:, :, :2].reshape(-1, 2)
    if outcome(scene, motion) != aim or not all(_inside(place, scene.ball_radius) for place in places):
        return None
    if scene.is_varied and aim == YES and gap_of(scene, motion.poses)[-1 - TEMPORAL_STRIDE] > _TOUCHING:
        return None  # the touch must show in all frames of the last slot
    return motion if all(outcome(variant, simulate(variant)) == aim for variant in neighbours(scene)) else None


def outcome(scene: Scene, motion: Motion) -> int | None:
    """Return 0 if the balls touch, as they then do to the end, 1 if not; None if they touch before the question."""
    gaps = gap_of(scene, motion.poses)
    if gaps[: _NOW + 1].min() < 0.02:
        return None
    return YES if gaps[NUM_FRAMES - 1] < _TOUCHING else NO


def gap_of(scene: Scene, poses: Float[np.ndarray, "*frames 2 3"]) -> Float[np.ndarray, "*frames"]:
    """Return the gap between the rims of the balls, unit lengths; 0 if they touch."""
    return np.asarray(np.linalg.norm(poses[..., 1, :2] - poses[..., 0, :2], axis=-1) - 2 * scene.ball_radius)


def neighbours(scene: Scene) -> tuple[Scene, ...]:
    """Return scenes in which the start of the first ball moves by less than a picture can show."""
    first, second = scene.balls
    return tuple(
        replace(scene, balls=(replace(first, x=first.x + dx, y=first.y + dy), second))
        for dx, dy in ((_JITTER, 0.0), (-_JITTER, 0.0), (0.0, _JITTER), (0.0, -_JITTER))
    )


def near(scene: Scene) -> int:
    """Answer by the last given frame alone: near balls will touch."""
    first, second = (
        np.array([ball.x + ball.vx * _NOW / FRAME_RATE_HZ, ball.y + ball.vy * _NOW / FRAME_RATE_HZ])
        for ball in scene.balls
    )
    return YES if np.linalg.norm(first - second) < _DISTANCES[1] + 0.06 else NO


def approaching(scene: Scene) -> int:
    """Answer by the clip without its geometry: approaching balls will touch."""
    first, second = scene.balls
    place = (second.x - first.x, second.y - first.y)
    velocity = (second.vx - first.vx, second.vy - first.vy)
    return YES if place[0] * velocity[0] + place[1] * velocity[1] < 0 else NO
