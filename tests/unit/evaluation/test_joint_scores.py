"""Pairs, groups of one weight, and repeated items: figures worked out by hand."""

import pytest

from theworld.evaluation.joint_scores import consistency, group_mean, pair_accuracy, relative_accuracy


def test_a_pair_counts_if_both_of_its_rows_are_right():
    pairs = ["a", "a", "b", "b", "c", "d", "d"]
    values = [1, 1, 1, 0, 1, 1, None]

    result = pair_accuracy(pairs, values)

    # a: both right; b: one; c has one row; the second row of d has no reply
    assert (result.num_pairs, result.num_right, result.num_incomplete, result.value) == (2, 1, 2, 0.5)


def test_a_constant_reply_to_pairs_gets_nothing_and_one_that_tells_them_apart_all():
    pairs = [str(place // 2) for place in range(8)]

    assert pair_accuracy(pairs, [1, 0] * 4).value == 0
    assert pair_accuracy(pairs, [1, 1] * 4).value == 1


def test_without_a_whole_pair_there_is_no_value():
    result = pair_accuracy(["a", "b", "b"], [1, None, 1])

    assert (result.value, result.bootstrap, result.num_incomplete) == (None, None, 2)


def test_pairs_of_one_scene_are_resampled_together():
    pairs = [str(place // 2) for place in range(40)]
    values = [1] * 20 + [0] * 20

    alone = pair_accuracy(pairs, values).bootstrap
    together = pair_accuracy(pairs, values, ["first"] * 20 + ["second"] * 20).bootstrap

    assert alone is not None
    assert together is not None
    assert (together.low, together.high) == (0.0, 1.0)  # two scenes: a quarter of the draws takes one of them twice
    assert 0.2 < alone.low < alone.high < 0.8


def test_of_a_pair_the_possible_video_needs_the_larger_number_and_a_tie_is_wrong():
    pairs = ["a", "a", "b", "b", "c", "c", "d", "d"]
    values = [2.0, 1.0, 0.5, 0.9, 1.0, 1.0, 3.0, None]
    possible = [True, False, False, True, True, False, True, False]

    result = relative_accuracy(pairs, values, possible)

    assert (result.num_pairs, result.num_right, result.num_incomplete) == (3, 2, 1)


def test_two_possible_videos_are_no_pair():
    assert relative_accuracy(["a", "a"], [1.0, 2.0], [True, True]).num_pairs == 0


def test_repeated_items_are_always_ever_and_on_average_right():
    items = ["x"] * 3 + ["y"] * 3 + ["z"] * 2
    values = [1, 1, 1, 1, 0, 0, 1, 1]

    result = consistency(items, values)

    # x: 3 of 3, y: 1 of 3; z was asked twice only
    assert result is not None
    assert (result.num_items, result.num_samples, result.num_incomplete) == (2, 3, 1)
    assert (result.always, result.ever) == (0.5, 1.0)
    assert result.expected == pytest.approx(4 / 6)


def test_an_item_with_a_missing_reply_is_left_out():
    result = consistency(["x", "x", "y", "y"], [1, 0, 1, None])

    assert result is not None
    assert (result.num_items, result.num_incomplete, result.expected) == (1, 1, 0.5)


def test_items_that_are_asked_once_have_no_consistency():
    assert consistency(["x", "y"], [1, 0]) is None
    assert consistency([], []) is None


def test_a_mean_of_groups_gives_each_the_same_weight_and_needs_all():
    assert group_mean({"hop1": 1.0, "hop2": 0.25}) == 0.625
    assert group_mean({"hop1": 1.0, "hop2": None}) is None
    assert group_mean({}) is None


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        pair_accuracy(["a", "a"], [1])
