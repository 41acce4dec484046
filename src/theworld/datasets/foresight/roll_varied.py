"""Proposals of the task `roll` in varied scenes: ramps of any place, height and length, straight or bent."""

import math
from dataclasses import dataclass
from random import Random
from typing import Final

from theworld.datasets.foresight.physics import GRAVITY
from theworld.datasets.foresight.scene import FLOOR_Y, Ball, Colour, Kit, Plank, Scene

_SHAFT_X = (0.36, 0.64)
_CLEARANCE = (0.010, 0.018)  # between a ball in the shaft and a wall
_MOUTH_Y = (0.58, 0.69)
_MOUTH_SPREAD = 0.03  # of the two walls' tops around it
_FAR_END = 0.05  # least distance of a ramp's upper end from the picture's edge
_BEYOND = (0.05, 0.20)  # length of a ramp above the ball, across
_ACROSS = (0.07, 0.36)  # a ball's way to the shaft, across
_SLOPE = (0.10, 0.62)
_BEND = (0.30, 0.80)  # place of a bend between shaft and ball, as a share of the way
_LEAST_BEND = 0.12  # between the slopes of a bent ramp
_CEILING = 0.08  # least height of a ball below the picture's top
_SLOWEST_S = 1.9
_LEAST_LEAD_S = 0.3
_LEAST_DIFFERENCE = 0.05  # between the ways: visible at 64 px
_LEAST_STEEPER = 0.06  # between mean slopes
_LEAST_HIGHER = 0.045  # between the upper ends: visible at 64 px
_DECIMALS: Final = 4


@dataclass(frozen=True)
class Ramp:
    """A ramp seen from the shaft: across is positive away from it, heights are above its mouth; unit lengths."""

    across: float
    """From the mouth to the ball's point of contact."""
    beyond: float
    """From there to the upper end."""
    upper: float
    """Slope under the ball."""
    lower: float
    """Slope next to the shaft, equal to `upper` for a straight ramp."""
    bend: float
    """From the mouth to the bend; 0: a straight ramp."""

    def height(self, across: float) -> float:
        """Return the height of the ramp's middle line."""
        return self.lower * min(across, self.bend) + self.upper * max(across - self.bend, 0.0)

    @property
    def mean_slope(self) -> float:
        """Return the slope from the mouth to the upper end."""
        length = self.across + self.beyond
        return self.height(length) / length

    def seconds(self, gravity: float) -> float:
        """Return the time of a ball without slip from rest to the mouth, on a line with the ramp's slopes."""
        speed_squared, seconds = 0.0, 0.0
        for slope, across in ((self.upper, self.across - self.bend), (self.lower, self.bend)):
            if across <= 0:
                continue
            along = across * math.hypot(1, slope)
            pull = 2 / 3 * gravity * slope / math.hypot(1, slope)
            after = speed_squared + 2 * pull * along
            seconds += (math.sqrt(after) - math.sqrt(speed_squared)) / pull
            speed_squared = after
        return seconds


def propose_varied(
    rng: Random, first: int, nearer: int, num_bent: int, colours: tuple[Colour, Colour], kit: Kit
) -> Scene:
    """Return two balls on ramps; the nearer one has the flatter ramp, and in theory the first one arrives first.

    Args:
        rng: decides all else.
        first: side of the ball that arrives first, 0 left or 1 right.
        nearer: side of the ball nearer to the shaft.
        num_bent: number of bent ramps, 0 to 2.
        colours: of the first ball and of the other.
        kit: sizes and gravity.
    """
    gravity = GRAVITY if kit.gravity is None else kit.gravity
    slower = math.sqrt(GRAVITY / gravity)
    while True:
        bent = {*rng.sample((0, 1), num_bent)}
        shaft, half_gap = rng.uniform(*_SHAFT_X), kit.ball_radius + kit.plank_radius + rng.uniform(*_CLEARANCE)
        middle_y = rng.uniform(*_MOUTH_Y)
        mouths = [round(middle_y + rng.uniform(-_MOUTH_SPREAD, _MOUTH_SPREAD), _DECIMALS) for _ in (0, 1)]
        ramps = [_ramp(rng, side in bent) for side in (0, 1)]
        if any(ramp is None for ramp in ramps):
            continue
        left, right = (ramp for ramp in ramps if ramp is not None)
        pair = (left, right)
        room = (shaft - half_gap - _FAR_END, 1 - shaft - half_gap - _FAR_END)
        if any(ramp.across + ramp.beyond > most for ramp, most in zip(pair, room, strict=True)):
            continue
        tops = [mouth - ramp.height(ramp.across + ramp.beyond) for ramp, mouth in zip(pair, mouths, strict=True)]
        if abs(tops[0] - tops[1]) < _LEAST_HIGHER:
            continue
        seconds = [ramp.seconds(gravity) for ramp in pair]
        far = 1 - nearer
        if (
            max(seconds) <= _SLOWEST_S * slower
            and seconds[1 - first] - seconds[first] >= _LEAST_LEAD_S * slower
            and pair[far].across - pair[nearer].across >= _LEAST_DIFFERENCE
            and pair[far].mean_slope - pair[nearer].mean_slope >= _LEAST_STEEPER
        ):
            halves = [_half(side, pair[side], mouths[side], shaft, half_gap, kit) for side in (0, 1)]
            if all(y > _CEILING for (_, y), *_ in halves):
                break
    balls = tuple(Ball(x=x, y=y, colour=colours[0 if side == first else 1]) for side, ((x, y), *_) in enumerate(halves))
    uppers, walls = [half[1] for half in halves], [half[2] for half in halves]
    lowers = [half[3] for half in halves if half[3] is not None]
    return Scene(task="roll", balls=balls, planks=(*uppers, *walls, *lowers))


def _ramp(rng: Random, is_bent: bool) -> Ramp | None:
    """Return a random ramp; None if its bend would not show."""
    across, beyond, upper = rng.uniform(*_ACROSS), rng.uniform(*_BEYOND), rng.uniform(*_SLOPE)
    if not is_bent:
        return Ramp(across, beyond, upper, upper, 0.0)
    lower, bend = rng.uniform(*_SLOPE), rng.uniform(*_BEND) * across
    return Ramp(across, beyond, upper, lower, bend) if abs(upper - lower) >= _LEAST_BEND else None


def _half(
    side: int, ramp: Ramp, mouth: float, shaft: float, half_gap: float, kit: Kit
) -> tuple[tuple[float, float], Plank, Plank, Plank | None]:
    """Return centre of the ball, the ramp under it, wall of the shaft, and the ramp's lower part if it is bent."""

    def place(across: float, height: float) -> tuple[float, float]:
        x = shaft - half_gap - across if side == 0 else shaft + half_gap + across
        return round(x, _DECIMALS), round(mouth - height, _DECIMALS)

    def plank(low: float, high: float) -> Plank:
        ends = [place(across, ramp.height(across)) for across in (high, low)]
        (x0, y0), (x1, y1) = ends if side == 0 else ends[::-1]
        return Plank(x0=x0, y0=y0, x1=x1, y1=y1)

    off, length = kit.ball_radius + kit.plank_radius, math.hypot(1, ramp.upper)
    # The ball's centre is off the ramp's middle line, at a right angle.
    ball = place(ramp.across - off * ramp.upper / length, ramp.height(ramp.across) + off / length)
    x, y = place(0.0, 0.0)
    lower = plank(0.0, ramp.bend) if ramp.bend else None
    return ball, plank(ramp.bend, ramp.across + ramp.beyond), Plank(x0=x, y0=y, x1=x, y1=FLOOR_Y), lower
