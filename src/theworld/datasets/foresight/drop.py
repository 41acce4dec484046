"""The task `drop`: in which coloured bin does a ball above tilted planks come to rest?"""

import math
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from theworld.datasets.foresight.physics import Motion, Simulation, law_of, simulate, unseen_variants
from theworld.datasets.foresight.scene import (
    BALL_RADIUS,
    COLOURS,
    DIVIDER_TOP_Y,
    FLOOR_Y,
    NUM_FRAMES,
    PLANK_RADIUS,
    Ball,
    Colour,
    Kit,
    Plank,
    Scene,
    third,
)

PERIOD: Final = 162
"""Consecutive indices over which targets are balanced exactly: 3 starts x 3 ends x 3 plank counts x 6 colours."""

VARIED_PERIOD: Final = 216
"""The same in varied scenes, with four plank counts."""

MAX_PLANKS: Final = 3
VARIED_MAX_PLANKS: Final = 4

_PIXEL = 1 / 64
JITTERS: Final = tuple(
    (dx * _PIXEL, dy * _PIXEL) for dx, dy in ((0.5, 0.5), (-0.5, -0.5), (0.25, -0.25), (-0.25, 0.25))
)
"""Shifts of the start, in unit lengths, that must not change the outcome: up to half a pixel of a 64-px picture."""

_START_X = (0.08, 0.92)
_START_Y = (0.07, 0.12)
_START_MARGIN = 0.03  # distance to the edge of a third, so that the bin under the ball is clear at 64 px
_PLANK_Y = (0.28, 0.64)
_PLANK_HALF_LENGTH = (0.08, 0.16)
_PLANK_TILT_RAD = (0.15, 0.6)
_PLANK_MARGIN = 0.06  # distance from a plank's end to the picture's edge
_VARIED_START_Y = (0.09, 0.19)  # lower than in plain scenes, so that a nearer camera shows the ball
_VARIED_PLANK_Y = (0.32, 0.67)
_VARIED_HALF_LENGTH = (0.07, 0.15)
_OVERLAP = 0.01  # least overlap of the ball's fall and a plank, so that they certainly touch
_CLEARANCE = 0.02  # between a ball and two planks that it passes between
_DECIMALS = 4

_Line = tuple[float, float, float, float]


