"""The task `roll`: which of two balls on two ramps above a shaft reaches the floor first?"""

import math
from dataclasses import replace
from random import Random
from typing import Final

from theworld.datasets.foresight.physics import GRAVITY, Motion, simulate, unseen_variants
from theworld.datasets.foresight.roll_varied import propose_varied
from theworld.datasets.foresight.scene import (
    BALL_RADIUS,
    COLOURS,
    FLOOR_Y,
    PLANK_RADIUS,
    Ball,
    Colour,
    Kit,
    Plank,
    Scene,
)

PERIOD: Final = 120
"""Consecutive indices over which targets are balanced exactly.

2 outcomes x 2 nearer sides x 30 colours of the first and the other ball.
"""
VARIED_PERIOD: Final = PERIOD
"""The same in varied scenes, and with it three numbers of bent ramps."""

LEFT, RIGHT = range(2)

_MIDDLE = 0.5
_HALF_GAP = BALL_RADIUS + PLANK_RADIUS + 0.012  # distance from the middle of the shaft to the middle line of its walls
_MOUTH_Y = 0.66  # leaves room for both balls in the shaft, one above the other
_TILT_RAD = (0.10, 0.62)
_FAR_END = 0.05  # distance of a ramp's upper end from the wall
_WAY = (0.06, 0.34)  # length of a ball's way along its ramp, unit lengths
_SLOWEST_S = 1.9
_LEAST_LEAD_S = 0.3
_LEAST_DIFFERENCE = 0.05  # between ways and between rises: visible at 64 px
_JITTER = 0.5 / 64
_DECIMALS = 4


