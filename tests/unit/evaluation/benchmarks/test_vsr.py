"""VSR: true or false in every form in which models say it, by relation."""

import json
from pathlib import Path

import pytest

from theworld.evaluation.benchmarks.vsr import evaluate, read, says_true, score

STATEMENT = "The bed is right of the bench."
ANNOTATIONS = [
    {"image": "1.jpg", "caption": STATEMENT, "label": 1, "relation": "right of", "vote_true_validator_id": "[2, 16]"},
    {"image": "1.jpg", "caption": "The bed is behind the bench.", "label": 0, "relation": "behind"},
    {"image": "2.jpg", "caption": STATEMENT, "label": 0, "relation": "right of"},
]
REPLIES = ["True", "The statement is false.", "It is hard to tell."]


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def replies(texts: list[str | None]) -> list[dict]:
    return [
        {"image": one["image"], "caption": one["caption"], "prediction": text}
        for one, text in zip(ANNOTATIONS, texts, strict=True)
    ]


@pytest.mark.parametrize(
    "reply",
    ["1", "1111", "model\n1111", "Answer: 1", "true", "Yes.", "This is correct.", "The statement is true.", STATEMENT],
)
def test_a_statement_is_called_true(reply):
    assert says_true(reply, STATEMENT) is True


@pytest.mark.parametrize(
    "reply",
    [
        "0",
        "0.",
        "False",
        "No, it is left of it.",
        "That is not true.",
        "The bed is not right of the bench.",
        "incorrect",
    ],
)
def test_a_statement_is_called_false(reply):
    assert says_true(reply, STATEMENT) is False


@pytest.mark.parametrize("reply", ["", "10", "0101", "1.5", "2", "True\nFalse", "a bed and a bench", "1/2"])
def test_a_reply_that_says_neither_is_not_read(reply):
    assert says_true(reply, STATEMENT) is None


def test_replies_find_their_statement_by_picture_and_caption(tmp_path):
    annotations = write(tmp_path / "test.jsonl", ANNOTATIONS)
    saved = write(tmp_path / "replies.jsonl", replies(REPLIES)[::-1])
    rows = read(annotations, saved)
    assert [score(row).state for row in rows] == ["right", "right", "unparsed"]
    found = evaluate(rows)
    assert found.relations["right of"].value == 0.5
    assert list(found.relations) == ["right of", "behind"]
    assert found.overall.accuracy.balanced == 0.75
    assert found.overall.accuracy.answers["true"].given == pytest.approx(1 / 3)


def test_a_reply_that_was_not_saved_is_missing(tmp_path):
    annotations = write(tmp_path / "test.jsonl", ANNOTATIONS)
    saved = write(tmp_path / "replies.jsonl", replies([None, "false", "false"]))
    assert evaluate(read(annotations, saved)).overall.num_missing == 1


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (replies(REPLIES)[:2], "no reply to 1 annotations"),
        (
            [*replies(REPLIES), {"image": "3.jpg", "caption": "x", "prediction": "1"}],
            "line 4: '3.jpg: x' is no annotation",
        ),
        (replies(REPLIES)[:1] * 2, "line 2: '1.jpg: The bed is right of the bench.' is in the file already"),
        ([{"image": "1.jpg", "caption": STATEMENT}], "prediction: missing; the row has 'image', 'caption'"),
        ([], "the file is empty"),
    ],
)
def test_replies_that_do_not_match_the_annotations_are_refused(saved, words, tmp_path):
    annotations = write(tmp_path / "test.jsonl", ANNOTATIONS)
    with pytest.raises(ValueError, match=words):
        read(annotations, write(tmp_path / "replies.jsonl", saved))


def test_a_label_that_is_none_is_refused(tmp_path):
    annotations = write(tmp_path / "test.jsonl", [{**ANNOTATIONS[0], "label": "yes"}])
    with pytest.raises(ValueError, match="label: 'yes'; expected 0 or 1"):
        read(annotations, write(tmp_path / "replies.jsonl", replies(REPLIES)[:1]))
