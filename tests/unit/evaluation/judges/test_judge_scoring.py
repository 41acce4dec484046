"""Scores from verdicts: the rules of the benchmark, what is missing, what a judge misreads, what it cost."""

import json

import pytest

from theworld.evaluation.benchmarks.saved_replies import prediction
from theworld.evaluation.judges.verdicts import Cost, Verdict, cost, evaluate


def row(category: str, answer: str, reply: str | None, sample_id: str = "a"):
    return prediction(sample_id, reply, answer, question="?", fields={"category": category})


def verdict(category: str, says: dict | None, sample_id: str = "a", **rest):
    reply = None if says is None else json.dumps(says)
    error = "CallFailedError: HTTP 500" if says is None else None
    row = {"reply": reply, "error": error, "num_calls": 1, "seconds": 0.5, **rest}
    return Verdict(sample_id=sample_id, category=category, **row)


def lengths(answer: float, response: float | None) -> dict:
    return {"answer_in_meters": answer, "response_in_meters": response}


@pytest.mark.parametrize(
    ("answer", "response", "right"),
    [(2.0, 1.5, True), (2.0, 1.499, False), (2.0, 2.5, True), (2.0, 2.501, False), (2.0, 0.0, False)],
)
def test_a_length_is_right_within_a_quarter_of_the_true_one(answer, response, right):
    found = evaluate([row("width_data", "2 meters", "?")], [verdict("width_data", lengths(answer, response))])
    assert found.scores.overall.num_right == right


@pytest.mark.parametrize(("answer", "response", "right"), [(12, 1, True), (1, 12, True), (11, 1, False), (6, 6, True)])
def test_a_direction_is_right_within_an_hour_the_shorter_way_round(answer, response, right):
    says = {"answer_direction": answer, "response_direction": response}
    found = evaluate([row("direction", f"{answer} o'clock", "?")], [verdict("direction", says)])
    assert found.scores.overall.num_right == right


def test_what_names_nothing_is_unparsed_and_what_was_not_judged_is_missing():
    rows = [
        row("width_data", "2 meters", "Very wide.", "a"),
        row("width_data", "2 meters", "3 m", "b"),
        row("width_data", "2 meters", "2.2 m", "c"),
        row("width_data", "2 meters", None, "d"),
        row("big_predicate", "Yes.", "It is.", "e"),
    ]
    found = evaluate(
        rows,
        [
            verdict("width_data", lengths(2.0, None), "a"),
            verdict("width_data", None, "b"),
            verdict("width_data", lengths(2.0, 2.2), "c"),
            verdict("big_predicate", {"your_mark": 1}, "e"),
        ],
    )
    width = found.scores.quantitative_groups["width"]
    assert (width.rate.num_items, width.rate.num_right, width.rate.num_unparsed, width.rate.num_missing) == (4, 1, 1, 2)
    assert width.rate.value == 0.5
    assert width.error == pytest.approx(0.1)
    assert found.num_without_verdict == 1
    assert found.scores.qualitative_groups["big/small"].value == 1.0
    assert found.scores.predicates is None


def test_the_judges_agreement_with_the_readings_is_counted_in_all_and_by_category():
    rows = [row("big_predicate", "Yes.", "Yes.", "a"), row("big_predicate", "Yes.", "No.", "b")]
    rows.append(row("width_data", "2 meters", "1.9 m", "c"))
    verdicts = [verdict("big_predicate", {"your_mark": 1}, sample_id) for sample_id in "ab"]
    verdicts.append(verdict("width_data", lengths(2.0, 1.9), "c"))
    agreement = evaluate(rows, verdicts).scores.agreement
    assert (agreement["all"].num_items, agreement["all"].num_same) == (3, 2)
    assert (agreement["big_predicate"].value, agreement["big_predicate"].num_only_judge_right) == (0.5, 1)
    assert agreement["width_data"].value == 1.0


def test_a_judge_that_misreads_the_true_answer_is_told_of():
    rows = [row("height_data", "10 feet", "3 m", "a"), row("height_data", "10 feet", "3 m", "b")]
    found = evaluate(
        rows, [verdict("height_data", lengths(10.0, 3.0), "a"), verdict("height_data", lengths(3.05, 3.0), "b")]
    )
    assert found.num_misread == 1
    assert found.scores.overall.num_right == 1  # the rule goes by what the judge read


def test_cost_is_added_up_over_all_runs():
    rows = [
        verdict("big_predicate", None, "a", num_calls=3),
        verdict("big_predicate", {"your_mark": 1}, "b", num_prompt_tokens=100, num_completion_tokens=9),
        verdict("big_predicate", {"your_mark": 1}, "a", num_uncounted=1),
    ]
    assert cost(rows) == Cost(
        num_calls=5, num_retries=3, num_prompt_tokens=100, num_completion_tokens=9, num_uncounted=1, seconds=1.5
    )
