"""Audits of simulated models, and the derangement that a shuffle needs."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theworld.evaluation.audit import Audit, audit_verdict, derangement
from theworld.evaluation.scoring import Score
from theworld.evaluation.statistics import smallest_detectable_difference

BINS = np.array(["red", "green", "blue", "white"])


def scores(answers: np.ndarray, readings: np.ndarray) -> list[Score]:
    return [
        Score(str(index), "right" if answer == reading else "wrong", str(reading), str(answer))
        for index, (answer, reading) in enumerate(zip(answers, readings, strict=True))
    ]


def simulated_audit(num_items: int, world_share: float, seed: int = 0) -> Audit:
    """A model that answers a share of the items from its world features, and the others by a guess from the picture.

    The features of an item are its answer; the mean feature, zero and noise say nothing, so that it guesses.
    """
    generator = np.random.default_rng(seed)
    answers = BINS[np.arange(num_items) % len(BINS)]
    reads_world = generator.random(num_items) < world_share
    guesses = np.where(generator.random(num_items) < 0.4, answers, generator.choice(BINS, num_items))

    def run(features: np.ndarray | None) -> list[Score]:
        return scores(answers, guesses if features is None else np.where(reads_world, features, guesses))

    partners = derangement([str(answer) for answer in answers])
    return audit_verdict(
        real=run(answers), shuffle=run(answers[partners]), mean=run(None), zero=run(None), noise=run(None)
    )


def test_a_model_that_reads_the_answer_from_the_world_uses_it():
    audit = simulated_audit(400, world_share=1.0)
    assert audit.verdict == "used"
    assert audit.line.startswith("world used: shuffle costs 100.0 points [100.0, 100.0] (p < 0.0001, n = 400,")
    assert [drop.condition for drop in audit.deciding] == ["shuffle", "mean"]
    assert [drop.condition for drop in audit.reported] == ["zero", "noise"]


def test_a_model_that_reads_a_fifth_of_the_answers_from_the_world_uses_it():
    assert simulated_audit(400, world_share=0.2).verdict == "used"


def test_a_model_that_ignores_the_world_does_not_use_it():
    audit = simulated_audit(400, world_share=0.0)
    assert audit.verdict == "not used"
    assert audit.line.startswith(
        "world not used: shuffle costs 0.0 points [0.0, 0.0] (p = 1, n = 400, 0 answers changed)"
    )
    assert "a drop of 1.0 points or more would probably have shown, a smaller one cannot be excluded" in audit.line


def test_a_model_that_ignores_the_world_on_few_items_proves_nothing():
    audit = simulated_audit(20, world_share=0.0)
    assert audit.verdict == "undecided"
    assert "with so few items only a drop of 16.1 points or more would probably have shown" in audit.line


def test_a_handful_of_items_decides_nothing_even_if_all_are_lost():
    assert simulated_audit(4, world_share=1.0).verdict == "undecided"


def test_features_that_scramble_the_guesses_at_random_are_not_used():
    generator = np.random.default_rng(0)
    answers = BINS[np.arange(2000) % 4]
    guess = lambda: scores(answers, np.where(generator.random(2000) < 0.6, answers, BINS[0]))  # noqa: E731
    audit = audit_verdict(real=guess(), shuffle=guess(), mean=guess(), zero=guess(), noise=guess())
    assert audit.verdict == "not used"
    assert audit.deciding[0].num_changed > 500


def flipped(num_items: int, num_lost: int, num_won: int) -> list[Score]:
    """Right on the first half of the items, save `num_lost`; wrong on the second half, save `num_won`."""
    half = num_items // 2
    right = [index >= num_lost if index < half else index - half < num_won for index in range(num_items)]
    return [Score(str(index), "right" if value else "wrong", str(value), "True") for index, value in enumerate(right)]


def verdict_of(shuffle: list[Score], mean: list[Score]) -> Audit:
    real = flipped(1000, 0, 0)
    return audit_verdict(real=real, shuffle=shuffle, mean=mean, zero=real, noise=real)


def test_both_drops_must_be_significant():
    lost, kept = flipped(1000, 60, 0), flipped(1000, 0, 0)
    assert verdict_of(lost, lost).verdict == "used"
    assert verdict_of(lost, kept).verdict == "undecided"
    assert "only the drop under mean is significant" in verdict_of(kept, lost).line


def test_the_two_tests_are_corrected_for_being_two():
    borderline = flipped(1000, 9, 1)  # McNemar: p = 22 / 1024 = 0.0215, twice that is below 0.05
    weak = flipped(1000, 8, 1)  # p = 20 / 512 = 0.0391, twice that is not
    assert verdict_of(borderline, borderline).verdict == "used"
    audit = verdict_of(weak, weak)
    assert audit.verdict != "used"
    assert audit.deciding[0].p_value == pytest.approx(20 / 512)
    assert audit.deciding[0].p_holm == pytest.approx(40 / 512)


def test_what_could_have_been_seen_is_reckoned_at_the_corrected_level():
    noisy = flipped(1000, 100, 100)
    for drop in verdict_of(noisy, noisy).deciding:
        assert drop.smallest_drop == smallest_detectable_difference(1000, 0.2, alpha=0.025)


def test_a_model_that_gains_from_wrong_features_is_misled_and_not_a_user():
    won = flipped(1000, 0, 60)
    audit = verdict_of(won, won)
    assert audit.verdict == "undecided"
    assert "does better without its real features (shuffle, mean): they mislead it" in audit.line


def test_zero_and_noise_decide_nothing():
    real, lost = flipped(1000, 0, 0), flipped(1000, 500, 0)
    audit = audit_verdict(real=real, shuffle=real, mean=real, zero=lost, noise=lost)
    assert audit.verdict == "not used"
    assert audit.line.endswith("(out of distribution: zero +50.0, noise +50.0)")
    assert [drop.p_holm for drop in audit.reported] == [None, None]


def test_items_that_met_an_error_are_left_out_and_counted():
    real, lost = flipped(1000, 0, 0), flipped(1000, 60, 0)
    broken = [Score("0", "missing", None, "True"), *lost[1:]]
    drop = verdict_of(broken, lost).deciding[0]
    assert (drop.num_items, drop.num_missing, drop.num_real_only) == (999, 1, 59)
    with pytest.raises(ValueError, match="no item is scored under both 'real' and 'mean': all 1 met an error"):
        audit_verdict(real=real[:1], shuffle=real[:1], mean=broken[:1], zero=real[:1], noise=real[:1])


def test_conditions_over_different_items_are_refused():
    real = flipped(10, 0, 0)
    with pytest.raises(ValueError, match="condition 'mean' has 9 scores, 'real' has 10"):
        audit_verdict(real=real, shuffle=real, mean=real[1:], zero=real, noise=real)


def test_an_audit_is_json():
    content = json.loads(json.dumps(simulated_audit(40, 0.5).to_dict(), allow_nan=False))
    assert content["deciding"][0]["condition"] == "shuffle"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from("abcd"), min_size=2, max_size=60), st.integers(0, 2**32))
def test_a_partner_has_another_answer_and_is_used_as_evenly_as_can_be(answers, seed):
    counts = Counter(answers)
    if len(counts) == 1:
        with pytest.raises(ValueError, match="no partner has another one"):
            derangement(answers, seed)
        return
    partners = derangement(answers, seed)
    assert all(answers[partner] != answer for partner, answer in zip(partners, answers, strict=True))
    most_common = max(counts.values())
    times = Counter(partners)
    assert max(times.values()) <= -(-most_common // (len(answers) - most_common))
    if 2 * most_common <= len(answers):
        assert sorted(partners) == list(range(len(answers)))


def test_a_derangement_is_fixed_by_its_seed():
    answers = [str(index % 3) for index in range(30)]
    assert derangement(answers, 1) == derangement(answers, 1)
    assert derangement(answers, 1) != derangement(answers, 2)


def test_where_one_answer_is_held_by_more_than_half_the_others_are_reused_evenly():
    partners = derangement(["yes"] * 6 + ["no"] * 2)
    assert Counter(partners[:6]) == {6: 3, 7: 3}
    assert len(set(partners[6:])) == 2
    assert set(partners[6:]) <= set(range(6))


def test_partners_come_from_the_same_group():
    answers, groups = ["a", "b", "a", "b", "c", "c", "d", "d"], ["x"] * 4 + ["y"] * 4
    partners = derangement(answers, 3, groups)
    assert all(groups[partner] == group for partner, group in zip(partners, groups, strict=True))
    assert all(answers[partner] != answer for partner, answer in zip(partners, answers, strict=True))
    with pytest.raises(ValueError, match="all 2 items of group 'y' have the answer 'c'"):
        derangement(["a", "b", "c", "c"], 0, ["x", "x", "y", "y"])
    with pytest.raises(ValueError, match="1 groups for 2 answers"):
        derangement(["a", "b"], 0, ["x"])
