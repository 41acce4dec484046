"""Conversations of public data sets become turns, or say why they do not."""

from typing import Any

import pytest

from theworld.datasets.conversations import MAX_CHARACTERS, turns_of
from theworld.datasets.errors import RecordError


def said(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]


def test_both_ways_to_write_a_message_give_the_same_turns():
    roles = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Gravity."}]
    parts = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Why?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Gravity."}]},
    ]

    assert turns_of(said("Why?", "Gravity."), "x") == turns_of(roles, "x") == turns_of(parts, "x", num_images=1)


@pytest.mark.parametrize(("question", "answer"), [("user", "assistant"), ("human", "gpt")])
def test_a_question_and_its_answer_may_be_one_object(question: str, answer: str):
    entries = [
        {question: "<image>\nWhy?", answer: "Gravity.", "source": "AI2D"},
        {question: "Where?", answer: "Down.", "source": "AI2D"},
    ]

    assert turns_of(entries, "x", num_images=1) == turns_of(said("Why?", "Gravity.", "Where?", "Down."), "x")
    assert turns_of([{"from": "system", "value": "Be brief."}, *entries[1:]], "x")[0].text == "Be brief.\n\nWhere?"
    for value in (None, 5, ["Gravity."]):
        with pytest.raises(RecordError, match="without text") as refused:
            turns_of([{question: "Why?", answer: value}], "x")
        assert refused.value.cause == "malformed"
    with pytest.raises(RecordError, match="user and assistant"):
        turns_of([{question: "Why?"}], "x")


def test_what_a_system_says_stands_before_the_first_question():
    turns = turns_of([{"from": "system", "value": " Be brief. "}, *said("Why?", "Gravity.")], "x")

    assert [turn.text for turn in turns] == ["Be brief.\n\nWhy?", "Gravity."]


@pytest.mark.parametrize(
    ("question", "num_images", "left"),
    [
        ("<image>\nWhat is it?", 1, "What is it?"),
        ("What is it?\n<image>", 1, "What is it?"),
        ("<image> <image>\nWhich?\nSay it.", 2, "Which?\nSay it."),
        ("Is <image> like <image>?", 2, "Is like?"),
        ("What is it?", 1, "What is it?"),
        ("What is <image> in HTML?", 0, "What is <image> in HTML?"),
    ],
)
def test_marks_of_pictures_are_taken_out_of_questions_about_pictures(question: str, num_images: int, left: str):
    assert turns_of(said(question, "An <image>."), "x", num_images)[0].text == left
    assert turns_of(said(question, "An <image>."), "x", num_images)[1].text == "An <image>."


@pytest.mark.parametrize(
    ("messages", "num_images", "cause", "message"),
    [
        (None, 0, "malformed", "a list of messages, got None"),
        ([], 0, "malformed", "a list of messages"),
        (["hello"], 0, "malformed", "from and value"),
        ([{"from": ["human"], "value": "x"}], 0, "malformed", "from and value"),
        ([{"from": "human", "value": 3}], 0, "malformed", "without text: 3"),
        (said("Why?"), 0, "malformed", "the roles human"),
        ([{"from": "system", "value": "Be brief."}], 0, "malformed", "the roles none"),
        (list(reversed(said("Why?", "Gravity."))), 0, "malformed", "the roles gpt, human"),
        ([{"from": "critic", "value": "Why?"}], 0, "malformed", "the roles critic"),
        (said("<image>", "Gravity."), 1, "malformed", "an empty question"),
        (said("<image>Why?", "Gravity."), 2, "malformed", "1 times <image> for 2 pictures"),
        (said("Why?", " \n"), 0, "empty answer", "without text"),
        (said("Why?", "x" * 1_000_000), 0, "overlong", "1,000,004 characters; expected at most 100,000"),
    ],
)
def test_what_is_no_conversation_is_refused_by_its_cause(messages: Any, num_images: int, cause: str, message: str):
    with pytest.raises(RecordError, match=message) as caught:
        turns_of(messages, "row 7", num_images)

    assert caught.value.cause == cause
    assert caught.value.message.startswith("row 7: ")


def test_the_limit_of_characters_counts_all_turns():
    half = "x" * (MAX_CHARACTERS // 2)

    assert len(turns_of(said(half, half), "x")) == 2
    with pytest.raises(RecordError, match="overlong"):
        turns_of(said(half, half + "x"), "x")
