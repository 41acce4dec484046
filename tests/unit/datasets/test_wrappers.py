"""Plain lists and Hugging Face data sets become samples."""

from typing import Any

import datasets
import numpy as np
import pytest

import theworld
from fixtures_public import picture, stored
from theworld.datasets import HFDatasetWrapper, TheWorldDataset
from theworld.datasets.errors import RecordError

PICTURE = np.zeros((8, 8, 3), np.uint8)


def test_a_record_becomes_a_sample_with_a_picture_a_question_and_an_answer() -> None:
    samples = TheWorldDataset([{"image": PICTURE, "text": "What falls?", "label": "the ball"}, {"text": "And then?"}])

    assert len(samples) == 2
    assert (len(samples[0].images), samples[0].prompt[-1].text, samples[0].answer) == (1, "What falls?", "the ball")
    assert (samples[1].images, samples[1].answer) == ((), None)


def test_a_record_without_a_text_is_refused_by_its_position() -> None:
    with pytest.raises(ValueError, match=r"record 1 has no text: .* got \['image', 'question'\]"):
        TheWorldDataset([{"text": "What?"}, {"image": PICTURE, "question": "What?"}])


def test_any_hugging_face_data_set_is_read_by_its_columns() -> None:
    table = datasets.Dataset.from_dict({"q": ["Where?", "Why?"], "a": ["left", "gravity"], "name": ["x", "y"]})

    samples = HFDatasetWrapper(table, image_key=None, question_key="q", answer_key="a", id_key="name")

    assert [samples[index].id for index in range(len(samples))] == ["x", "y"]
    assert samples[1].answer == "gravity"


def test_a_column_that_is_not_there_is_refused_with_those_that_are() -> None:
    table = datasets.Dataset.from_dict({"q": ["Where?"]})

    with pytest.raises(ValueError, match=r"no column \['image', 'question', 'answer'\]: its columns are \['q'\]"):
        HFDatasetWrapper(table)


def test_every_public_name_can_be_imported() -> None:
    for name in theworld.__all__:
        assert getattr(theworld, name) is not None


def test_a_withheld_answer_stays_withheld() -> None:
    table = datasets.Dataset.from_dict({"question": ["Where?", "Why?"], "answer": ["left", None]})

    samples = HFDatasetWrapper(table, image_key=None)

    assert [samples[index].answer for index in range(2)] == ["left", None]


def test_a_class_label_is_answered_by_its_name_and_minus_one_is_withheld() -> None:
    features = datasets.Features(
        {"question": datasets.Value("string"), "answer": datasets.ClassLabel(names=["falls", "stays"])}
    )
    table = datasets.Dataset.from_dict({"question": ["What?"] * 4, "answer": [1, 0, -1, None]}, features=features)

    samples = HFDatasetWrapper(table, image_key=None)

    assert [samples[index].answer for index in range(4)] == ["stays", "falls", None, None]


@pytest.mark.parametrize(("questions", "shown"), [(["What?", None], "None"), ([3, 4], "4"), (["What?", " "], "' '")])
def test_a_question_that_is_no_text_is_refused_by_its_row(questions: list[object], shown: str) -> None:
    samples = HFDatasetWrapper(datasets.Dataset.from_dict({"question": questions}), image_key=None, answer_key=None)

    with pytest.raises(ValueError, match=f"row 1 has {shown} as its 'question': a question is text"):
        samples[1]


def test_images_means_the_same_as_image_and_both_are_refused() -> None:
    samples = TheWorldDataset([{"images": [PICTURE, PICTURE], "text": "Which?", "label": "left"}])

    assert len(samples[0].images) == samples.num_images_of(0) == 2
    assert samples.text_length_of(0) == len("Which?left")
    with pytest.raises(ValueError, match="record 0 has both image and images"):
        TheWorldDataset([{"image": PICTURE, "images": [PICTURE], "text": "Which?"}])


@pytest.mark.parametrize(("label", "cause"), [(" ", "empty answer"), ("x" * 1_000_000, "overlong")])
def test_a_record_that_nothing_can_be_learnt_from_says_why(label: str, cause: str) -> None:
    with pytest.raises(RecordError) as caught:
        TheWorldDataset([{"text": "Why?", "label": label}])[0]

    assert caught.value.cause == cause


def test_pictures_of_a_list_column_stay_stored_until_they_are_read() -> None:
    broken = {"bytes": b"no picture", "path": None}
    features = datasets.Features(
        {
            "images": datasets.List(datasets.Image()),
            "question": datasets.Value("string"),
            "answer": datasets.Value("string"),
        }
    )
    rows = [
        {"images": [stored(picture(0)), stored(picture(1))], "question": "Which?", "answer": "both"},
        {"images": [broken], "question": "What?", "answer": "nothing"},
    ]
    samples = HFDatasetWrapper(datasets.Dataset.from_list(rows, features=features), image_key="images")

    assert [image.size for image in samples[0].images] == [(32, 32), (32, 32)]
    assert (samples.num_images_of(0), samples.text_length_of(0)) == (2, len("Which?both"))
    with pytest.raises(RecordError, match="row 1") as caught:
        samples[1]
    assert caught.value.cause == "unreadable picture"


def rows() -> datasets.Dataset:
    return datasets.Dataset.from_list([{"question": "Why?", "answer": "So."}])


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        (lambda: rows().to_iterable_dataset(), "IterableDataset: a stream, .* load it without streaming=True"),
        (lambda: iter(rows()), "generator: a stream, whose rows have no numbers"),
        (lambda: datasets.DatasetDict({"train": rows(), "test": rows()}), "the splits train, test: give one of them"),
        (lambda: datasets.IterableDatasetDict({"train": rows().to_iterable_dataset()}), "the splits train"),
        (lambda: list(rows()), "a list of records: give it to TheWorldDataset"),
        (lambda: rows().to_pandas(), "DataFrame: expected a datasets.Dataset"),
    ],
)
def test_what_has_no_rows_by_number_is_refused_before_a_row_is_read(given: Any, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy) as refused:
        HFDatasetWrapper(given(), image_key=None)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (lambda: ({"text": "Why?"} for _ in range(2)), "of type generator: expected a list"),
        (lambda: rows().to_iterable_dataset(), "of type IterableDataset: expected a list"),
        (lambda: {"text": "Why?", "label": "So."}, "of type dict: expected a list"),
        (lambda: ["Why?"], "record 0 is 'Why\\?': expected a mapping with image, text and label"),
        (lambda: rows().to_pandas(), "record 0 is 'question': expected a mapping"),
    ],
)
def test_records_are_a_list_of_mappings(records: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TheWorldDataset(records())


def test_former_names_of_columns_are_taken() -> None:
    table = datasets.Dataset.from_dict({"text": ["Where?"], "label": ["left"]})

    sample = HFDatasetWrapper(table, image_key=None, text_key="text", label_key="label")[0]
    withheld = HFDatasetWrapper(table, image_key=None, text_key="text", label_key=None)[0]

    assert (sample.prompt[-1].text, sample.answer) == ("Where?", "left")
    assert withheld.answer is None
    with pytest.raises(TypeError, match="both text_key and question_key"):
        HFDatasetWrapper(table, image_key=None, text_key="text", question_key="text")
    with pytest.raises(TypeError, match="caption_key"):
        HFDatasetWrapper(table, caption_key="text")
