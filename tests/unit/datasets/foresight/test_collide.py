"""Whether two balls touch is decided by their velocities, and by nothing that the last given frame shows."""

from collections import Counter

import numpy as np
import pytest

from theworld.datasets.foresight.collide import NO, PERIOD, YES, approaching, gap_of, near, outcome
from theworld.datasets.foresight.physics import simulate
from theworld.datasets.foresight.scene import Ball, Scene

NOW = 4


def scene(vx: float, y: float = 0.5) -> Scene:
    """A ball that moves towards, or past, a resting one."""
    return Scene(task="collide", balls=(Ball(x=0.2, y=0.5, vx=vx, colour="red"), Ball(x=0.7, y=y, colour="blue")))


@pytest.mark.parametrize(("vx", "y", "expected"), [(0.3, 0.5, YES), (0.3, 0.64, NO), (0.1, 0.5, NO), (0.9, 0.5, None)])
def test_balls_touch_or_not_after_the_question_is_asked(vx, y, expected):
    assert outcome(scene(vx, y), simulate(scene(vx, y))) == expected


def test_balls_pass_or_meet_as_straight_lines_say(items_of):
    for item in items_of["collide"]:
        first, second = (np.array([[b.x, b.y], [b.vx, b.vy]]) for b in item.scene.balls)
        place, velocity = second - first
        nearest_s = np.clip(-(place @ velocity) / (velocity @ velocity), 0, 16 / 6)
        assert (np.linalg.norm(place + velocity * nearest_s) < 0.1) == (item.outcome == YES)


def test_nothing_touches_before_the_question_and_what_touches_stays_together(items_of):
    for item in items_of["collide"]:
        gaps = gap_of(item.scene, item.poses)
        assert gaps[: NOW + 1].min() > 0.02
        if item.outcome == YES:
            assert gaps[-1] < 0.005
        else:
            assert gaps.min() > 0.02


def test_no_ball_comes_to_a_rail(items_of):
    for item in items_of["collide"]:
        assert item.poses[..., :2].min() >= 0.09
        assert item.poses[..., :2].max() <= 0.91


def test_each_distance_in_the_last_given_frame_has_both_outcomes_equally_often(items_of):
    gaps = {item.index: np.linalg.norm(np.diff(item.poses[NOW, :, :2], axis=0)) for item in items_of["collide"]}
    classes = Counter((item.outcome, int(np.digitize(gaps[item.index], (0.32, 0.44)))) for item in items_of["collide"])
    assert len(classes) == PERIOD
    assert set(classes.values()) == {50}


def test_the_last_frame_alone_decides_nothing(items_of):
    right = np.mean([near(item.scene) == item.outcome for item in items_of["collide"]])
    assert right == pytest.approx(0.5, abs=0.05)


def test_balls_always_approach_each_other_at_first(items_of):
    assert {approaching(item.scene) for item in items_of["collide"]} == {YES}
    assert approaching(scene(-0.3)) == NO
