"""Statistics against published figures, exact calculations and their own laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from theworld.evaluation.statistics import (
    McNemar,
    balanced_accuracy,
    bootstrap_balanced_accuracy,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_nested,
    holm,
    majority,
    mcnemar,
    smallest_detectable_difference,
    wilson_interval,
)

OUTCOMES = st.lists(st.integers(0, 1), min_size=1, max_size=60)


def test_wilson_of_8_in_10():
    interval = wilson_interval(8, 10)
    assert (interval.low, interval.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_wilson_of_none_right_starts_at_zero_and_does_not_end_there():
    interval = wilson_interval(0, 10)
    assert (interval.low, interval.high) == pytest.approx((0, 0.2775), abs=1e-4)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 500), st.data())
def test_wilson_contains_the_share_and_narrows_with_more_items(num_items, data):
    num_right = data.draw(st.integers(0, num_items))
    narrow, wide = wilson_interval(4 * num_right, 4 * num_items), wilson_interval(num_right, num_items)
    assert wide.low - 1e-12 <= num_right / num_items <= wide.high + 1e-12
    assert narrow.high - narrow.low < wide.high - wide.low


@pytest.mark.parametrize(("num_right", "num_items"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(num_right, num_items):
    with pytest.raises(ValueError, match="expected 0 <= right <= items"):
        wilson_interval(num_right, num_items)


@pytest.mark.parametrize(("num_items", "points"), [(2195, 2.7), (1406, 3.3), (1222, 3.6)])
def test_differences_that_known_test_sets_can_see_when_a_fifth_of_the_items_flips(num_items, points):
    difference = smallest_detectable_difference(num_items, 0.2)
    assert difference is not None
    assert round(100 * difference, 1) == points


@pytest.mark.parametrize("num_items", [124, 143])
def test_one_task_of_a_hundred_items_sees_only_ten_points_or_more(num_items):
    difference = smallest_detectable_difference(num_items, 0.2)
    assert difference is not None
    assert 0.10 < difference < 0.112


@pytest.mark.parametrize(("num_items", "flip_share"), [(1406, 0.2), (300, 0.1), (200, 0.0)])
def test_the_exact_test_sees_the_smallest_difference_about_four_times_in_five(num_items, flip_share):
    difference = smallest_detectable_difference(num_items, flip_share)
    assert difference is not None
    flips = max(flip_share, difference)
    upward = (flips + difference) / (2 * flips)
    num_flips = np.arange(1, num_items + 1)
    fewest = binom.ppf(0.025, num_flips, 0.5) - 1  # the exact test rejects up to here, and from num_flips - fewest
    rejected = binom.cdf(fewest, num_flips, upward) + binom.sf(num_flips - fewest - 1, num_flips, upward)
    power = (binom.pmf(num_flips, num_items, flips) * rejected).sum()
    assert 0.72 < power < 0.82  # the exact test is a little shy of the normal approximation


@settings(deadline=None, max_examples=40)
@given(st.integers(6, 5000), st.floats(0, 1))
def test_more_items_see_smaller_differences_and_none_is_larger_than_one(num_items, flip_share):
    few = smallest_detectable_difference(num_items, flip_share)
    many = smallest_detectable_difference(2 * num_items, flip_share)
    assert few is not None
    assert many is not None
    assert 0 < many < few <= 1


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 5000), st.floats(0, 1), st.floats(0, 1))
def test_more_flips_hide_larger_differences(num_items, one, other):
    calm = smallest_detectable_difference(num_items, min(one, other))
    noisy = smallest_detectable_difference(num_items, max(one, other))
    assert calm is not None
    assert noisy is not None
    assert calm <= noisy + 1e-9


def test_five_items_see_nothing():
    assert smallest_detectable_difference(5, 0.5) is None


@pytest.mark.parametrize("changes", [{"num_items": 0}, {"flip_share": 1.5}, {"power": 0.2}, {"alpha": 0.0}])
def test_a_plan_outside_its_ranges_is_refused(changes):
    with pytest.raises(ValueError, match="expected at least one item"):
        smallest_detectable_difference(**{"num_items": 100, "flip_share": 0.2, **changes})


def test_mcnemar_of_10_against_2():
    first = [1] * 10 + [0] * 2 + [1] * 30 + [0] * 8
    second = [0] * 10 + [1] * 2 + [1] * 30 + [0] * 8
    assert mcnemar(first, second) == McNemar(10, 2, 158 / 4096)


def test_mcnemar_of_equal_models_is_one():
    assert mcnemar([1, 0, 1], [1, 0, 1]) == McNemar(0, 0, 1.0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=50))
def test_mcnemar_does_not_care_which_comes_first(pairs):
    first, second = [one for one, _ in pairs], [other for _, other in pairs]
    test, turned = mcnemar(first, second), mcnemar(second, first)
    assert test.p_value == pytest.approx(turned.p_value)
    assert (test.num_first_only, test.num_second_only) == (turned.num_second_only, turned.num_first_only)


def test_pairs_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="2 and 1 values"):
        mcnemar([1, 0], [1])


def test_holm_of_four():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_never_lowers_never_reorders_and_never_exceeds_bonferroni(p_values):
    adjusted = holm(p_values)
    for raw, corrected in zip(p_values, adjusted, strict=True):
        assert raw <= corrected <= min(1, len(p_values) * raw)
    assert [adjusted[index] for index in np.argsort(p_values, kind="stable")] == sorted(adjusted)


def test_the_majority_and_its_share():
    assert majority(["no", "yes", "no"]) == ("no", pytest.approx(2 / 3))
    assert majority(["yes", "no"]) == ("no", 0.5)


def test_balanced_accuracy_is_the_mean_recall():
    truth, guess = [0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]
    assert balanced_accuracy(truth, [int(a == b) for a, b in zip(truth, guess, strict=True)]) == 0.625


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.data())
def test_a_constant_reply_has_a_balanced_accuracy_of_one_over_the_answers(answers, data):
    constant = data.draw(st.sampled_from(answers))
    values = [int(answer == constant) for answer in answers]
    assert balanced_accuracy(answers, values) == pytest.approx(1 / len(set(answers)))


@settings(deadline=None, max_examples=40)
@given(OUTCOMES)
def test_bootstrap_intervals_contain_the_estimate(values):
    interval = bootstrap_mean(values, num_resamples=400)
    assert interval.low - 1e-12 <= np.mean(values) <= interval.high + 1e-12
    difference = bootstrap_difference(values, values[::-1], num_resamples=400)
    assert difference.low - 1e-12 <= 0 <= difference.high + 1e-12


def test_a_bootstrap_interval_is_as_wide_as_theory_says():
    values = np.arange(1406) % 10 < 7
    interval = bootstrap_mean(values.astype(int))
    assert (interval.high - interval.low) / 2 == pytest.approx(0.024, abs=0.0015)


def test_counting_kinds_is_drawing_items():
    values = np.array([0.0, 1.0, 1.0, 0.25, -2.0, 3.0, 1.0, 0.0])
    generator = np.random.default_rng(7)
    naive = values[generator.integers(8, size=(20_000, 8))].mean(axis=1)
    interval = bootstrap_mean(values, num_resamples=20_000)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(naive, [0.025, 0.975])), abs=0.06)


def test_copies_of_an_item_in_its_cluster_add_no_certainty():
    values = np.arange(100) % 10 < 7
    once = bootstrap_mean(values.astype(int))
    copied = np.repeat(values, 9).astype(int)
    clustered = bootstrap_mean(copied, clusters=np.repeat(np.arange(100), 9))
    careless = bootstrap_mean(copied)
    assert clustered.high - clustered.low == pytest.approx(once.high - once.low, rel=0.06)
    assert careless.high - careless.low == pytest.approx((once.high - once.low) / 3, rel=0.1)


def test_every_item_its_own_cluster_is_no_clustering():
    values = [1, 0, 1, 1, 0, 1, 1, 1, 0, 1]
    assert bootstrap_mean(values, clusters=list(range(10))) == bootstrap_mean(values)


def test_the_balanced_bootstrap_surrounds_the_balanced_accuracy():
    answers = ["yes"] * 80 + ["no"] * 20
    values = [1] * 72 + [0] * 8 + [1] * 6 + [0] * 14
    interval = bootstrap_balanced_accuracy(answers, values)
    assert balanced_accuracy(answers, values) == pytest.approx(0.6)
    assert interval.low < 0.6 < interval.high
    assert (interval.high - interval.low) / 2 == pytest.approx(
        1.96 * np.sqrt(0.9 * 0.1 / 80 + 0.3 * 0.7 / 20) / 2, rel=0.1
    )


def test_bootstraps_repeat_themselves_and_their_chunks_do_not_matter(monkeypatch):
    values = np.random.default_rng(0).normal(size=50)
    before = bootstrap_mean(values)
    assert bootstrap_mean(values) == before
    assert bootstrap_mean(values, seed=1) != before
    monkeypatch.setattr("theworld.evaluation.statistics._CHUNK", 1000)
    assert bootstrap_mean(values) == before


def test_a_bootstrap_needs_values_and_a_label_for_each():
    with pytest.raises(ValueError, match="0 values"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        bootstrap_mean([1, 0], clusters=["a"])


def test_a_nested_bootstrap_is_as_wide_as_the_variances_of_builds_seeds_and_items_say():
    """Simulated: the variance of the grand mean is that of builds / 20 + that of seeds / (20 * 5) + ..."""
    rng = np.random.default_rng(0)
    num_builds, num_seeds, num_items = 20, 5, 400
    of_build, of_seed, of_item = 0.10, 0.05, 0.5
    builds = np.repeat(np.arange(num_builds), num_seeds)
    values = (
        0.3
        + rng.normal(0, of_build, num_builds)[builds][:, None]
        + rng.normal(0, of_seed, len(builds))[:, None]
        + rng.normal(0, of_item, num_items)
    )
    expected = np.sqrt(of_build**2 / num_builds + of_seed**2 / len(builds) + of_item**2 / num_items)

    interval = bootstrap_nested(values, builds.tolist())

    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(expected, rel=0.25)
    assert interval.low < values.mean() < interval.high
    items_alone = bootstrap_mean(values.mean(0))
    assert interval.high - interval.low > 1.2 * (items_alone.high - items_alone.low)


def test_a_nested_bootstrap_of_one_run_is_that_of_its_items_and_rows_without_builds_are_refused():
    values = np.arange(100)[None] % 2

    nested, plain = bootstrap_nested(values, ["a"]), bootstrap_mean(values[0])

    assert nested.high - nested.low == pytest.approx(plain.high - plain.low, abs=0.02)
    with pytest.raises(ValueError, match=r"values of shape \(1, 100\) for 2 builds"):
        bootstrap_nested(values, ["a", "b"])


def test_a_nested_bootstrap_does_not_count_many_seeds_of_two_builds_as_many_builds():
    """Two builds that disagree: their difference decides the width, however many seeds each has."""
    values = np.repeat([[0.0], [1.0]], 30, axis=0) * np.ones(50)

    interval = bootstrap_nested(values, ["a"] * 30 + ["b"] * 30)

    assert (interval.low, interval.high) == pytest.approx((0.0, 1.0))
