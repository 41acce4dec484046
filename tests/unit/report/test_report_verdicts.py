"""Verdicts: what may be said of literal numbers."""

import dataclasses

import pytest
from small_run import ANSWERS, REPLIES, predictions, write_run

from theworld.evaluation.audit import Audit
from theworld.evaluation.comparison import Comparison, Pair, compare
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.statistics import Interval
from theworld.evaluation.summary import summarise
from theworld.report.conclusions import above_baseline, headline, verdicts, warnings
from theworld.report.folder import Results, RunFolder, read_run

PAIR = Pair(
    first="zero",
    second="vae",
    num_shared=300,
    num_scored=300,
    difference=0.013,
    interval=Interval(-0.04, 0.067),
    num_first_only=40,
    num_second_only=44,
    p_value=0.7,
    p_holm=0.7,
    smallest_difference=0.081,
    identical=False,
    note="",
)


def folder_of(results: Results | None) -> RunFolder:
    return RunFolder(results, {}, {}, {}, frozenset(), [], None, None)


def verdict(**changes):
    comparison = Comparison({}, [dataclasses.replace(PAIR, **changes)] * 2, 300, {})
    return verdicts(folder_of(Results({}, comparison)))[0]


def test_an_interval_around_zero_shows_nothing_and_says_what_would_have_shown():
    said = verdict()
    assert said.finding == "no difference shown"
    assert said.sentence == (
        "vae against zero: no difference that 300 items could show (+1.3 points [−4.0, +6.7]; smallest visible 8.1"
        " points)."
    )


def test_so_few_items_that_none_can_show():
    said = verdict(smallest_difference=None, num_scored=4)
    assert said.sentence.endswith(
        "no difference that 4 items could show (+1.3 points [−4.0, +6.7]; so few can show none at all)."
    )


def test_better_and_worse_need_the_interval_and_the_corrected_test():
    better = {"difference": 0.1, "interval": Interval(0.05, 0.15), "p_value": 0.0004}
    worse = {"difference": -0.1, "interval": Interval(-0.15, -0.05), "p_value": 0.0004}
    assert verdict(**better, p_holm=0.0008) == dataclasses.replace(
        verdict(),
        finding="better",
        sentence="vae is better than zero by 10.0 points [5.0, 15.0] on 300 items (p = 0.0008).",
    )
    assert verdict(**worse, p_holm=0.00001).finding == "worse"
    assert verdict(**worse, p_holm=0.00001).sentence.startswith("zero is better than vae by 10.0 points [5.0, 15.0]")
    assert "(p < 0.0001)" in verdict(**worse, p_holm=0.00001).sentence
    assert verdict(**better, p_holm=0.051).finding == "undecided"


def test_a_difference_that_does_not_outlast_the_correction_is_undecided():
    said = verdict(difference=0.1, interval=Interval(0.01, 0.19), p_value=0.03, p_holm=0.06)
    assert said.finding == "undecided"
    assert "not enough (p = 0.03, corrected for 2 comparisons p = 0.06)" in said.sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": Interval(0.001, 0.1), "p_value": 0.06, "p_holm": 0.06},
        {"interval": Interval(-0.001, 0.1), "p_value": 0.01, "p_holm": 0.02},
    ],
)
def test_an_interval_and_a_test_that_disagree_decide_nothing(changes):
    assert verdict(**changes).finding == "undecided"
    assert "do not agree" in verdict(**changes).sentence


def test_identical_replies_compare_nothing():
    said = verdict(identical=True)
    assert (said.finding, said.sentence) == (
        "identical",
        "vae and zero: the same replies to all 300 items, so nothing was compared.",
    )


def test_arms_that_are_one_model_are_expected_to_reply_alike(tmp_path):
    write_run(tmp_path, {"zero": REPLIES["zero"], "gemma": REPLIES["gemma"], "no-world-tokens": REPLIES["gemma"]})
    run = read_run(tmp_path)
    assert [text.partition(":")[0] for text in warnings(run)] == ["IDENTICAL PREDICTIONS"]
    assert run.results is not None
    known = dataclasses.replace(run.results, equal=[("gemma", "no-world-tokens")])
    assert warnings(dataclasses.replace(run, results=known)) == []


def test_the_baseline_that_always_gives_one_answer_is_no_surprise(tmp_path):
    write_run(tmp_path, {"zero": REPLIES["zero"], "majority": ("left",) * 10})
    assert warned(tmp_path) == []


def test_the_headline_is_the_first_pair_in_plain_words():
    rows = {arm: predictions(arm, REPLIES[arm], 1) for arm in ("zero", "vae")}
    arms = {arm: summarise(some) for arm, some in rows.items()}
    better = {"difference": 0.278, "interval": Interval(0.1, 0.4), "p_holm": 0.001}
    results = Results(arms, Comparison({}, [dataclasses.replace(PAIR, **better), PAIR], 300, {}))
    assert headline(folder_of(results)) == (
        "`vae` answers 77.8 % of 300 questions right, `zero` 50.0 %: 27.8 points more."
    )
    undecided = Results(arms, Comparison({}, [PAIR], 300, {}))
    assert headline(folder_of(undecided)).endswith("`zero` 50.0 %: no difference is shown.")
    assert headline(folder_of(None)) == ""


