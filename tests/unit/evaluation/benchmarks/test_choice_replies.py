"""Saved replies to the benchmarks about the future: in their own forms, in ours, and files to submit."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import fixtures_future as made
from theworld.cli import main as cli
from theworld.config.reply_files import (
    ChoiceScoreSettings,
    FutureBenchScoreSettings,
    IntPhys2ScoreSettings,
    MvpScoreSettings,
    PhysBenchScoreSettings,
    VpctScoreSettings,
)
from theworld.evaluation.benchmarks.choice_replies import (
    evaluate_files,
    intphys2_submission,
    physbench_submission,
    read,
)
from theworld.evaluation.predictions import Prediction

REPLIES = ("First answer(2), no: answer(1)", "answer(3)", "answer( 2 )", None)


def vpct_run(path: Path, replies: Sequence[str | None] = REPLIES, buckets: Sequence[int] = (1, 3, 2, 1)) -> Path:
    """The saved run of VPCT's own runner."""
    rows = [
        {
            "simulation_id": str(number),
            "initial_image_path": f"sim_{number}_initial.png",
            "prompt": "?",
            "model_response": reply,
            "actual_bucket": bucket,
            "predicted_bucket": None,
            "is_correct": False,
        }
        for number, (reply, bucket) in enumerate(zip(replies, buckets, strict=True), start=9)
    ]
    path.write_text(json.dumps({"predictions": rows, "overall_accuracy": 0.25}))
    return path


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_saved_run_of_vpct_needs_no_data_set(tmp_path: Path):
    settings = VpctScoreSettings(predictions=(vpct_run(tmp_path / "benchmark_results_m_run1.json"),))

    sound = evaluate_files(settings, "vpct")

    assert (sound.overall.num_right, sound.overall.num_scored, sound.overall.num_missing) == (3, 3, 1)
    assert sound.official == 0.25  # the first answer(X), no spaces, and a missing reply is wrong


def test_several_files_are_samples_of_one_model(tmp_path: Path):
    files = (
        vpct_run(tmp_path / "one.json", ("answer(1)", "answer(3)", "answer(1)", "answer(1)")),
        vpct_run(tmp_path / "two.json", ("answer(1)", "answer(2)", "answer(1)", "answer(1)")),
    )

    result = evaluate_files(VpctScoreSettings(predictions=files), "vpct")

    assert result.overall.value == 0.625  # the mean over runs: 3 and 2 of 4
    assert result.samples is not None
    assert (result.samples.always, result.samples.ever, result.samples.expected) == (0.5, 0.75, 0.625)


def test_rows_of_id_and_prediction_are_matched_with_the_data_set(tmp_path: Path):
    source = made.write_futurebench(tmp_path / "set", ["B", "A"])
    file = lines(
        tmp_path / "replies.jsonl", [{"id": "f1", "prediction": "A"}, {"id": "f0", "prediction": "He leaves."}]
    )

    rows = read(FutureBenchScoreSettings(predictions=(file,), source=str(source)), "futurebench")

    assert [(row.sample_id, row.answer, row.fields["task"]) for row in rows] == [
        ("f1", "A", "2-hop"),
        ("f0", "B", "1-hop"),
    ]
    result = evaluate_files(FutureBenchScoreSettings(predictions=(file,), source=str(source)), "futurebench")
    assert result.overall.value == 1.0


def test_pairs_of_mvp_are_found_in_the_data_set(tmp_path: Path):
    source = made.write_mvp(tmp_path / "set", 1, ["intuitive_physics"])
    for name in ("human_object_interactions", "robot_object_interactions", "temporal_reasoning"):
        made.write_mvp(source, 1, [name])
    ids = [
        f"{name}/intphys_0_{side}"
        for name in (
            "human_object_interactions",
            "robot_object_interactions",
            "intuitive_physics",
            "temporal_reasoning",
        )
        for side in "12"
    ]
    replies = ["A", "B", "A", "A", "A", "B", "B", "A"]
    file = lines(
        tmp_path / "r.jsonl", [{"id": id, "prediction": reply} for id, reply in zip(ids, replies, strict=True)]
    )

    result = evaluate_files(MvpScoreSettings(predictions=(file,), source=str(source)), "mvp")

    assert (result.pairs["all"].num_pairs, result.pairs["all"].value) == (4, 0.5)
    assert result.pairs["robot_object_interactions"].value == 0.0


def test_a_submission_of_physbench_is_scored_by_both_rules(tmp_path: Path):
    source = made.write_physbench(tmp_path / "set")
    file = tmp_path / "submission.json"
    answers = ((0, "A"), (7, "Both A and C"), (1011, "C"), (9757, "(D)"))
    file.write_text(json.dumps([{"idx": idx, "answer": answer} for idx, answer in answers]))

    sound = evaluate_files(PhysBenchScoreSettings(predictions=(file,), source=str(source)), "physbench")
    by_script = evaluate_files(
        PhysBenchScoreSettings(predictions=(file,), source=str(source), official=True), "physbench"
    )

    assert sound.overall.value == pytest.approx(2 / 3)
    assert by_script.overall.value == 0.75
    assert sound.groups["mode"]["general"].num_items == 1


