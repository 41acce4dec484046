"""Rows of saved replies in every form: the benchmark's own, those of `theworld evaluate`, and lmms-eval's log."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from theworld.config.evaluation import BlinkScoreSettings
from theworld.evaluation.benchmarks import blink, spatial_rgpt, vsr
from theworld.evaluation.lmms_eval.requests import packed
from theworld.evaluation.predictions import Prediction

COUNTING = "How many?\nSelect from the following choices.\n(A) 3\n(B) 2\n(C) 0\n(D) 1"
ROWS: dict[str, dict[str, Any]] = {
    "blink": {
        "sample_id": "val_Counting_1",
        "question": COUNTING,
        "answer": "(B)",
        "prediction": "There are two.",
        "choices": ("(A)", "(B)", "(C)", "(D)"),
        "fields": {"benchmark": "blink", "task": "Counting"},
    },
    "vsr": {
        "sample_id": "1.jpg: The dog is on the bed.",
        "question": "Statement: The dog is on the bed.\nIs this statement true or false?",
        "answer": "false",
        "prediction": "It is not.",
        "choices": ("true", "false"),
        "fields": {"benchmark": "vsr", "statement": "The dog is on the bed.", "relation": "on"},
    },
    "spatial-rgpt": {
        "sample_id": "quantitative_1",
        "question": "How wide is Region [0]?",
        "answer": "Region [0] is 1.0 meters wide.",
        "prediction": "3 ft. 2 in.",
        "fields": {"benchmark": "spatial-rgpt", "category": "width_data", "type": "quantitative"},
    },
}


def row(benchmark: str, **changes: Any) -> Prediction:
    return Prediction(**{**ROWS[benchmark], "prompt_hash": "0", **changes})


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(one if isinstance(one, dict) else asdict(one)) + "\n" for one in rows))
    return path


def read(benchmark: str, path: Path) -> list[Prediction]:
    if benchmark == "blink":
        return blink.read(None, path)[0]
    return vsr.read(None, path) if benchmark == "vsr" else spatial_rgpt.read(path)[0]


SCORES = {"blink": blink.score, "vsr": vsr.score, "spatial-rgpt": spatial_rgpt.score}


@pytest.mark.parametrize("benchmark", ROWS)
def test_rows_of_an_evaluation_are_read_without_a_file_of_answers(benchmark: str, tmp_path: Path) -> None:
    missing = row(benchmark, sample_id="b", prediction=None, error="OSError: no picture")
    rows = read(benchmark, write(tmp_path / "world.jsonl", row(benchmark), missing))
    assert [SCORES[benchmark](one).state for one in rows] == ["right", "missing"]


@pytest.mark.parametrize("benchmark", ["vsr", "spatial-rgpt"])
def test_rows_in_the_log_of_lmms_eval_are_read_under_any_metric(benchmark: str, tmp_path: Path) -> None:
    line = {"doc_id": 0, "doc": {"image": "1.jpg"}, "resps": [["x"]], **packed(row(benchmark), "overall", "unparsed")}
    assert read(benchmark, write(tmp_path / "log.jsonl", line)) == [row(benchmark)]


@pytest.mark.parametrize("replies", [{"resps": [["There are two."]]}, {"filtered_resps": ["There are two."]}])
def test_the_log_of_the_harness_own_blink_is_read(replies: dict[str, Any], tmp_path: Path) -> None:
    doc = {"idx": "val_Counting_1", "answer": "(B)", "choices": ["3", "2", "0", "1"], "sub_task": "Counting"}
    (one,) = read("blink", write(tmp_path / "samples_blink.jsonl", {"doc_id": 0, "doc": doc, **replies}))
    assert (blink.score(one).state, one.fields["task"]) == ("right", "Counting")


@pytest.mark.parametrize("benchmark", ROWS)
def test_a_row_in_no_known_form_is_refused_by_its_line_with_the_forms(benchmark: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", row(benchmark), {"id": 1, "text": "two"})
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: .*the row has 'id', 'text'") as caught:
        read(benchmark, path)
    assert "row of theworld evaluate" in str(caught.value)


@pytest.mark.parametrize("benchmark", ROWS)
def test_a_row_of_another_benchmark_is_refused(benchmark: str, tmp_path: Path) -> None:
    other = "vsr" if benchmark == "blink" else "blink"
    with pytest.raises(ValueError, match=f"line 1: a row of {other}; expected one of {benchmark}"):
        read(benchmark, write(tmp_path / "rows.jsonl", row(other)))


@pytest.mark.parametrize("benchmark", ROWS)
@pytest.mark.parametrize(
    ("change", "words"), [({"answer": None}, "the answer is withheld"), ({"world_read": "two"}, "world_read: ")]
)
def test_a_row_that_cannot_be_scored_is_refused(
    benchmark: str, change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"line 1: .*{words}"):
        read(benchmark, write(tmp_path / "rows.jsonl", asdict(row(benchmark)) | change))


def test_an_id_comes_once_in_rows_of_an_evaluation(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"line 2: .* is in the file already"):
        read("blink", write(tmp_path / "rows.jsonl", row("blink"), row("blink")))


def test_a_category_of_an_evaluation_is_checked(tmp_path: Path) -> None:
    wrong = row("spatial-rgpt", fields={"benchmark": "spatial-rgpt", "category": "width_data", "type": "qualitative"})
    with pytest.raises(ValueError, match=r"fields\.type: 'qualitative'; expected 'quantitative'"):
        read("spatial-rgpt", write(tmp_path / "rows.jsonl", wrong))


def test_an_answers_file_must_agree_with_rows_that_hold_their_answers(tmp_path: Path) -> None:
    answers = tmp_path / "val_answers.json"
    path = write(tmp_path / "rows.jsonl", row("blink"))
    answers.write_text('{"val_Counting_1": "(B)"}')
    assert blink.read(answers, path)[0] == [row("blink")]
    answers.write_text('{"val_Counting_1": "(C)"}')
    with pytest.raises(ValueError, match=r"answer '\(B\)'; .*val_answers\.json has '\(C\)'"):
        blink.read(answers, path)


def test_annotations_must_agree_with_rows_that_hold_them(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", row("vsr"))
    annotation = {"image": "1.jpg", "caption": "The dog is on the bed.", "label": 0, "relation": "on"}
    assert vsr.read(write(tmp_path / "test.jsonl", annotation), path) == [row("vsr")]
    with pytest.raises(ValueError, match=r"answer: 'false'; .* has 'true'"):
        vsr.read(write(tmp_path / "test.jsonl", annotation | {"label": 1}), path)


@pytest.fixture
def saved(tmp_path: Path) -> BlinkScoreSettings:
    """Saved outputs of the benchmark's script: two letters as in the replies, one in other words, one misread."""
    items = [
        ("(A)", "Point A"),
        ("(B)", "B"),
        ("(B) B is closer", "B is closer."),
        ("(A)", "I can't tell."),
        ("(Z)", ""),
    ]
    answers = {f"val_Relative_Depth_{number}": "(B)" for number in range(5)}
    content = [
        {"idx": idx, "answer": "(B)", "full_prediction": reply, "prediction": letter}
        for idx, (letter, reply) in zip(answers, items, strict=True)
    ]
    (tmp_path / "GPT").mkdir()
    (tmp_path / "GPT" / "Relative Depth.json").write_text(json.dumps({"val": content}))
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    return BlinkScoreSettings(answers=tmp_path / "answers.json", predictions=tmp_path / "GPT", read="stored")


