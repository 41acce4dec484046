"""Partners of the audit and majorities: of the same question, with another picture and another answer."""

from dataclasses import replace

import pytest

from theworld.datasets.sample import Sample, question
from theworld.evaluation.conditions import frequent_answers
from theworld.evaluation.partners import paired
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.question_kinds import repeated_questions
from theworld.evaluation.results_file import breakdown
from theworld.evaluation.run_audit import shuffle_worlds
from theworld.evaluation.summary import BY_QUESTION, summarise

COLOUR, SIDE = "Which colour?", "Is it left?"


def item(picture: str, text: str, answer: str) -> Sample:
    return question(f"{picture} {text}", [picture], text, answer, fields={"image": picture})


def two_questions() -> list[Sample]:
    """40 pictures with two questions each."""
    colours, sides = ["red"] * 22 + ["blue"] * 18, ["yes", "no", "no", "no"] * 10
    return [
        sample
        for number, (colour, side) in enumerate(zip(colours, sides, strict=True))
        for sample in (item(f"{number}.png", COLOUR, colour), item(f"{number}.png", SIDE, side))
    ]


def rows(samples: list[Sample], reply: str = "red") -> list[Prediction]:
    return [
        Prediction(
            sample_id=sample.id,
            question=sample.prompt[-1].text,
            answer=sample.answer,
            prediction=reply,
            fields=dict(sample.fields),
            prompt_hash="",
        )
        for sample in samples
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_partner_has_the_same_question_another_picture_and_another_answer(seed: int) -> None:
    pairs = paired(two_questions(), seed)

    assert (len(pairs.samples), pairs.num_alone, pairs.num_mixed) == (80, 0, 0)
    assert pairs.notes() == ""
    for sample, partner in zip(pairs.samples, pairs.partners, strict=True):
        assert sample.prompt == partner.prompt
        assert sample.images != partner.images
        assert sample.answer != partner.answer
    assert [sample.clips for sample in pairs.shuffled()] == [([other.images[0]],) for other in pairs.partners]


def test_a_video_is_no_partner_of_a_picture() -> None:
    pictures = [item(f"{number}.png", COLOUR, answer) for number, answer in enumerate(("red", "blue", "red"))]
    videos = [
        replace(item(f"{number}.mp4", COLOUR, answer), clips=((f"{number}.png",) * 5,))
        for number, answer in enumerate(("blue", "red", "blue", "red"), start=3)
    ]

    pairs = paired([*pictures, *videos])

    assert len(pairs.samples) == 7
    assert pairs.num_alone == 0
    for sample, partner in zip(pairs.samples, pairs.partners, strict=True):
        assert sample.shape == partner.shape
    with pytest.raises(ValueError, match="none of the 2 items has a partner"):
        paired([pictures[0], videos[0]])


@pytest.mark.parametrize("seed", range(5))
def test_another_answer_about_the_same_picture_is_no_partner(seed: int) -> None:
    samples = [
        Sample(f"{number} {answer}", item(f"{number}.png", COLOUR, answer).turns, (f"{number}.png",), fields=fields)
        for number in range(6)
        for fields in ({"image": f"{number}.png"},)
        for answer in ("red", "blue")
    ]

    pairs = paired(samples, seed)

    assert len(pairs.samples) + pairs.num_alone == 12
    assert len(pairs.samples) >= 10
    assert all(sample.images != other.images for sample, other in zip(pairs.samples, pairs.partners, strict=True))


def test_items_without_a_partner_are_left_out_and_counted() -> None:
    samples = [*two_questions(), *(item(f"{number}.png", "Is it a shape?", "yes") for number in range(7))]

    pairs = paired(samples)

    assert (len(pairs.samples), pairs.num_alone) == (80, 7)
    assert pairs.notes().startswith("; 7 of 87 items were left out, because no other picture has another answer")
    with pytest.raises(ValueError, match="7 of 87 items were left out"):
        shuffle_worlds(samples)


def test_questions_that_are_asked_once_get_partners_of_other_questions_and_are_counted() -> None:
    samples = [item(f"{number}.png", f"Question {number}?", ("yes", "no")[number % 2]) for number in range(8)]

    pairs = paired(samples)

    assert (len(pairs.samples), pairs.num_alone, pairs.num_mixed) == (8, 0, 8)
    assert "8 items have a partner of another question" in pairs.notes()


def test_a_set_without_partners_is_refused_in_plain_words() -> None:
    samples = [item(f"{number}.png", SIDE, "yes") for number in range(4)]

    with pytest.raises(ValueError, match="none of the 4 items has a partner, another picture with another answer"):
        paired(samples)


def test_the_majority_is_of_each_question_that_repeats() -> None:
    samples = two_questions()

    replies = frequent_answers(samples, lambda sample: str(sample.answer))
    accuracy = summarise(rows(samples)).accuracy

    assert {(sample.prompt[-1].text, reply) for sample, reply in zip(samples, replies, strict=True)} == {
        (COLOUR, "red"),
        (SIDE, "no"),
    }
    assert accuracy is not None
    assert (accuracy.majority_answer, accuracy.majority) == (BY_QUESTION, (22 + 30) / 80)


def test_questions_that_repeat_get_a_table_and_those_of_a_picture_are_dependent() -> None:
    assert breakdown([rows(two_questions())]) == (("question",), "image")
    assert breakdown([rows([item("a.png", SIDE, "yes"), item("b.png", COLOUR, "red")])]) == ((), None)


def test_a_few_repetitions_make_no_kinds() -> None:
    assert set(repeated_questions([f"Question {number}?" for number in range(9)] + ["Question 0?"])) == {""}
    assert repeated_questions(["A?", "a? ", "B?", "B?", "C?", "B?"]) == ["a?", "a?", "b?", "b?", "", "b?"]


def test_fields_that_name_kinds_keep_one_majority_over_all() -> None:
    samples = [
        question(f"{number}", [], COLOUR if number % 2 else SIDE, answer, fields={"kind": "end"})
        for number, answer in enumerate(["yes", "red", "yes", "blue", "no", "red", "yes", "yes"])
    ]

    accuracy = summarise(rows(samples)).accuracy

    assert accuracy is not None
    assert (accuracy.majority_answer, accuracy.majority) == ("yes", 0.5)
