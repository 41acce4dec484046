"""Texts, answers and ids of any type are read rightly, or refused by their cause."""

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from theworld.datasets.conversations import turns_of
from theworld.datasets.errors import RecordError
from theworld.datasets.records import distinct_ids, short
from theworld.datasets.wrappers import HFDatasetWrapper, TheWorldDataset

NAN = float("nan")
GOOD = [("a cup", "a cup"), (3, "3"), (0, "0"), (2.5, "2.5"), (np.int64(4), "4"), (Decimal("1.50"), "1.50")]
BAD = [
    (["a cup", "cup"], "malformed"),
    ([{"answer": "cup"}], "malformed"),
    ({"text": "x"}, "malformed"),
    (("a",), "malformed"),
    (b"cup", "malformed"),
    (float("inf"), "malformed"),
    (NAN, "empty answer"),
    (np.float32("nan"), "empty answer"),
    ([], "empty answer"),
    ({}, "empty answer"),
    ("  ", "empty answer"),
    ("half \ud83d", "malformed"),
]


def cause_of(samples: Any, index: int = 0) -> str:
    with pytest.raises(RecordError) as caught:
        samples[index]
    assert "\n" not in str(caught.value)
    return caught.value.cause


@pytest.mark.parametrize(("label", "answer"), GOOD)
def test_texts_and_numbers_are_answers(label: Any, answer: str) -> None:
    assert TheWorldDataset([{"text": "What?", "label": label}])[0].answer == answer


@pytest.mark.parametrize(("label", "cause"), BAD)
def test_other_labels_are_never_learnt(label: Any, cause: str) -> None:
    samples = TheWorldDataset([{"text": "What?", "label": label}])

    assert cause_of(samples) == cause
    assert samples.text_length_of(0) == 0


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ([["a cup", "cup"]], "malformed"),
        ([[]], "empty answer"),
        ([[{"answer": "cup", "answer_id": 1}]], "malformed"),
        ([{"text": "x"}], "malformed"),
        ([NAN], "empty answer"),
    ],
)
def test_columns_of_lists_structs_and_nan_are_never_learnt(answers: list[Any], cause: str) -> None:
    table = Dataset.from_dict({"question": ["What?"], "answer": answers})

    assert cause_of(HFDatasetWrapper(table, image_key=None)) == cause


def test_several_classes_are_no_answer() -> None:
    from datasets import ClassLabel

    features = Features({"question": Value("string"), "answer": List(ClassLabel(names=["no", "yes"]))})
    table = Dataset.from_dict({"question": ["What?"], "answer": [[0, 1]]}, features=features)

    assert cause_of(HFDatasetWrapper(table, image_key=None)) == "malformed"


def test_ids_that_repeat_or_are_null_become_distinct() -> None:
    table = Dataset.from_dict({"question": ["Q"] * 5, "answer": ["A"] * 5, "name": ["a", "a", None, "a#2", "a"]})
    samples = HFDatasetWrapper(table, image_key=None, id_key="name")

    assert [samples[index].id for index in range(5)] == ["a", "a#2@1", "2", "a#2", "a#3"]
    assert distinct_ids([None, 0, NAN, True, ["x"], "half \ud83d"]) == ["0", "0#2", "2", "3", "4", "half ?"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["a", "a#2", "1", ""])), max_size=12))
def test_ids_are_distinct_whatever_they_are(values: list[Any]) -> None:
    ids = distinct_ids(values)

    assert len(set(ids)) == len(ids) == len(values)


def talk(content: Any, answer: Any = "Gravity.") -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]


TEXT, PICTURE = {"type": "text", "text": "Why?"}, {"type": "image"}


@pytest.mark.parametrize(
    ("messages", "num_images"),
    [
        (talk([PICTURE, TEXT]), 0),
        (talk([PICTURE, PICTURE, TEXT]), 1),
        (talk([PICTURE, TEXT]), 2),
        (talk([{"type": "video", "video": "a.mp4"}, TEXT]), 0),
        (talk([{"type": "text", "text": 5}]), 0),
        (talk([{"type": "text"}, TEXT]), 0),
        (talk([TEXT], [PICTURE, {"type": "text", "text": "Gravity."}]), 1),
        (talk("Why \udc00?"), 0),
        ([{"from": "human", "value": "Why?", "content": None}, {"from": "gpt", "value": None}], 0),
    ],
)
def test_parts_that_do_not_fit_the_pictures_are_malformed(messages: Any, num_images: int) -> None:
    with pytest.raises(RecordError) as caught:
        turns_of(messages, "x", num_images)
    assert caught.value.cause == "malformed"


def test_parts_filled_up_with_null_are_read() -> None:
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "Why?", "image": None}]

    assert [turn.text for turn in turns_of(talk(parts), "x", 1)] == ["Why?", "Gravity."]


def test_pictures_under_another_name_are_refused() -> None:
    with pytest.raises(ValueError, match="record 0 has img: expected image"):
        TheWorldDataset([{"img": "a.png", "text": "What?", "label": "A cup"}])


def test_marks_in_questions_fit_the_pictures() -> None:
    picture = Image.new("RGB", (8, 8))
    table = Dataset.from_dict(
        {
            "question": ["<image>\nWhat?", "<image>\nWhat?", "<image><image>What?", "What is <image> in HTML?"],
            "answer": ["A cup"] * 4,
            "image": [picture, None, picture, None],
        }
    )
    samples = HFDatasetWrapper(table)

    assert samples[0].turns[0].text == "What?"
    assert cause_of(samples, 1) == cause_of(samples, 2) == "malformed"
    assert samples[3].turns[0].text == "What is <image> in HTML?"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Image.new("RGB", (2, 2)), "an object of the type Image"),
        ([object()], "[an object of the type object]"),
        ("<b>", "'<b>'"),
        (np.int64(3), "np.int64(3)"),
    ],
)
def test_messages_name_the_type_of_an_object_and_no_address(value: Any, text: str) -> None:
    assert short(value) == text
