"""Summaries: counts, baselines and answers of one run."""

import json
from dataclasses import replace

import pytest

from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score
from theworld.evaluation.summary import summarise

YES_NO = ("yes", "no")


def row(sample_id: int, answer: str, prediction: str | None, task: str = "drop", **rest) -> Prediction:
    return Prediction(
        sample_id=str(sample_id),
        question="Does it fall?",
        answer=answer,
        prediction=prediction,
        choices=YES_NO,
        prompt_hash="0",
        fields={"task": task, "scene": sample_id // 2},
        **rest,
    )


ROWS = [
    row(0, "no", "yes", world_read=1),
    row(1, "no", "no.", world_read=1),
    row(2, "no", "Yes", world_read=1),
    row(3, "yes", "yes", "colour", world_read=1),
    row(4, "yes", "perhaps", "colour"),
    row(5, "no", None, error="OSError: disk full"),
]


def test_the_four_states_are_counted_apart_and_errors_are_in_no_share():
    summary = summarise(ROWS)
    assert (summary.num_right, summary.num_wrong, summary.num_unparsed, summary.num_missing) == (2, 2, 1, 1)
    assert (summary.num_items, summary.num_scored, summary.world_read) == (6, 5, 4)
    assert summary.accuracy is not None
    assert summary.accuracy.value == pytest.approx(2 / 5)


def test_baselines_and_answers_given():
    accuracy = summarise(ROWS).accuracy
    assert accuracy is not None
    assert (accuracy.majority_answer, accuracy.majority) == ("no", 3 / 5)
    assert accuracy.balanced == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert (accuracy.answers["yes"].true, accuracy.answers["yes"].given) == (2 / 5, 3 / 5)
    assert (accuracy.answers["no"].true, accuracy.answers["no"].given) == (3 / 5, 1 / 5)


def test_guessing_is_the_mean_chance_of_the_items_own_choices_and_unknown_for_open_questions():
    four = replace(ROWS[0], choices=("yes", "no", "maybe", "never"))
    accuracy, mixed, opened = (summarise(rows).accuracy for rows in (ROWS[1:3], [four, *ROWS[1:4]], [open_row()]))
    assert accuracy is not None
    assert mixed is not None
    assert opened is not None
    assert (accuracy.guessing, mixed.guessing, opened.guessing) == (0.5, pytest.approx((1 / 4 + 3 / 2) / 4), None)


def open_row() -> Prediction:
    return replace(ROWS[0], choices=None)


def test_groups_are_summaries_of_their_items():
    groups = summarise(ROWS, group_by=("task",)).groups["task"]
    assert list(groups) == ["colour", "drop"]
    assert groups["colour"] == summarise(ROWS[3:5])
    assert (groups["drop"].num_scored, groups["drop"].num_missing) == (3, 1)


def test_a_field_that_rows_lack_is_refused():
    with pytest.raises(ValueError, match=r"no field 'kind'; its fields are \['scene', 'task'\]"):
        summarise(ROWS, group_by=("kind",))
    with pytest.raises(ValueError, match="no field 'kind'"):
        summarise(ROWS, cluster_by="kind")


def test_clusters_widen_the_bootstrap_and_nothing_else():
    rows = [row(index, "yes", "yes" if index // 2 % 3 else "no") for index in range(120)]
    alone, together = summarise(rows).accuracy, summarise(rows, cluster_by="scene").accuracy
    assert alone is not None
    assert together is not None
    assert together.wilson == alone.wilson
    assert together.bootstrap.high - together.bootstrap.low > 1.2 * (alone.bootstrap.high - alone.bootstrap.low)


def test_a_run_of_errors_alone_has_no_accuracy():
    summary = summarise(ROWS[5:])
    assert (summary.accuracy, summary.num_missing) == (None, 1)


def test_nothing_cannot_be_summarised():
    with pytest.raises(ValueError, match="no predictions"):
        summarise([])


def test_another_scorer_brings_its_own_rules():
    def generous(one: Prediction) -> Score:
        return Score(one.sample_id, "right", "anything", str(one.answer))

    assert summarise(ROWS, scorer=generous).num_right == 6


def test_a_summary_is_json():
    content = json.loads(json.dumps(summarise(ROWS, group_by=("task",)).to_dict(), allow_nan=False))
    assert content["accuracy"]["majority"] == 0.6
    assert content["groups"]["task"]["colour"]["num_unparsed"] == 1