@dataclass(frozen=True)
class Target:
    """Required properties of the scene of an index; all others are random.

    Start, end and plank count are balanced jointly, so neither start nor count says anything about the end.
    """

    start: int
    """Third of the picture above which the ball starts."""
    end: int
    """Bin in which it comes to rest."""
    num_planks: int
    colour: Colour
    """Colour of that bin."""

    @classmethod
    def of(cls, index: int, max_planks: int = MAX_PLANKS) -> "Target":
        """Return the target of an item: cycles through nine (start, end) pairs, then plank counts, then colours."""
        start, end = index % 3, index // 3 % 3
        num_planks = 1 + (start + end + index // 9) % max_planks
        block = 9 * max_planks
        colour = COLOURS[(index % block + index // block) % len(COLOURS)]
        return cls(start, end, num_planks, colour)


def max_planks_of(scene: Scene) -> int:
    """Return the largest number of planks in its kind of scenes."""
    return VARIED_MAX_PLANKS if scene.is_varied else MAX_PLANKS


def propose(rng: Random, index: int, kit: Kit | None = None) -> Scene:
    """Return a scene with the start, plank count and colours of the index's target; its outcome is still unknown.

    Coordinates are multiples of 1/10,000. At least one plank is under the ball, and planks are a ball's width apart.

    Args:
        rng: decides all that the target leaves open.
        index: of the item.
        kit: sizes of a varied scene; None: plain scenes.
    """
    target = Target.of(index, MAX_PLANKS if kit is None else VARIED_MAX_PLANKS)
    ball_radius, plank_radius = (kit.ball_radius, kit.plank_radius) if kit else (BALL_RADIUS, PLANK_RADIUS)
    gap = 2 * ball_radius + _CLEARANCE  # wide enough for a ball between any two planks
    low = max(_START_X[0], target.start / 3 + _START_MARGIN)
    high = min(_START_X[1], (target.start + 1) / 3 - _START_MARGIN)
    rest: list[Colour] = [colour for colour in COLOURS if colour != target.colour]
    ball_colour, *bins = rng.sample(rest, 3)
    bins.insert(target.end, target.colour)
    x, y = rng.uniform(low, high), rng.uniform(*(_VARIED_START_Y if kit else _START_Y))
    ball = Ball(x=round(x, _DECIMALS), y=round(y, _DECIMALS), colour=ball_colour)
    fall = (ball.x, ball.y, ball.x, FLOOR_Y)
    while True:
        lines = [_propose_line(rng, kit) for _ in range(target.num_planks)]
        apart = all(_distance(a, b) > gap + 2 * plank_radius for i, a in enumerate(lines) for b in lines[:i])
        if apart and any(_distance(line, fall) < plank_radius + ball_radius - _OVERLAP for line in lines):
            break
    planks = tuple(Plank(x0=x0, y0=y0, x1=x1, y1=y1) for x0, y0, x1, y1 in lines)
    return Scene(task="drop", balls=(ball,), planks=planks, bins=(bins[0], bins[1], bins[2]))


def examine(scene: Scene, index: int) -> Motion | None:
    """Return the motion of a scene that is fit for a question, otherwise None.

    Fit: the ball comes to rest in the target's bin, and reaches the same bin from every jittered start.
    """
    end = Target.of(index).end
    if any(caught_by(variant) != end for variant in (scene, *neighbours(scene), *unseen_variants(scene))):
        return None
    motion = simulate(scene)
    return motion if motion.has_come_to_rest else None


def outcome(scene: Scene, motion: Motion) -> int:
    """Return the bin, 0 to 2, in which the ball comes to rest."""
    return third(float(motion.poses[-1, 0, 0]))


def neighbours(scene: Scene) -> tuple[Scene, ...]:
    """Return scenes with the ball moved by less than a picture can show."""
    return tuple(
        replace(scene, balls=(replace(scene.ball, x=scene.ball.x + dx, y=scene.ball.y + dy),)) for dx, dy in JITTERS
    )


def caught_by(scene: Scene) -> int | None:
    """Return the bin that the ball can no longer leave; None if there is none within the scene's 17 frames."""
    simulation, gravity = Simulation(scene), law_of(scene).gravity
    (body,) = simulation.bodies
    for _ in range(NUM_FRAMES - 1):
        simulation.advance()
        # Impacts and friction only lose energy: a ball that cannot rise to the divider's top is caught.
        energy = (body.velocity.length**2 + body.moment * body.angular_velocity**2) / 2
        if energy < gravity * (body.position.y - DIVIDER_TOP_Y):
            return third(body.position.x)
    return None


def straight_down(scene: Scene) -> int:
    """Answer by a rule that ignores the planks: the bin under the start of the ball."""
    return third(scene.ball.x)


def downhill(scene: Scene) -> int:
    """Answer by a rule that looks one impact ahead: the next bin on the side to which the first plank slopes.

    Walls limit the outermost bins; without a plank below it, the ball falls straight down.
    """
    fall = (scene.ball.x, scene.ball.y, scene.ball.x, FLOOR_Y)
    hit = [plank for plank in scene.planks if _distance(_line(plank), fall) < scene.plank_radius + scene.ball_radius]
    if not hit:
        return straight_down(scene)
    first = min(hit, key=lambda plank: _height_at(plank, scene.ball.x))
    return min(max(third(scene.ball.x) + (1 if first.y1 > first.y0 else -1), 0), 2)


def _line(plank: Plank) -> _Line:
    return plank.x0, plank.y0, plank.x1, plank.y1


def _height_at(plank: Plank, x: float) -> float:
    along = (min(max(x, plank.x0), plank.x1) - plank.x0) / (plank.x1 - plank.x0)
    return plank.y0 + along * (plank.y1 - plank.y0)


def _propose_line(rng: Random, kit: Kit | None) -> _Line:
    tilt = rng.uniform(*_PLANK_TILT_RAD) * rng.choice((-1, 1))
    half_length = rng.uniform(*(_VARIED_HALF_LENGTH if kit else _PLANK_HALF_LENGTH))
    dx, dy = half_length * math.cos(tilt), half_length * math.sin(tilt)
    x, y = rng.uniform(_PLANK_MARGIN + dx, 1 - _PLANK_MARGIN - dx), rng.uniform(*(_VARIED_PLANK_Y if kit else _PLANK_Y))
    x0, y0, x1, y1 = (round(value, _DECIMALS) for value in (x - dx, y - dy, x + dx, y + dy))
    return x0, y0, x1, y1


def _distance(a: _Line, b: _Line) -> float:
    """Return the distance of two straight lines: zero if they cross, otherwise from an end of one to the other."""
    if _side(a, *b[:2]) * _side(a, *b[2:]) < 0 and _side(b, *a[:2]) * _side(b, *a[2:]) < 0:
        return 0.0
    return min(_to_line(a, *b[:2]), _to_line(a, *b[2:]), _to_line(b, *a[:2]), _to_line(b, *a[2:]))


def _side(line: _Line, x: float, y: float) -> float:
    x0, y0, x1, y1 = line
    return (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)


def _to_line(line: _Line, x: float, y: float) -> float:
    x0, y0, x1, y1 = line
    dx, dy = x1 - x0, y1 - y0
    along = min(max(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0.0), 1.0)
    return math.hypot(x - x0 - along * dx, y - y0 - along * dy)