def test_stored_letters_are_scored_as_the_benchmark_compares_them(saved: BlinkScoreSettings) -> None:
    scores = blink.evaluate_files(saved)
    assert (scores.micro.num_right, scores.micro.num_items, scores.micro.num_unparsed) == (1, 5, 1)
    assert (scores.num_stored, scores.num_stored_same) == (5, 4)
    note = scores.tables()[0].note
    assert "80.0 % of 5 items" in note
    assert "by the letters in the files" in note


def test_stored_letters_that_are_not_there_are_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text('{"val_Jigsaw_1": "(B)"}')
    (tmp_path / "replies.json").write_text('{"val_Jigsaw_1": "B"}')
    settings = BlinkScoreSettings(
        answers=tmp_path / "answers.json", predictions=tmp_path / "replies.json", read="stored"
    )
    with pytest.raises(ValueError, match=r"'val_Jigsaw_1': no letter is stored .* leave out --read stored"):
        blink.evaluate_files(settings)


def test_the_data_set_gives_the_options_of_counting(tmp_path: Path) -> None:
    (tmp_path / "answers.json").write_text('{"val_Counting_1": "(B)"}')
    (tmp_path / "replies.json").write_text('{"val_Counting_1": "There are two floats."}')
    (tmp_path / "Counting").mkdir()
    write(tmp_path / "Counting" / "val.jsonl", {"idx": "val_Counting_1", "choices": ["3", "2", "0", "1"]})
    settings = BlinkScoreSettings(answers=tmp_path / "answers.json", predictions=tmp_path / "replies.json")
    assert blink.evaluate_files(settings).micro.num_unparsed == 1
    assert blink.evaluate_files(replace(settings, questions=tmp_path)).micro.num_right == 1