def propose(rng: Random, index: int, kit: Kit | None = None) -> Scene:
    """Return two balls, one with the shorter way and one with the steeper ramp; in theory the index's ball is first.

    Args:
        rng: decides all that the index leaves open.
        index: of the item.
        kit: sizes and gravity of a varied scene; None: plain scenes.
    """
    if kit is not None:
        return propose_varied(rng, aim_of(index), index // 2 % 2, index // 4 % 3, colours_of(index), kit)
    first, nearer = aim_of(index), index // 2 % 2
    colours = rng.sample(COLOURS, 2)
    while True:
        tilts = [rng.uniform(*_TILT_RAD) for _ in range(2)]
        ways = [rng.uniform(*_WAY) for _ in range(2)]
        times = [math.sqrt(2 * way / (2 / 3 * GRAVITY * math.sin(tilt))) for way, tilt in zip(ways, tilts, strict=True)]
        if max(times) > _SLOWEST_S or times[1 - first] - times[first] < _LEAST_LEAD_S:
            continue
        across = [way * math.cos(tilt) for way, tilt in zip(ways, tilts, strict=True)]
        rises = [(_MIDDLE - _HALF_GAP - _FAR_END) * math.tan(tilt) for tilt in tilts]
        far = 1 - nearer
        if min(across[far] - across[nearer], rises[far] - rises[nearer]) >= _LEAST_DIFFERENCE:
            break
    balls, ramps, walls = [], [], []
    for side in (LEFT, RIGHT):
        ball, ramp, wall = _half(side, tilts[side], ways[side])
        balls.append(Ball(x=ball[0], y=ball[1], colour=colours[side]))
        ramps.append(ramp)
        walls.append(wall)
    return Scene(task="roll", balls=tuple(balls), planks=(*ramps, *walls))


def _half(side: int, tilt: float, way: float) -> tuple[tuple[float, float], Plank, Plank]:
    """Return centre of the ball, ramp and wall of the shaft of one side; the right side mirrors the left one."""
    edge = _MIDDLE - _HALF_GAP
    upper_y = _MOUTH_Y - (edge - _FAR_END) * math.tan(tilt)
    along, off = way, BALL_RADIUS + PLANK_RADIUS  # off the ramp's middle line
    x = edge - along * math.cos(tilt) + off * math.sin(tilt)
    y = _MOUTH_Y - along * math.sin(tilt) - off * math.cos(tilt)
    places = (value if side == LEFT else 1 - value for value in (_FAR_END, edge, x))
    upper_x, lower_x, ball_x = (round(value, _DECIMALS) for value in places)
    upper, lower = (upper_x, round(upper_y, _DECIMALS)), (lower_x, _MOUTH_Y)
    start, end = (upper, lower) if side == LEFT else (lower, upper)
    ramp = Plank(x0=start[0], y0=start[1], x1=end[0], y1=end[1])
    return (ball_x, round(y, _DECIMALS)), ramp, Plank(x0=lower_x, y0=_MOUTH_Y, x1=lower_x, y1=FLOOR_Y)


def aim_of(index: int) -> int:
    """Return the required outcome of the item of an index."""
    return index % 2


def colours_of(index: int) -> tuple[Colour, Colour]:
    """Return the required colours of the first ball and of the other one.

    Two colours stay together for eight items; each of the two is the answer to two of the first four items and to two
    of the last four. Pairs follow each other as in a tournament of six, so that in every 24 items each colour is the
    answer equally often.
    """
    match, swapped = index // 8 % 15, (index + index // 2 + index // 4) % 2
    game_round, game = divmod(match, 3)
    home = COLOURS[5 if game == 0 else (game_round + game) % 5]
    guest = COLOURS[(game_round - game) % 5]
    return (guest, home) if swapped else (home, guest)


def examine(scene: Scene, index: int) -> Motion | None:
    """Return the motion if the index's ball is first, also from slightly moved starts; otherwise None."""
    aim = aim_of(index)
    if (scene.balls[aim].colour, scene.balls[1 - aim].colour) != colours_of(index):
        return None
    motion = simulate(scene)
    if outcome(scene, motion) != aim:
        return None
    variants = (*neighbours(scene), *unseen_variants(scene))
    return motion if all(outcome(variant, simulate(variant)) == aim for variant in variants) else None


def outcome(scene: Scene, motion: Motion) -> int | None:
    """Return 0 if the left ball is on the floor and the other on top of it, 1 for the right one, otherwise None."""
    (x0, y0, _), (x1, y1, _) = motion.poses[-1]
    middle, half_gap = shaft_of(scene)
    in_shaft = max(abs(x0 - middle), abs(x1 - middle)) < half_gap
    lowest = max(y0, y1)
    if not in_shaft or FLOOR_Y - scene.ball_radius - lowest > 0.01 or abs(y0 - y1) < scene.ball_radius:
        return None
    return LEFT if y0 > y1 else RIGHT


def shaft_of(scene: Scene) -> tuple[float, float]:
    """Return the x of the shaft's middle, and the distance from it to the middle lines of the shaft's walls."""
    if not scene.is_varied:
        return _MIDDLE, _HALF_GAP
    _, _, left, right, *_ = scene.planks
    return (left.x0 + right.x0) / 2, (right.x0 - left.x0) / 2


def slopes_of(scene: Scene) -> tuple[float, float]:
    """Return the mean slope of each ramp, left and right, from its upper end to the shaft."""
    left, right, left_wall, right_wall, *_ = scene.planks
    return (
        (left_wall.y0 - left.y0) / (left_wall.x0 - left.x0),
        (right_wall.y0 - right.y1) / (right.x1 - right_wall.x0),
    )


def neighbours(scene: Scene) -> tuple[Scene, ...]:
    """Return scenes with the balls moved along their ramps by less than a picture can show, one up and one down."""
    return tuple(
        replace(scene, balls=tuple(_moved(scene, side, sign * _JITTER) for side, sign in enumerate(signs)))
        for signs in ((1, -1), (-1, 1))
    )


def _moved(scene: Scene, side: int, dx: float) -> Ball:
    ball, ramp = scene.balls[side], scene.planks[side]
    slope = (ramp.y1 - ramp.y0) / (ramp.x1 - ramp.x0)
    return replace(ball, x=ball.x + dx, y=ball.y + dx * slope)


def nearer(scene: Scene) -> int:
    """Answer by the way alone: the ball nearer to the shaft is first."""
    left, right = _ways(scene)
    return LEFT if left < right else RIGHT


def lower(scene: Scene) -> int:
    """Answer by the height alone: the lower ball is first."""
    left, right = scene.balls
    return LEFT if left.y > right.y else RIGHT


def steeper(scene: Scene) -> int:
    """Answer by the slope alone: the ball on the steeper ramp is first."""
    left, right = slopes_of(scene)
    return LEFT if left > right else RIGHT


def much_nearer(scene: Scene) -> int:
    """Answer by a rule that weighs both: the nearer ball is first if it has less than half the way of the other.

    The other ball has the steeper ramp.
    """
    ways = _ways(scene)
    first = nearer(scene)
    return first if ways[first] < ways[1 - first] / 2 else 1 - first


def _ways(scene: Scene) -> tuple[float, float]:
    middle, _ = shaft_of(scene)
    return middle - scene.balls[LEFT].x, scene.balls[RIGHT].x - middle
