"""The task `hide`: on which side does a ball come out from behind a screen, or does it stay hidden?"""

import math
from dataclasses import replace
from random import Random
from typing import Final

from theworld.datasets.foresight.physics import LAWS, Motion, simulate, unseen_variants
from theworld.datasets.foresight.scene import (
    BALL_RADIUS,
    COLOURS,
    FLOOR_Y,
    FRAME_RATE_HZ,
    NUM_FRAMES,
    NUM_GIVEN_FRAMES,
    PLANK_RADIUS,
    WALL_WIDTH,
    Ball,
    Kit,
    Plank,
    Scene,
    Screen,
)

PERIOD: Final = 24
"""Consecutive indices over which targets are balanced exactly.

3 outcomes x 2 sides of the start x 2 (post or not) x 2 halves of the screen that hold a post. For "stays" there is a
post or none; a ball that passes has no post in its way, a ball that comes back has one.
"""
VARIED_PERIOD: Final = PERIOD

LEFT, RIGHT, NOWHERE = range(3)

_NOW = NUM_GIVEN_FRAMES["hide"] - 1
_NOW_S = _NOW / FRAME_RATE_HZ
_DECELERATION = LAWS["hide"].deceleration
_SPEED = (0.40, 1.10)  # unit lengths / s
_HALF_WIDTH = (0.15, 0.20)
_SCREEN_X = (0.44, 0.56)
_SCREEN_TOP = (0.50, 0.60)
_POST_TOP = 0.36
_START = BALL_RADIUS + WALL_WIDTH + 0.01
_HIDDEN_BY = 0.01  # least distance of a hidden ball behind the screen's edge
_OUT_BY = 0.03  # least distance beyond that edge of a ball that has come out
_POST_OFF = 0.04  # greatest distance of a post from the middle of the screen
# Varied scenes: the ball starts on a ledge, falls off it and rolls on, under the ledge if it comes back.
_VARIED_SPEED = (0.48, 1.25)
_VARIED_INNER_X = (0.27, 0.46)  # edge of the screen on the side of the start
_VARIED_WIDTH = (0.26, 0.44)
_VARIED_OUTER_X = 0.77  # greatest
_LEDGE_Y = (0.62, 0.775)
_LEDGE_REACH = 0.03  # least way on the ledge
_LEAST_LEAVING = 0.45  # least speed at the ledge's end; slower balls would roll around it
_ABOVE_LEDGE = 0.02  # least height of the screen's top above a ball on the ledge
_UNDER_LEDGE = 0.006  # least gap between the ledge and a ball on the floor
_VARIED_SCREEN_TOP = (0.36, 0.52)
_VARIED_POST_ABOVE = (0.07, 0.20)  # height of a post above the screen
_JITTER = 0.5 / 64
_DECIMALS = 4


