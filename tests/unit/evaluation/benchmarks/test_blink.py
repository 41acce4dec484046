"""BLINK: the formats of its repository, and macro and micro mean."""

import json
from pathlib import Path

import pytest

from theworld.evaluation.benchmarks.blink import evaluate, read, score

ANSWERS = {
    "val_Relative_Depth_1": "(A)",
    "val_Relative_Depth_2": "(B)",
    "val_Multi-view_Reasoning_1": "(B)",
    "val_Counting_1": "(D)",
    "val_Counting_2": "(A)",
}
REPLIES = {
    "val_Relative_Depth_1": "A is closer to the camera.",
    "val_Relative_Depth_2": "(A)",
    "val_Counting_1": "There is one float.\n\nThe correct answer is:\n(D) 1",
    "val_Counting_2": "I'm sorry, but I can't assist with that request.",
}


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    path = tmp_path / "val_answers.json"
    path.write_text(json.dumps(ANSWERS))
    return path


def write_folder(folder: Path, names: dict[str, str]) -> Path:
    folder.mkdir()
    for task, name in names.items():
        items = [
            {
                "idx": idx,
                "answer": ANSWERS[idx],
                "full_prediction": reply,
                "prediction": "(A)" if "Depth" in idx else "(Z)",
            }
            for idx, reply in REPLIES.items()
            if f"_{task}_" in idx
        ]
        (folder / name).write_text(json.dumps({"val": items, "test": []}))
    return folder


NAMES = {"Relative_Depth": "Relative Depth.json", "Counting": "Counting.json"}


@pytest.mark.parametrize("form", ["folder", "folder with underscores", "one file"])
def test_every_form_of_saved_replies_gives_the_same_scores(form, answers, tmp_path):
    if form == "one file":
        saved = tmp_path / "replies.json"
        saved.write_text(json.dumps(REPLIES))
    else:
        names = NAMES if form == "folder" else {task: f"{task}.json" for task in NAMES}
        saved = write_folder(tmp_path / "saved", names)
    rows, _ = read(answers, saved)
    assert {row.sample_id: score(row).state for row in rows} == {
        "val_Relative_Depth_1": "right",
        "val_Relative_Depth_2": "wrong",
        "val_Counting_1": "right",
        "val_Counting_2": "unparsed",
    }


def test_the_macro_mean_weighs_tasks_alike_and_the_micro_mean_items(answers, tmp_path):
    replies = {**REPLIES, "val_Multi-view_Reasoning_1": "(B)"}
    (tmp_path / "replies.json").write_text(json.dumps(replies))
    found = evaluate(*read(answers, tmp_path / "replies.json"))
    assert found.macro == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert found.micro.value == pytest.approx(3 / 5)
    assert found.tasks["Multi-view_Reasoning"].value == 1.0
    assert found.macro_bootstrap.low <= found.macro <= found.macro_bootstrap.high
    assert not found.is_whole


def test_letters_that_were_read_before_are_held_against_those_that_are_read_now(answers, tmp_path):
    found = evaluate(*read(answers, write_folder(tmp_path / "saved", NAMES)))
    assert (found.num_stored, found.num_stored_same) == (4, 3)


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({**REPLIES, "val_Counting_9": "(A)"}, "'val_Counting_9' is no item of"),
        ({"val_Counting_1": "(D)"}, "no reply to 1 items of its tasks: val_Counting_2"),
        ({**REPLIES, "val_Counting_1": ["(D)"]}, "val_Counting_1: a list; expected text"),
    ],
)
def test_replies_that_do_not_match_the_answers_are_refused(replies, words, answers, tmp_path):
    (tmp_path / "replies.json").write_text(json.dumps(replies))
    with pytest.raises(ValueError, match=words):
        read(answers, tmp_path / "replies.json")


def test_an_item_in_the_file_of_another_task_is_refused(answers, tmp_path):
    folder = write_folder(tmp_path / "saved", {"Counting": "Jigsaw.json"})
    with pytest.raises(ValueError, match=r"idx: 'val_Counting_1'; expected an item of Jigsaw"):
        read(answers, folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"val_Relative_Depth_1": "(C)"}, r"'\(C\)'; expected one of \(A\), \(B\)"),
        ({"val_Relative_Depth_1": "hidden"}, "'hidden'; expected one of"),
        ({"Relative_Depth": "(A)"}, "expected ids such as"),
        ({}, "no answers in it"),
    ],
)
def test_answers_that_are_none_are_refused(content, words, tmp_path):
    (tmp_path / "answers.json").write_text(json.dumps(content))
    (tmp_path / "replies.json").write_text("{}")
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "answers.json", tmp_path / "replies.json")


def test_a_folder_without_the_file_of_a_task_is_refused(answers, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file of a task"):
        read(answers, tmp_path / "empty")
