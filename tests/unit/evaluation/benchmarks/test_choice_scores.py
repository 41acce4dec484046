"""Scores of the benchmarks about the future on hand-made replies: sound and published, with figures worked by hand."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from theworld.evaluation.benchmarks.choice_scores import (
    RULES,
    ChoiceScores,
    evaluate,
    read_bucket,
    read_choice,
    read_possible,
)
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.predictions import Prediction

LISTED = "What happens?\n(A) it falls\n(B) it floats\n(C) it breaks\n(D) nothing"
LINES = LISTED.replace("(", "").replace(")", ".")


def row(number: int, reply: str | None, answer: str, **more: Any) -> Prediction:
    fields = {"benchmark": "futurebench", **more.pop("fields", {})}
    error = "lost" if reply is None and "log_likelihoods" not in more else None
    values = {"question": LISTED, "choices": ("A", "B", "C", "D"), "prompt_hash": "", **more}
    return Prediction(sample_id=str(number), prediction=reply, answer=answer, error=error, fields=fields, **values)


def scores(name: str, rows: Sequence[Prediction], is_official: bool = False) -> ChoiceScores:
    return evaluate(rows, RULES[name], is_official)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("Answer: B", "B"),
        ("Best answer: D", "D"),
        ("<answer>C</answer>", "C"),
        ('{"answer": "B"}', "B"),
        ('{"reason": "it is high", "answer": "d"}', "D"),
        ("It breaks.", "C"),
        ("(A) and (B)", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("question", [LISTED, LINES])
def test_a_sound_reading_takes_letters_objects_and_texts(reply: str, letter: str | None, question: str):
    assert read_choice(reply, row(0, reply, "A", question=question)) == letter


@pytest.mark.parametrize(
    ("reply", "bucket"),
    [
        ("I end with answer(2). Now: answer( 1 )", "1"),
        ("Bucket 3", "3"),
        ("2", "2"),
        ("answer(5)", None),
        ("left", None),
    ],
)
def test_a_sound_reading_of_vpct_takes_the_last_bucket(reply: str, bucket: str | None):
    assert read_bucket(reply, row(0, reply, "1", choices=("1", "2", "3"))) == bucket


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Yes.", "yes"),
        ("No, it passes through.", "no"),
        ("unknown", None),
        ("This is physically impossible", "no"),
        ("It is not plausible", "no"),
        ("All of it is possible", "yes"),
        ("possible or impossible", None),
    ],
)
def test_a_sound_reading_of_intphys2_takes_words(reply: str, answer: str | None):
    assert read_possible(reply, row(0, reply, "yes", choices=("yes", "no"))) == answer


SHOWN: dict[str, tuple[str, tuple[str, ...], str | None, str | None]] = {
    "vpct": ("not answer(2): answer(1)", ("1", "2", "3"), "2", "1"),
    "futurebench": ("Answer: B", ("A", "B", "C", "D"), "A", "B"),
    "openworldqa": ("A cup falls, so B", ("A", "B", "C", "D"), "A", "B"),
    "vrqabench": ("{'answer': 'C'}", ("A", "B", "C", "D"), None, "C"),
    "sat": ("It rotated left.", ("rotated left", "rotated right"), None, "rotated left"),
    "mvp": ("Answer: B, since the camera is near", ("A", "B"), "A", "B"),
    "intphys2": ("unknown", ("yes", "no"), "no", None),
}
"""Replies on the page of benchmarks, and their readings by the script and by the sound rules."""


@pytest.mark.parametrize("name", SHOWN)
def test_the_replies_on_the_page_are_read_as_it_says(name: str):
    reply, choices, by_script, sound = SHOWN[name]
    item = row(0, reply, choices[0], choices=choices, question="Which?")
    page = (Path(__file__).parents[4] / "docs" / "benchmarks.md").read_text()

    assert RULES[name].read_official(reply, item) == by_script
    assert RULES[name].read(reply, item) == sound
    assert f"`{reply}`: {by_script or 'none'}, {sound or 'none'} |" in page


def hops(replies: Sequence[str | None]) -> list[Prediction]:
    names = ("1-hop", "2-hop", "2-hop", "2-hop")
    return [
        row(place, reply, "B", fields={"task": hop, "video": f"v{place}"})
        for place, (reply, hop) in enumerate(zip(replies, names, strict=True))
    ]


def test_hops_have_a_mean_over_items_and_one_over_hops():
    result = scores("futurebench", hops(["B", "Answer: B", "C", "A"]))

    assert result.overall.value == 0.5  # 2 of 4: the published AVG
    assert {name: rate.value for name, rate in result.groups["task"].items()} == {"1-hop": 1.0, "2-hop": 1 / 3}
    assert result.group_means["task"] == pytest.approx(2 / 3)
    assert result.official == 0.25  # "Answer: B" reads as A
    assert scores("futurebench", hops(["B", "Answer: B", "C", "A"]), is_official=True).overall.value == 0.25


def test_a_missing_reply_is_left_out_by_the_sound_rules_and_wrong_by_the_published_ones():
    rows = hops(["B", None, "B", "A"])

    assert scores("futurebench", rows).overall.value == pytest.approx(2 / 3)
    assert scores("futurebench", rows).overall.num_missing == 1
    assert scores("futurebench", rows, is_official=True).overall.value == 0.5


def test_items_of_one_video_are_resampled_together():
    rows = [row(place, "B" if place < 20 else "A", "B", fields={"video": f"v{place // 20}"}) for place in range(40)]

    interval = scores("futurebench", rows).overall.bootstrap

    assert interval is not None
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_physbench_by_the_script_counts_an_empty_answer_and_beginnings():
    answers = (("A", "A"), ("B", "Both A and C"), ("", "whatever"), ("D", "(D)"))
    rows = [
        row(
            place,
            reply,
            answer,
            choices=("A", "B", "C", "D") if answer else None,
            question=LINES,
            fields={"benchmark": "physbench", "task": "dynamics", "mode": "image-only"},
        )
        for place, (answer, reply) in enumerate(answers)
    ]

    result = scores("physbench", rows)

    assert (result.overall.num_items, result.overall.num_right, result.overall.num_unparsed) == (3, 2, 1)
    assert result.official == 0.75  # A, "Both ..." for B, and the empty answer
    assert scores("physbench", rows, is_official=True).overall.value == 0.75


def pair_rows(replies: Sequence[str], tasks: Sequence[str]) -> list[Prediction]:
    return [
        row(
            place,
            reply,
            "AB"[place % 2],
            choices=("A", "B"),
            question="What?\n(A) it falls\n(B) it floats",
            fields={"benchmark": "mvp", "task": tasks[place // 2], "pair": f"p{place // 2}"},
        )
        for place, reply in enumerate(replies)
    ]


def test_mvp_is_told_by_pairs_and_their_mean_over_configurations():
    rows = pair_rows(["A", "B", "A", "A", "A", "B", "B", "A"], ["one", "two", "two", "two"])

    result = scores("mvp", rows)

    assert result.overall.value == 0.625  # 5 of 8
    assert {name: pair.value for name, pair in result.pairs.items()} == {"all": 0.5, "one": 1.0, "two": 1 / 3}
    tables = {table.heading: table for table in result.tables()}
    assert ("mean over task", "–", "66.7", "–", "–") in tables["MVP: pairs"].rows


def test_a_pair_of_mvp_that_the_script_misreads_is_wrong_by_it():
    rows = pair_rows(["A", "Answer: B, since the camera is near"], ["one"])

    assert scores("mvp", rows).pairs["all"].value == 1.0
    assert scores("mvp", rows, is_official=True).pairs["all"].value == 0.0


def test_pairs_in_several_orders_of_options_are_paired_within_an_order():
    rows = [
        Prediction(
            sample_id=f"{place}@{order}",
            question="What?\n(A) it falls\n(B) it floats",
            answer="AB"[(place + order) % 2],
            prediction="A",
            choices=("A", "B"),
            fields={"benchmark": "mvp", "task": "one", "pair": "p", "item": str(place), "order": order},
            prompt_hash="",
        )
        for place in range(2)
        for order in range(2)
    ]

    result = scores("mvp", rows)

    assert (result.pairs["all"].num_pairs, result.pairs["all"].value) == (2, 0.0)
    assert result.samples is not None
    assert (result.samples.always, result.samples.ever, result.samples.expected) == (0.0, 1.0, 0.5)


def test_intphys2_is_told_by_pairs_and_by_the_odds_of_the_possible_video():
    odds = (("yes", -0.1, -2.0), ("no", -0.2, -1.0), ("yes", -1.0, -0.5), ("no", -0.9, -0.6))
    rows = [
        row(
            place,
            None,
            answer,
            choices=("yes", "no"),
            log_likelihoods={"yes": yes, "no": no},
            fields={"benchmark": "intphys2", "task": "Solidity", "scene": "0", "pair": f"0/{place // 2}"},
        )
        for place, (answer, yes, no) in enumerate(odds)
    ]

    result = scores("intphys2", rows)

    # in words: yes, yes, no, no, so no pair is right; by odds 1.9 > 0.8, but -0.5 < -0.3
    assert result.pairs["all"].value == 0.0
    assert result.relative is not None
    assert (result.relative.num_pairs, result.relative.value) == (2, 0.5)
    assert result.official is None


@pytest.mark.parametrize("name", RULES)
def test_each_benchmark_scores_a_row_by_its_name_and_shows_tables(name: str):
    choices = {"vpct": ("1", "2", "3"), "intphys2": ("yes", "no"), "sat": ("it falls", "it floats")}
    options = choices.get(name, ("A", "B"))
    reply = {"vpct": "answer(1)"}.get(name, options[0])
    rows = [
        row(place, reply, options[place], choices=options, fields={"benchmark": name, "task": "t"}) for place in (0, 1)
    ]

    assert [score(item).state for item in rows] == ["right", "wrong"]
    result = scores(name, rows)
    assert (result.overall.value, result.official) == (0.5, 0.5)
    assert result.tables()[0].rows[0][:3] == ("all", "2", "50.0")


def test_rows_without_an_answer_cannot_be_scored():
    with pytest.raises(ValueError, match="nothing to score"):
        scores("physbench", [row(0, "A", "", choices=None)])
