"""Drop scenes hit their targets, and scenes that a picture cannot decide are turned down."""

from collections import Counter
from random import Random

import pytest

from theworld.datasets.foresight.drop import (
    JITTERS,
    PERIOD,
    Target,
    caught_by,
    downhill,
    examine,
    neighbours,
    outcome,
    propose,
    straight_down,
)
from theworld.datasets.foresight.physics import simulate
from theworld.datasets.foresight.scene import Ball, Plank, Scene


def index_of(start: int, end: int, num_planks: int) -> int:
    """The first index whose item starts, ends and is built so."""
    return next(
        index
        for index in range(PERIOD)
        if (target := Target.of(index)).start == start and target.end == end and target.num_planks == num_planks
    )


def scene(x: float, *planks: Plank) -> Scene:
    ball = Ball(x=x, y=0.1, colour="red")
    return Scene(task="drop", balls=(ball,), planks=planks, bins=("blue", "green", "orange"))


def test_every_combination_of_targets_occurs_once_in_a_period():
    for first in (0, 40, 5 * PERIOD):
        assert len({Target.of(index) for index in range(first, first + PERIOD)}) == PERIOD == 3 * 3 * 3 * 6


@pytest.mark.parametrize("num_items", [30, 100, 250])
def test_targets_are_balanced_over_any_consecutive_items(num_items):
    targets = [Target.of(index) for index in range(7, 7 + num_items)]
    for values in (
        Counter(target.end for target in targets),
        Counter(target.start for target in targets),
        Counter(target.num_planks for target in targets),
        Counter(target.colour for target in targets),
    ):
        assert max(values.values()) - min(values.values()) <= 4


def test_a_proposal_shows_what_the_target_asks_for():
    index = index_of(start=0, end=2, num_planks=3)
    for seed in range(30):
        proposed = propose(Random(seed), index)
        assert straight_down(proposed) == 0
        assert len(proposed.planks) == 3
        assert proposed.bins is not None
        assert proposed.bins[2] == Target.of(index).colour
        reach = 0.05 + 0.018
        assert any(plank.x0 - reach < proposed.ball.x < plank.x1 + reach for plank in proposed.planks)
        assert all(plank.x0 < plank.x1 for plank in proposed.planks)


def test_a_ball_without_planks_falls_into_the_bin_below():
    assert [caught_by(scene(x)) for x in (0.2, 0.5, 0.8)] == [0, 1, 2]


def test_a_ball_that_is_held_up_is_in_no_bin():
    funnel = (Plank(x0=0.3, y0=0.4, x1=0.5, y1=0.5), Plank(x0=0.5, y0=0.5, x1=0.7, y1=0.4))
    assert caught_by(scene(0.5, *funnel)) is None
    assert all(examine(scene(0.5, *funnel), index_of(1, end, 2)) is None for end in range(3))


def test_a_ball_over_the_edge_of_a_divider_is_turned_down_although_it_comes_to_rest_in_a_bin():
    edge = scene(1 / 3 + 0.006)
    assert simulate(edge).has_come_to_rest
    assert caught_by(edge) == outcome(edge, simulate(edge)) == 1
    assert {caught_by(one) for one in neighbours(edge)} == {0, 1}
    assert examine(edge, index_of(1, 1, 1)) is None


def test_a_clear_scene_is_fit_for_the_target_it_meets_and_for_no_other():
    assert examine(scene(0.5), index_of(1, 1, 1)) is not None
    assert examine(scene(0.5), index_of(1, 0, 1)) is None


def test_neighbours_start_up_to_half_a_pixel_away():
    assert max(abs(dx) for dx, _ in JITTERS) == max(abs(dy) for _, dy in JITTERS) == 0.5 / 64
    assert {one.ball.x for one in neighbours(scene(0.5))} == {0.5 + dx for dx, _ in JITTERS}


def test_the_ball_has_come_to_rest_in_its_bin_and_started_clearly_in_a_third(items_of):
    for item in items_of["drop"]:
        assert abs(item.poses[-1, 0, :2] - item.poses[-2, 0, :2]).max() < 0.02 / 6 + 1e-4
        assert item.poses[-1, 0, 1] > 0.80
        assert min(abs(item.scene.ball.x - edge) for edge in (1 / 3, 2 / 3)) > 0.029


def test_rules_look_at_the_start_and_at_the_first_plank_only():
    slopes_left = Plank(x0=0.4, y0=0.5, x1=0.6, y1=0.4)
    slopes_right_below = Plank(x0=0.4, y0=0.6, x1=0.6, y1=0.7)
    slopes_right_elsewhere = Plank(x0=0.7, y0=0.3, x1=0.9, y1=0.4)
    crowded = scene(0.5, slopes_right_below, slopes_right_elsewhere, slopes_left)
    assert (straight_down(crowded), downhill(crowded)) == (1, 0)
    assert (straight_down(scene(0.8)), downhill(scene(0.8))) == (2, 2)
    assert downhill(scene(0.8, slopes_right_elsewhere)) == 2