def propose(rng: Random, index: int, kit: Kit | None = None) -> Scene:
    """Return a ball that rolls behind a screen; the index determines its side and the post.

    Args:
        rng: decides all that the index leaves open.
        index: of the item.
        kit: sizes and restitution of a varied scene; None: plain scenes.
    """
    if kit is not None:
        return _propose_varied(rng, index, kit)
    aim, from_left = aim_of(index), index // 3 % 2 == 0
    passes = aim == (RIGHT if from_left else LEFT)
    has_post = not passes and (aim != NOWHERE or index // 6 % 2 == 0)
    ball_colour, screen_colour = rng.sample(COLOURS, 2)
    while True:
        middle, half_width = rng.uniform(*_SCREEN_X), rng.uniform(*_HALF_WIDTH)
        start, speed = rng.uniform(_START, middle - half_width - BALL_RADIUS - 0.01), rng.uniform(*_SPEED)
        post = rng.uniform(middle - half_width + 0.12, middle + half_width - 0.04) if has_post else None
        edges_x = (middle - half_width, middle + half_width)
        if _ends(start, speed, edges_x, post) == (NOWHERE if aim == NOWHERE else RIGHT if passes else LEFT):
            break
    ball = Ball(
        x=_place(start, from_left),
        y=round(FLOOR_Y - BALL_RADIUS, _DECIMALS),
        vx=round(speed if from_left else -speed, _DECIMALS),
        colour=ball_colour,
    )
    edges = sorted((_place(middle - half_width, from_left), _place(middle + half_width, from_left)))
    screen = Screen(
        left=edges[0], right=edges[1], top=round(rng.uniform(*_SCREEN_TOP), _DECIMALS), colour=screen_colour
    )
    post_x = None if post is None else _place(post, from_left)
    planks = () if post_x is None else (Plank(x0=post_x, y0=_POST_TOP, x1=post_x, y1=FLOOR_Y),)
    return Scene(task="hide", balls=(ball,), planks=planks, screen=screen)


def _propose_varied(rng: Random, index: int, kit: Kit) -> Scene:
    """Return a ball that falls off a ledge before it rolls behind a screen."""
    aim, from_left = aim_of(index), index // 3 % 2 == 0
    passes = aim == (RIGHT if from_left else LEFT)
    has_post = not passes and (aim != NOWHERE or index // 6 % 2 == 0)
    ball_colour, screen_colour = rng.sample(COLOURS, 2)
    radius, thickness = kit.ball_radius, kit.plank_radius
    lowest_ledge = FLOOR_Y - 2 * radius - _UNDER_LEDGE - thickness
    while True:
        inner, width, speed = (rng.uniform(*r) for r in (_VARIED_INNER_X, _VARIED_WIDTH, _VARIED_SPEED))
        outer = inner + width
        start = rng.uniform(radius + WALL_WIDTH + 0.01, inner - radius - 0.01)
        ledge = rng.uniform(start + _LEDGE_REACH, max(inner, start + _LEDGE_REACH))
        middle = (inner + outer) / 2
        post = rng.uniform(middle - _POST_OFF, middle + _POST_OFF) if has_post else None
        if outer > _VARIED_OUTER_X or speed**2 - 2 * _DECELERATION * (ledge - start) < _LEAST_LEAVING**2:
            continue
        wanted = NOWHERE if aim == NOWHERE else RIGHT if passes else LEFT
        if _ends(start, speed, (inner, outer), post, kit) == wanted:
            break
    ledge_y = rng.uniform(_LEDGE_Y[0], min(_LEDGE_Y[1], lowest_ledge))
    ball_y = ledge_y - thickness - radius
    top = rng.uniform(_VARIED_SCREEN_TOP[0], min(_VARIED_SCREEN_TOP[1], ball_y - radius - _ABOVE_LEDGE))
    edges = sorted((_place(inner, from_left), _place(outer, from_left)))
    ends = sorted((0.0 if from_left else 1.0, _place(ledge, from_left)))
    height = round(ledge_y, _DECIMALS)
    planks = [Plank(x0=ends[0], y0=height, x1=ends[1], y1=height)]
    if post is not None:
        post_x, post_top = _place(post, from_left), round(top - rng.uniform(*_VARIED_POST_ABOVE), _DECIMALS)
        planks.append(Plank(x0=post_x, y0=post_top, x1=post_x, y1=FLOOR_Y))
    ball = Ball(
        x=_place(start, from_left),
        y=round(ball_y, _DECIMALS),
        vx=round(speed if from_left else -speed, _DECIMALS),
        colour=ball_colour,
    )
    screen = Screen(left=edges[0], right=edges[1], top=round(top, _DECIMALS), colour=screen_colour)
    return Scene(task="hide", balls=(ball,), planks=tuple(planks), screen=screen)


def post_of(scene: Scene) -> Plank | None:
    """Return the post, if there is one."""
    return next((plank for plank in scene.planks if plank.x0 == plank.x1), None)


def _place(x: float, from_left: bool) -> float:
    """Return an x as a coordinate of the scene: mirrored for a ball from the right."""
    return round(x if from_left else 1 - x, _DECIMALS)


def _ends(
    start: float, speed: float, edges: tuple[float, float], post: float | None, kit: Kit | None = None
) -> int | None:
    """Predict the outcome for a ball from the left; None if it is not hidden now, or not clearly out at the end."""
    inner, outer = edges
    radius, thickness = (kit.ball_radius, kit.plank_radius) if kit else (BALL_RADIUS, PLANK_RADIUS)
    restitution = LAWS["hide"].restitution if kit is None or kit.restitution is None else kit.restitution
    bounce_x = math.inf if post is None else post - thickness - radius
    now, end = (
        _position(start, speed, seconds, bounce_x, restitution)
        for seconds in (_NOW_S, (NUM_FRAMES - 1) / FRAME_RATE_HZ)
    )
    hidden = (inner + radius + _HIDDEN_BY, outer - radius - _HIDDEN_BY)
    if not hidden[0] < now < hidden[1]:
        return None
    if hidden[0] < end < hidden[1]:
        return NOWHERE
    if outer + radius + _OUT_BY < end < 1 - WALL_WIDTH - radius:
        return RIGHT
    if WALL_WIDTH + radius < end < inner - radius - _OUT_BY:
        return LEFT
    return None


def _position(start: float, speed: float, seconds: float, bounce_x: float, restitution: float) -> float:
    """Return the x of a ball that slows down evenly and comes back from `bounce_x` with a part of its speed."""
    if start + _travelled(speed, seconds) <= bounce_x:
        return start + _travelled(speed, seconds)
    at_post = math.sqrt(speed**2 - 2 * _DECELERATION * (bounce_x - start))
    until = (speed - at_post) / _DECELERATION
    return bounce_x - _travelled(restitution * at_post, seconds - until)


def _travelled(speed: float, seconds: float) -> float:
    seconds = min(seconds, speed / _DECELERATION)
    return speed * seconds - _DECELERATION * seconds**2 / 2


def aim_of(index: int) -> int:
    """Return the required outcome of the item of an index."""
    return index % 3


def examine(scene: Scene, index: int) -> Motion | None:
    """Return the motion if it and its neighbours have the index's outcome; otherwise None."""
    aim = aim_of(index)
    if not (_is_post_fair(scene, index) and _is_seen_twice(scene)):
        return None
    motion = simulate(scene)
    if outcome(scene, motion) != aim:
        return None
    variants = (*neighbours(scene), *unseen_variants(scene))
    return motion if all(outcome(variant, simulate(variant)) == aim for variant in variants) else None


def _is_post_fair(scene: Scene, index: int) -> bool:
    """Return True if a post is near the middle of the screen, in the half that the index requires.

    In 98 % of all proposals the post is in the half away from the ball's start. That would reveal the direction of a
    hidden ball, which only the clip may show.
    """
    post = post_of(scene)
    if post is None:
        return True
    assert scene.screen is not None
    off = post.x0 - (scene.screen.left + scene.screen.right) / 2
    return abs(off) < _POST_OFF and (off < 0) == (index // 12 % 2 == 0)


def _is_seen_twice(scene: Scene) -> bool:
    """Return True if at least half of the ball is visible in the second frame, too: the clip must show its speed."""
    assert scene.screen is not None
    way = math.copysign(_travelled(abs(scene.ball.vx), 1 / FRAME_RATE_HZ), scene.ball.vx)
    return not scene.screen.left < scene.ball.x + way < scene.screen.right


def outcome(scene: Scene, motion: Motion) -> int | None:
    """Return 0 if the ball is out on the left at the end, 1 on the right, 2 if hidden; None if partly hidden."""
    if place_of(scene, float(motion.poses[_NOW, 0, 0])) != NOWHERE:
        return None
    return place_of(scene, float(motion.poses[-1, 0, 0]))


def place_of(scene: Scene, x: float) -> int | None:
    """Return the place of a ball at x: 0 left of the screen, 1 right of it, 2 behind it; None if partly hidden."""
    assert scene.screen is not None
    if x < scene.screen.left - scene.ball_radius:
        return LEFT
    if x > scene.screen.right + scene.ball_radius:
        return RIGHT
    return NOWHERE if scene.screen.left + scene.ball_radius <= x <= scene.screen.right - scene.ball_radius else None


def neighbours(scene: Scene) -> tuple[Scene, ...]:
    """Return scenes whose ball starts elsewhere and is faster or slower, by less than a picture can show."""
    ball = scene.ball
    return tuple(
        replace(scene, balls=(replace(ball, x=ball.x + dx, vx=ball.vx + dv),))
        for dx, dv in ((_JITTER, 0.015), (_JITTER, -0.015), (-_JITTER, 0.015), (-_JITTER, -0.015))
    )


def straight_on(scene: Scene) -> int:
    """Answer by the direction alone: the ball comes out on the other side."""
    return RIGHT if scene.ball.vx > 0 else LEFT


def post_side(scene: Scene) -> int:
    """Answer by the last given frame alone: the ball comes back on the larger side of the post."""
    assert scene.screen is not None
    middle = (scene.screen.left + scene.screen.right) / 2
    post = post_of(scene)
    return NOWHERE if post is None else LEFT if post.x0 > middle else RIGHT


def rebound(scene: Scene) -> int:
    """Answer by a rule that looks one step ahead: a post sends the ball back, and no ball is too slow."""
    passes = straight_on(scene)
    return 1 - passes if post_of(scene) else passes
