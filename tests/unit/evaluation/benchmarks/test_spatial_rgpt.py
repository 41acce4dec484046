"""SpatialRGPT-Bench: groups, tolerances, errors, and agreement with a stored verdict."""

import json
from pathlib import Path

import pytest

from theworld.evaluation.benchmarks import spatial_rgpt
from theworld.evaluation.benchmarks.spatial_rgpt import deviation, evaluate, read, score

BELOW = "Region [0] is below Region [1]."
# (category, ground truth, reply, verdict of a judge)
ROWS = [
    ("above_predicate", "Incorrect, Region [0] is not positioned above Region [1].", f"Actually, {BELOW}", True),
    ("above_predicate", "Yes, Region [0] is above Region [1].", "**Yes**, it is.", True),
    ("below_predicate", "Correct, Region [0] is located below Region [1].", "of the image?", False),
    ("behind_predicate", "That is False.", "Yes, it is behind.", True),
    ("tall_choice", "With more height is Region [1].", "Region [0] is shorter than Region [1].", True),
    ("height_data", "Region [0] is 30.05 inches in height.", "It is about **0.6-0.9 meters** tall.", False),
    ("height_data", "It is 2.0 meters.", "1 m", False),
    ("distance_data", "10.0 meters", "300 pixels", False),
    ("direction", "Region [1] is roughly at 12 o'clock from Region [0].", "1 o'clock", None),
    ("direction", "Region [0] will find Region [1] around the 2 o'clock direction.", "11 o'clock", None),
]


def record(
    index: int, category: str, ground_truth: str, reply: str | None, verdict: bool | None = None, **rest
) -> dict:
    kind = "qualitative" if category.endswith(("_predicate", "_choice")) else "quantitative"
    return {
        "id": f"{kind}_{index}",
        "question": "?",
        "ground_truth": ground_truth,
        "prediction": reply,
        "qa_type": kind,
        "qa_category": category,
        "correct": verdict,
        **rest,
    }


def write(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "replies.jsonl", [record(index, *row) for index, row in enumerate(ROWS)])


def test_each_kind_of_question_is_read_in_its_own_way(file):
    rows, _ = read(file)
    assert [(one.state, one.reading, one.answer) for one in map(score, rows)] == [
        ("right", "no", "no"),
        ("right", "yes", "yes"),
        ("unparsed", None, "yes"),
        ("wrong", "yes", "no"),
        ("right", "region 1", "region 1"),
        ("right", "0.75 m", "0.7633 m"),
        ("wrong", "1 m", "2 m"),
        ("unparsed", None, "10 m"),
        ("right", "1 o'clock", "12 o'clock"),
        ("wrong", "11 o'clock", "2 o'clock"),
    ]


def test_the_averages_are_over_items_and_unparsed_replies_count_as_not_right(file):
    found = evaluate(read(file)[0])
    assert (found.qualitative.num_right, found.qualitative.num_scored, found.qualitative.num_unparsed) == (3, 5, 1)
    assert (found.quantitative.num_right, found.quantitative.num_scored, found.quantitative.num_unparsed) == (2, 5, 1)
    assert found.overall.value == 0.5
    assert found.qualitative_groups["below/above"].value == pytest.approx(2 / 3)
    assert set(found.quantitative_groups) == {"height", "direct distance", "direction"}
    assert not found.is_whole


def test_errors_are_relative_lengths_and_degrees_of_the_replies_that_can_be_read(file):
    rows, _ = read(file)
    assert [deviation(row) for row in rows[7:]] == [None, 30.0, 90.0]
    groups = evaluate(rows).quantitative_groups
    assert groups["height"].error == pytest.approx(((0.76327 - 0.75) / 0.76327 + 0.5) / 2)
    assert groups["direct distance"].error is None
    assert groups["direction"].error == 60.0


@pytest.mark.parametrize(
    ("reply", "state"), [("0.75 m", "right"), ("1.25 m", "right"), ("0.74 m", "wrong"), ("1.26 m", "wrong")]
)
def test_a_length_is_right_within_a_quarter_of_the_true_one(tmp_path, reply, state):
    (row,), _ = read(write(tmp_path / "a.jsonl", [record(0, "width_data", "1.0 meters", reply)]))
    assert score(row).state == state


def test_predicates_say_how_often_yes_is_said_and_how_a_constant_would_fare(file):
    predicates = evaluate(read(file)[0]).predicates
    assert predicates.accuracy.answers["yes"].given == 0.5
    assert predicates.accuracy.answers["yes"].true == 0.5
    assert predicates.accuracy.balanced == 0.5


def test_a_reply_that_was_not_saved_is_missing_and_in_no_share(tmp_path):
    rows, _ = read(write(tmp_path / "a.jsonl", [record(0, "left_choice", "Region [0] is more to the left.", None)]))
    found = evaluate(rows)
    assert score(rows[0]).state == "missing"
    assert (found.overall.num_missing, found.overall.value) == (1, None)


def test_agreement_is_counted_by_kind_and_by_category_and_only_where_there_is_a_verdict(file):
    rows, verdicts = read(file, judged="correct")
    found = evaluate(rows, verdicts).agreement
    assert (found["predicates"].num_items, found["predicates"].num_same) == (4, 3)
    assert found["behind_predicate"].num_only_judge_right == 1
    assert (found["lengths"].num_items, found["lengths"].num_only_reading_right) == (3, 1)
    assert found["choices"].value == 1.0
    assert (found["directions"].num_items, found["directions"].value) == (0, None)


def test_a_judge_that_met_an_error_gave_no_verdict(tmp_path):
    broken = record(0, "width_data", "1.0 meters", "1 m", False, judge_response="<ERROR: Connection error.>")
    assert read(write(tmp_path / "a.jsonl", [broken]), judged="correct")[1] == {}


def test_the_benchmark_has_the_categories_of_its_paper():
    num_categories = [len(names) for names in spatial_rgpt.QUALITATIVE.values()]
    assert (num_categories, len(spatial_rgpt.QUANTITATIVE)) == ([4, 4, 2, 4, 2, 2], 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"qa_category": "size_data"}, "qa_category: 'size_data'; expected one of"),
        ({"qa_type": "qualitative"}, "expected 'quantitative' for 'width_data'"),
        ({"ground_truth": "wide"}, "'wide' does not answer a question of category 'width_data'"),
        ({"prediction": 3}, "prediction: a number; expected text"),
        ({"correct": "maybe"}, "correct: 'maybe'; expected true or false"),
    ],
)
def test_a_row_that_is_not_as_it_should_be_is_named_by_its_line(tmp_path, change, words):
    good = record(0, "width_data", "1.0 meters", "1 m", True)
    bad = {**record(1, "width_data", "1.0 meters", "1 m", True), **change}
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2: ") as caught:
        read(write(tmp_path / "a.jsonl", [good, bad]), judged="correct")
    assert words in str(caught.value)
