"""Scoring: exact match, choices, log-likelihoods, and the four states."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import likeliest_choice, named_choice, normalise, score

BINS = ("red", "dark red", "blue")


def row(prediction: str | None, answer: str | None = "left", **rest) -> Prediction:
    return Prediction(
        sample_id="a", question="Which bin?", answer=answer, prediction=prediction, prompt_hash="0", **rest
    )


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        (" Left. ", "left"),
        ("Answer:  The  left\nbin!", "the left bin"),
        ("ANSWER: answer: 3.5", "3.5"),
        ("left answer: right", "left answer: right"),
        ("?!", ""),
    ],
)
def test_normalisation_takes_away_case_space_label_and_trailing_punctuation(text, normal):
    assert normalise(text) == normal


@settings(deadline=None, max_examples=40)
@given(st.text())
def test_normalisation_is_done_once(text):
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("reply", "state"), [("LEFT.", "right"), ("answer: left", "right"), ("the left", "wrong"), (" .", "unparsed")]
)
def test_an_open_reply_must_equal_the_answer(reply, state):
    assert score(row(reply)).state == state


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("red", "red"),
        ("It falls into the Blue bin.", "blue"),
        ("dark red", "dark red"),
        ("The dark red one", "dark red"),
        ("red, I mean red", "red"),
        ("red or blue", None),
        ("dark red, not blue", "dark red"),
        ("It is not the blue one", None),
        ("It isn't blue", None),
        ("reddish", None),
        ("green", None),
        ("", None),
    ],
)
def test_a_reply_names_one_choice_or_none(reply, choice):
    assert named_choice(reply, BINS) == choice


@pytest.mark.parametrize(
    ("reply", "choice"),
    [("b", "B"), ("(B)", "B"), ("B. a ball", "B"), ("The answer is a ball", None), ("A or B", None), ("ABC", None)],
)
def test_a_letter_is_named_in_its_own_case_within_a_sentence(reply, choice):
    assert named_choice(reply, ("A", "B")) == choice


@pytest.mark.parametrize(
    ("reply", "choice"), [("3 balls", "3"), ("3.", "3"), ("13", None), ("3.5", None), ("1,3", None)]
)
def test_a_number_is_not_found_inside_another(reply, choice):
    assert named_choice(reply, ("3", "4")) == choice


def test_a_choice_that_denies_is_a_choice():
    assert named_choice("They are not touching.", ("touching", "not touching")) == "not touching"


def test_the_longest_choice_that_fits_is_named():
    assert named_choice("It is on top of it", ("on", "on top")) == "on top"


def test_choices_alike_after_normalisation_cannot_be_told_apart():
    assert named_choice("yes", ("Yes", "yes.")) is None


def test_the_largest_log_likelihood_is_the_reading_whatever_the_text_says():
    reply = row("left", "right", choices=("left", "right"), log_likelihoods={"left": -2.0, "right": -0.1})
    assert likeliest_choice(reply) == "right"
    assert (score(reply).state, score(reply).value, score(reply).reading) == ("right", 1, "right")


def test_equal_log_likelihoods_choose_nothing():
    reply = row(None, choices=("left", "right"), log_likelihoods={"left": -0.5, "right": -0.5})
    assert (score(reply).state, score(reply).value) == ("unparsed", 0)


def test_log_likelihoods_that_were_not_computed_are_not_guessed():
    with pytest.raises(ValueError, match="no log-likelihoods"):
        likeliest_choice(row("left"))


def test_an_error_row_is_missing_neither_right_nor_wrong():
    one = score(row(None, error="OSError: disk full"))
    assert (one.state, one.value, one.reading, one.answer) == ("missing", None, None, "left")


def test_an_error_does_not_become_the_first_choice():
    one = score(row(None, "A", choices=("A", "B"), error="RuntimeError: out of memory"))
    assert one.value is None


def test_a_withheld_answer_cannot_be_scored():
    with pytest.raises(ValueError, match="answer is withheld"):
        score(row("left", None))


@settings(deadline=None, max_examples=40)
@given(st.text(), st.lists(st.text(), min_size=1, unique=True))
def test_no_text_and_no_choices_make_scoring_raise(reply, choices):
    assert score(row(reply, choices[0])).state in {"right", "wrong", "unparsed"}
    one = score(row(reply, choices[0], choices=tuple(choices)))
    assert one.state in {"right", "wrong", "unparsed"}
    assert (one.reading is None) == (one.state == "unparsed")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(["red", "blue", "green ball", "two"]), min_size=1, unique=True), st.data())
def test_a_reply_that_is_a_choice_names_it(choices, data):
    choice = data.draw(st.sampled_from(choices))
    assert named_choice(f" {choice.upper()}.", tuple(choices)) == choice
    assert named_choice(f"I think it is the {choice}", tuple(choices)) == choice