def test_a_verdict_states_both_accuracies_with_their_intervals():
    rows = {arm: predictions(arm, replies, 1) for arm, replies in REPLIES.items()}
    results = Results({arm: summarise(some) for arm, some in rows.items()}, compare(rows, baseline="zero"))
    sentences = [one.sentence for one in verdicts(folder_of(results))]
    assert sentences[0].startswith("gemma 50.0 % [23.7, 76.3] against zero 50.0 % [23.7, 76.3]: no difference that 10")
    assert sentences[1].startswith("vae 77.8 % [45.3, 93.7] against zero 50.0 % [23.7, 76.3]: no difference that 9")


def test_the_audit_has_a_verdict_of_its_own():
    audit = Audit("not used", "world not used: shuffle costs 0.3 points", [], [])
    (said,) = verdicts(dataclasses.replace(folder_of(None), audit=audit))
    assert (said.finding, said.sentence) == ("world not used", "Audit: world not used: shuffle costs 0.3 points.")


def run_of(**rows: list[Prediction]) -> RunFolder:
    results = Results({arm: summarise(some) for arm, some in rows.items()})
    return RunFolder(results, {}, {}, rows, frozenset(), [], None, None)


def test_an_arm_is_above_the_baseline_only_if_its_whole_interval_is():
    perfect, guessed = predictions("oracle", ANSWERS, 1), predictions("gemma", REPLIES["gemma"], 0)
    assert above_baseline(run_of(gemma=guessed)) == (
        "No arm is shown to be above the baseline (always “left”, 40.0 %)."
    )
    assert above_baseline(run_of(gemma=guessed, oracle=perfect)) == (
        "Shown to be above the baseline (always “left”, 40.0 %): oracle. Not shown: gemma."
    )
    assert above_baseline(RunFolder(Results({}), {}, {}, {}, frozenset(), [], None, None)) == ""


def test_where_choices_change_from_item_to_item_the_baseline_is_guessing_among_them():
    """Ten items of two choices each, ten answers: the most frequent answer is right once, a guess five times."""
    rows = [
        Prediction(
            sample_id=str(index),
            question="Which?",
            answer=str(index),
            prediction=str(index) if index < 7 else "other",
            choices=(str(index), "other"),
            prompt_hash="0",
        )
        for index in range(10)
    ]
    assert above_baseline(run_of(arm=rows)) == (
        "No arm is shown to be above the baseline (guessing among the choices, 50.0 %)."
    )


def warned(run_path) -> list[str]:
    return warnings(read_run(run_path))


def test_a_run_with_nothing_wrong_has_no_warning(tmp_path):
    write_run(tmp_path, {arm: REPLIES[arm] for arm in ("gemma", "zero")})
    assert warned(tmp_path) == []


def test_identical_predictions_are_called_out_though_the_comparison_leaves_the_pair_out(tmp_path):
    write_run(tmp_path, {**REPLIES, "copy": REPLIES["gemma"], "another": REPLIES["gemma"]})
    (found,) = [text for text in warned(tmp_path) if text.startswith("IDENTICAL")]
    assert "gemma, copy and another gave the same reply, to the last character, to all 10 items" in found


def test_identical_predictions_are_called_out_without_the_files(tmp_path):
    write_run(tmp_path, {"gemma": REPLIES["gemma"], "zero": REPLIES["gemma"]})
    run = read_run(tmp_path)
    without = RunFolder(run.results, {}, {}, {}, frozenset(), [], None, None)
    assert [text.partition(":")[0] for text in warnings(without)] == ["IDENTICAL PREDICTIONS"]


def test_replies_that_differ_in_one_character_are_not_identical(tmp_path):
    write_run(tmp_path, {"gemma": REPLIES["zero"], "zero": ("left.", *REPLIES["zero"][1:])})
    assert warned(tmp_path) == []


def test_a_world_that_was_never_read_is_called_out_and_an_arm_without_one_is_not(tmp_path):
    write_run(tmp_path, {arm: REPLIES[arm] for arm in ("gemma", "zero")}, world_read=0)
    (found,) = warned(tmp_path)
    assert found.startswith("WORLD NEVER READ: zero has a world model, but no clip was read for any of its 10 items.")


def test_missing_replies_and_a_constant_answer_are_called_out(tmp_path):
    write_run(tmp_path, {"zero": REPLIES["vae"], "vae": ("middle",) * 10})
    assert warned(tmp_path) == [
        "MISSING REPLIES: 1 of the 10 items of zero met an error; they count as nothing.",
        "ONE ANSWER: vae says “middle” to every item, whatever the picture shows.",
    ]
