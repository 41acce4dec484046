"""Items are a pure function of split and index, are never shared between splits, and are balanced."""

from collections import Counter

import numpy as np
import pytest

from theworld.foresight.drop import Target
from theworld.foresight.items import SPLITS, _make_item, make_item, split_of


def test_the_same_split_and_index_give_the_same_item_whatever_was_made_before():
    for split, index in (("test", 4), ("train", 0), ("test", 4)):
        before = make_item(split, index)
        _make_item.cache_clear()
        again = make_item(split, index)
        assert again is not before
        assert again.scene == before.scene
        np.testing.assert_array_equal(again.positions, before.positions)


def test_an_item_is_made_once_however_it_is_asked_for():
    assert make_item("test", 4) is make_item("test", 4, "drop") is make_item("test", index=4, task="drop")


@pytest.mark.usefixtures("unchecked")
def test_no_two_items_share_a_scene_and_a_scene_names_its_split():
    made = [make_item(split, index) for split in SPLITS for index in range(8)]
    assert [split_of(item.scene) for item in made] == [item.split for item in made]
    assert len({item.scene.planks for item in made}) == len(made)
    assert len({item.id for item in made}) == len(made)


def test_every_item_meets_the_target_of_its_index(items):
    for item in items:
        scene = item.scene
        assert Target(item.start, item.end, len(scene.planks), scene.bins[item.end]) == Target.of(item.index)


def test_ends_and_colours_are_balanced_exactly_over_a_period(items):
    assert Counter(item.end for item in items) == {0: 54, 1: 54, 2: 54}
    assert set(Counter(item.scene.bins[item.end] for item in items).values()) == {27}


def test_the_straight_down_rule_is_right_a_third_of_the_time(items):
    assert np.mean([item.start == item.end for item in items]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("seen", [lambda item: item.start, lambda item: len(item.scene.planks)])
def test_the_end_cannot_be_told_from_the_start_or_the_number_of_planks(items, seen):
    for value in {seen(item) for item in items}:
        ends = Counter(item.end for item in items if seen(item) == value)
        assert max(ends.values()) / ends.total() <= 0.45


def test_the_ball_has_come_to_rest_in_a_bin(items):
    for item in items:
        assert np.abs(item.positions[-1] - item.positions[-2]).max() < 0.02 / 6
        assert item.positions[-1, 0, 1] > 0.80


def test_the_ball_starts_clearly_in_one_third(items):
    for item in items:
        assert min(abs(item.scene.ball.x - edge) for edge in (1 / 3, 2 / 3)) > 0.029


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("holdout", 0), "split 'holdout': expected one of"),
        (("test", -1), "index -1: expected 0 or more"),
        (("test", 0, "fly"), "task 'fly': expected one of"),
    ],
)
def test_an_unknown_split_index_or_task_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_item(*arguments)


def test_an_item_that_others_share_cannot_be_changed(items):
    with pytest.raises(ValueError, match="read-only"):
        items[0].positions[0, 0, 0] = 0.5
