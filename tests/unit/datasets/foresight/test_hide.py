"""Where a hidden ball comes out is decided by how it rolled, and the last given picture hides that."""

from collections import Counter

import numpy as np
import pytest

from theworld.datasets.foresight.hide import (
    LEFT,
    NOWHERE,
    PERIOD,
    RIGHT,
    examine,
    outcome,
    place_of,
    post_side,
    rebound,
    straight_on,
)
from theworld.datasets.foresight.physics import LAWS, simulate
from theworld.datasets.foresight.rendering import draw
from theworld.datasets.foresight.scene import BALL_RADIUS, FLOOR_Y, PLANK_RADIUS, Ball, Plank, Scene, Screen

NOW = 4


def scene(x: float, vx: float, post: float | None = None) -> Scene:
    planks = () if post is None else (Plank(x0=post, y0=0.36, x1=post, y1=FLOOR_Y),)
    ball = Ball(x=x, y=round(FLOOR_Y - BALL_RADIUS, 4), vx=vx, colour="red")
    return Scene(
        task="hide", balls=(ball,), planks=planks, screen=Screen(left=0.33, right=0.67, top=0.5, colour="blue")
    )


@pytest.mark.parametrize(
    ("x", "vx", "post", "expected"),
    [
        (0.14, 0.7, None, RIGHT),
        (0.86, -0.7, None, LEFT),
        (0.14, 0.7, 0.52, LEFT),
        (0.86, -0.7, 0.48, RIGHT),
        (0.14, 0.52, None, NOWHERE),
        (0.14, 0.52, 0.6, NOWHERE),
        (0.14, 0.2, None, None),  # not yet behind the screen when the question is asked
    ],
)
def test_a_ball_passes_comes_back_or_stays(x, vx, post, expected):
    assert outcome(scene(x, vx, post), simulate(scene(x, vx, post))) == expected


def test_the_motion_is_that_of_a_ball_that_slows_down_and_leaves_a_post_with_nine_tenths(items_of):
    law, end_s = LAWS["hide"], 16 / 6
    for item in items_of["hide"]:
        ball = item.scene.ball
        speed, sign = abs(ball.vx), np.sign(ball.vx)
        way = min(speed * end_s - law.deceleration * end_s**2 / 2, speed**2 / (2 * law.deceleration))
        if end_s > speed / law.deceleration:
            way = speed**2 / (2 * law.deceleration)
        if item.scene.planks:
            room = abs(item.scene.planks[0].x0 - ball.x) - PLANK_RADIUS - BALL_RADIUS
            if way > room:
                at_post = np.sqrt(speed**2 - 2 * law.deceleration * room)
                left_s = end_s - (speed - at_post) / law.deceleration
                back = law.restitution * at_post
                left_s = min(left_s, back / law.deceleration)
                way = room - (back * left_s - law.deceleration * left_s**2 / 2)
        assert item.poses[-1, 0, 0] == pytest.approx(ball.x + sign * way, abs=0.012)


def test_the_last_given_picture_is_the_same_wherever_behind_the_screen_the_ball_is(items_of):
    for item in items_of["hide"][:60]:
        elsewhere = item.poses[NOW].copy()
        elsewhere[0, 0] = (item.scene.screen.left + item.scene.screen.right) / 2
        for size_px in (64, 224):
            given = draw(item.scene, item.poses[NOW], size_px)
            assert given.tobytes() == draw(item.scene, elsewhere, size_px).tobytes()


def test_at_least_half_of_the_ball_is_seen_in_two_of_the_given_frames(items_of):
    for item in items_of["hide"]:
        screen = item.scene.screen
        assert all(not screen.left < x < screen.right for x in item.poses[:2, 0, 0])
        assert place_of(item.scene, item.poses[0, 0, 0]) in (LEFT, RIGHT)


def test_neither_direction_nor_post_nor_its_half_says_what_comes(items_of):
    period = items_of["hide"][:PERIOD]
    assert set(Counter((item.outcome, straight_on(item.scene)) for item in period).values()) == {4}
    posts = [item for item in period if item.scene.planks]
    halves = [(i.outcome, i.scene.planks[0].x0 < (i.scene.screen.left + i.scene.screen.right) / 2) for i in posts]
    assert Counter(outcome for outcome, _ in halves) == {LEFT: 4, RIGHT: 4, NOWHERE: 4}
    assert set(Counter(halves).values()) == {2}


def test_a_post_far_from_the_middle_or_in_the_other_half_is_turned_down():
    near, far = scene(0.14, 0.65, 0.52), scene(0.14, 0.65, 0.545)
    assert outcome(near, simulate(near)) == outcome(far, simulate(far)) == LEFT
    assert examine(near, 12) is not None
    assert examine(near, 0) is None  # index 0 asks for a post in the left half
    assert examine(far, 12) is None


def test_rules_look_at_the_direction_the_post_or_both():
    passing, stopped = scene(0.14, 0.7), scene(0.14, 0.7, 0.52)
    assert [straight_on(one) for one in (passing, stopped)] == [RIGHT, RIGHT]
    assert [post_side(one) for one in (passing, stopped)] == [NOWHERE, LEFT]
    assert [rebound(one) for one in (passing, stopped)] == [RIGHT, LEFT]
