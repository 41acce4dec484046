"""Comparisons: alignment, refusals, paired tests, and files that are the same."""

import json

import numpy as np
import pytest

from theworld.evaluation.comparison import compare, to_markdown
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.statistics import bootstrap_difference, smallest_detectable_difference
from theworld.evaluation.summary import summarise


def row(index: int, right: bool, *, question: str = "Which bin?", **rest) -> Prediction:
    return Prediction(
        sample_id=f"drop-{index}",
        question=question,
        answer="left",
        prediction="left" if right else "right",
        choices=("left", "right"),
        prompt_hash="0",
        fields={"task": "colour" if index % 5 == 0 else "drop", "scene": index // 2},
        **rest,
    )


def rows(*right: int) -> list[Prediction]:
    return [row(index, bool(value)) for index, value in enumerate(right)]


def failed(one: Prediction) -> Prediction:
    return Prediction(
        sample_id=one.sample_id,
        question=one.question,
        answer=one.answer,
        prediction=None,
        error="OSError: disk full",
        choices=one.choices,
        fields=one.fields,
        prompt_hash="0",
    )


GEMMA = [1] * 2 + [0] * 10 + [1] * 20 + [0] * 8
WORLD = [0] * 2 + [1] * 10 + [1] * 20 + [0] * 8


def test_a_pair_is_tested_on_the_items_that_both_runs_answered():
    [pair] = compare({"gemma": rows(*GEMMA), "world": rows(*WORLD)}).pairs
    assert (pair.first, pair.second, pair.num_shared, pair.num_scored) == ("gemma", "world", 40, 40)
    assert pair.difference == pytest.approx(8 / 40)
    assert (pair.num_first_only, pair.num_second_only, pair.p_value) == (2, 10, 158 / 4096)
    assert pair.interval == bootstrap_difference(GEMMA, WORLD)
    assert pair.smallest_difference == smallest_detectable_difference(40, 12 / 40)
    assert not pair.identical
    assert pair.note == ""


def test_rows_are_aligned_by_id_and_not_by_place():
    turned = rows(*WORLD)[::-1]
    assert compare({"gemma": rows(*GEMMA), "world": turned}).pairs == (
        compare({"gemma": rows(*GEMMA), "world": rows(*WORLD)}).pairs
    )


def test_errors_leave_the_pair_and_are_counted():
    world = rows(*WORLD)
    comparison = compare({"gemma": rows(*GEMMA), "world": [failed(world[0]), *world[1:]]})
    assert (comparison.pairs[0].num_shared, comparison.pairs[0].num_scored) == (40, 39)
    assert comparison.pairs[0].num_first_only == 1
    assert comparison.summaries["world"].num_missing == 1


def test_every_pair_is_corrected_for_all_pairs():
    comparison = compare({"gemma": rows(*GEMMA), "world": rows(*WORLD), "blind": rows(*[0] * 40)})
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [
        ("gemma", "world"),
        ("gemma", "blind"),
        ("world", "blind"),
    ]
    assert comparison.pairs[0].p_holm == comparison.pairs[0].p_value  # the largest of the three
    assert comparison.pairs[2].p_holm == 3 * comparison.pairs[2].p_value  # the smallest


def test_against_a_baseline_only_its_pairs_are_tested():
    runs = {"gemma": rows(*GEMMA), "world": rows(*WORLD), "blind": rows(*[0] * 40)}
    pairs = compare(runs, baseline="world").pairs
    assert [(pair.first, pair.second) for pair in pairs] == [("world", "gemma"), ("world", "blind")]
    assert pairs[0].p_holm == pairs[0].p_value
    assert pairs[0].difference == pytest.approx(-8 / 40)


def test_identical_predictions_are_called_out():
    comparison = compare({"vae": rows(*WORLD), "rollout": rows(*WORLD)})
    [pair] = comparison.pairs
    assert pair.identical
    assert "vae and rollout gave the same reply, to the last character, to all 40 items" in pair.note
    assert to_markdown(comparison).startswith("> **IDENTICAL PREDICTIONS: vae and rollout")
    assert "+0.0 (IDENTICAL)" in to_markdown(comparison)


def test_an_error_in_one_of_two_copies_does_not_hide_that_they_are_copies():
    world = rows(*WORLD)
    [pair] = compare({"vae": world, "rollout": [failed(world[0]), *world[1:]]}).pairs
    assert pair.identical


def test_equal_scores_from_different_replies_are_not_identical():
    other = [row(0, True), *rows(*WORLD)[1:]]
    assert not compare({"vae": rows(*WORLD), "rollout": other}).pairs[0].identical


def test_log_likelihoods_tell_runs_apart_that_choose_alike():
    def likely(value: float) -> list[Prediction]:
        return [row(0, True, log_likelihoods={"left": value, "right": -3.0})]

    assert compare({"a": likely(-0.1), "b": likely(-0.1)}).pairs[0].identical
    assert not compare({"a": likely(-0.1), "b": likely(-0.2)}).pairs[0].identical


def test_ids_that_are_not_shared_are_named():
    comparison = compare({"gemma": rows(*GEMMA), "world": rows(*WORLD)[2:]})
    assert (comparison.num_shared_by_all, comparison.absent) == (38, {"gemma": [], "world": ["drop-0", "drop-1"]})
    assert comparison.pairs[0].num_scored == 38
    assert "Shared by all runs: 38 items." in to_markdown(comparison)
    assert "world lacks 2 items that another run has: drop-0, drop-1." in to_markdown(comparison)


def test_one_id_for_two_items_is_refused():
    other = [row(0, True, question="Which colour?")]
    with pytest.raises(
        ValueError, match=r"'drop-0' is \('Which bin\?'.*in run 'gemma', but \('Which colour\?'.*'world'"
    ):
        compare({"gemma": rows(1), "world": other})


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ({"gemma": rows(1)}, {}, "expected two runs at least"),
        ({"gemma": rows(1), "world": rows(1)}, {"baseline": "gemini"}, "baseline 'gemini'"),
        ({"gemma": rows(1), "world": rows(1, 1)[1:]}, {}, "share 0 items"),
        ({"gemma": rows(1), "world": [failed(row(0, True))]}, {}, "share 1 items and have a reply to none"),
        ({"gemma": rows(1), "world": [*rows(1), *rows(1)]}, {}, "run 'world' holds a sample twice"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, options, message):
    with pytest.raises(ValueError, match=message):
        compare(runs, **options)


def test_summaries_are_those_of_the_runs_alone():
    comparison = compare({"gemma": rows(*GEMMA), "world": rows(*WORLD)}, group_by=("task",), cluster_by="scene")
    assert comparison.summaries["world"] == summarise(rows(*WORLD), group_by=("task",), cluster_by="scene")


def test_scenes_widen_the_interval_of_a_difference():
    values = np.arange(120) // 2 % 3 > 0
    runs = {"gemma": rows(*[0] * 120), "world": rows(*values.astype(int))}
    alone, together = compare(runs).pairs[0].interval, compare(runs, cluster_by="scene").pairs[0].interval
    assert together.high - together.low > 1.2 * (alone.high - alone.low)


def test_a_comparison_is_json():
    comparison = compare({"gemma": rows(*GEMMA), "world": rows(*WORLD)}, group_by=("task",))
    content = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert content["pairs"][0]["num_second_only"] == 10
    assert content["summaries"]["gemma"]["groups"]["task"]["colour"]["num_items"] == 8


def test_tables_carry_n_intervals_baselines_and_tests():
    runs = {"gemma": rows(*GEMMA), "a|b": rows(*WORLD)}
    page = to_markdown(compare(runs, group_by=("task",)))
    assert "| gemma | 40 | 55.0 [39.8, 69.3] |" in page
    assert "100.0 (left)" in page
    assert "| a\\|b - gemma | 40 | +20.0 | [" in page
    assert "| 10 | 2 | 0.039 | 0.039 |" in page
    assert "| left | 100.0 | 55.0 | 75.0 |" in page
    assert "| task | majority, % | gemma, % | a\\|b, % |" in page
    for line in page.splitlines():
        assert not line.startswith("|") or line.endswith("|")