def test_items_of_the_mode_general_may_be_left_out_of_physbench(tmp_path: Path):
    source = made.write_physbench(tmp_path / "set")
    file = tmp_path / "submission.json"
    file.write_text(json.dumps([{"idx": 0, "answer": "A"}, {"idx": 7, "answer": None}]))

    result = evaluate_files(PhysBenchScoreSettings(predictions=(file,), source=str(source)), "physbench")

    assert (result.overall.num_items, result.overall.num_missing, result.official) == (2, 1, 0.5)


def test_a_table_of_intphys2_is_scored(tmp_path: Path):
    source = made.write_intphys2(tmp_path / "set", 1)
    names = [f"00{place}".rjust(64, "a") for place in range(4)]
    replies = ["Yes", "No", "It is possible", "unknown"]
    rows = [
        {"scene": "0", "filename": name, "response": reply, "ground_truth": "1"}
        for name, reply in zip(names, replies, strict=True)
    ]
    made.write_csv(tmp_path / "replies.csv", rows)
    settings = IntPhys2ScoreSettings(predictions=(tmp_path / "replies.csv",), source=str(source))

    result = evaluate_files(settings, "intphys2")

    assert (result.overall.value, result.pairs["all"].value) == (0.75, 0.5)
    assert result.official == 0.75  # "possible" holds neither yes nor no, "unknown" a no


BAD: dict[str, tuple[list[dict[str, Any]], bool, str]] = {
    "no data set": (
        [{"id": "f0", "prediction": "A"}],
        False,
        "line 1: a row without its question and answer; give --so",
    ),
    "another key": (
        [{"name": "f0", "text": "A"}],
        True,
        "id: missing; the row has 'name', 'text'; expected id and pred",
    ),
    "an unknown item": ([{"id": "f9", "prediction": "A"}], True, "line 1: 'f9' is no item of the data set"),
    "a second reply": ([{"id": "f0", "prediction": "A"}] * 2, True, "line 2: 'f0' is in the file already"),
    "too few": ([{"id": "f0", "prediction": "A"}], True, "no reply to 1 items of the data set, the first of them 'f1'"),
    "a number": ([{"id": "f0", "prediction": 1}], True, "prediction: a number; expected text"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_gets_one_message_with_its_line(case: str, tmp_path: Path):
    rows, has_source, words = BAD[case]
    source = made.write_futurebench(tmp_path / "set", ["B", "A"])
    file = lines(tmp_path / "replies.jsonl", rows)
    settings = FutureBenchScoreSettings(predictions=(file,), source=str(source) if has_source else None)

    with pytest.raises(ValueError, match=r"replies\.jsonl") as refusal:
        read(settings, "futurebench")

    assert words in str(refusal.value)


def test_withheld_answers_are_nothing_to_score_against(tmp_path: Path):
    source = made.write_physbench(tmp_path / "set")
    file = tmp_path / "submission.json"
    file.write_text('[{"idx": 0, "answer": "A"}]')

    with pytest.raises(ValueError, match="withheld"):
        read(PhysBenchScoreSettings(predictions=(file,), source=str(source), split="test"), "physbench")


def test_the_command_shows_tables_and_takes_the_published_rules(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    vpct_run(Path("run.json"))

    assert cli.main(["score", "vpct", "--predictions", "run.json"]) == cli.OK
    shown = capsys.readouterr().out
    assert "| all | 3 | 100.0 |" in shown
    assert "The published script reads 25.0 % of all rows as right." in shown
    assert cli.main(["score", "vpct", "--predictions", "run.json", "--official", "--json"]) == cli.OK
    values = json.loads(capsys.readouterr().out)
    assert (values["benchmark"], values["is_official"], values["overall"]["value"]) == ("vpct", True, 0.25)


@pytest.mark.parametrize("content", ["{}", "[]", '{"predictions": 3}'])
def test_json_without_rows_is_refused(content: str, tmp_path: Path):
    (tmp_path / "run.json").write_text(content)

    with pytest.raises(ValueError, match="expected a list of rows"):
        read(ChoiceScoreSettings(predictions=(tmp_path / "run.json",)), "vpct")


def submitted(name: str, sample_id: str, reply: str | None, choices: tuple[str, ...]) -> Prediction:
    return Prediction(
        sample_id=sample_id,
        question="?",
        answer=None,
        prediction=reply,
        error="lost" if reply is None else None,
        choices=choices,
        fields={"benchmark": name},
        prompt_hash="",
    )


def test_a_submission_holds_what_each_server_takes():
    letters = [submitted("physbench", idx, reply, ("A", "B", "C", "D")) for idx, reply in (("3", "(B)"), ("5", None))]
    words = [submitted("intphys2", name, reply, ("yes", "no")) for name, reply in (("x", "Yes."), ("y", "hm"))]

    assert physbench_submission(letters) == [{"idx": 3, "answer": "B"}, {"idx": 5, "answer": None}]
    assert intphys2_submission(words) == [
        {"data_name": "intphys2", "task": "HeldOut", "row_id": "x", "model_answer": True},
        {"data_name": "intphys2", "task": "HeldOut", "row_id": "y", "model_answer": False},
    ]
