"""Option letters: the official order first, and rules where the official script asks a language model."""

import pytest

from theworld.evaluation.parsing.choices import chosen_letter, official_letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "(B)"),
        ("(B)", "(B)"),
        ("In the picture, there are (D) 3 people.", "(D)"),
        ("(B) 0\n\nThere are no sets on the wall.", "(B)"),
        ("(A) is unlikely, (C) is not.\n\nThe answer is:\n(B) 2", "(B)"),
    ],
)
def test_a_letter_set_apart_by_white_space_is_read_as_officially(reply, letter):
    assert official_letter(reply, 4) == letter
    assert chosen_letter(reply, 4) == letter


def test_the_last_paragraph_comes_before_the_whole_reply():
    assert official_letter("(A) looks good\n\n(B) it is", 4) == "(B)"


def test_several_letters_in_the_last_paragraph_leave_the_one_of_the_whole_reply_unread():
    assert official_letter("(A) or (B)\n\n(A) or (B)", 4) is None


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("So the answer is (D).", "(D)"),
        ("The answer is B", "(B)"),
        ("**Answer:** B", "(B)"),
        ("B. a ball", "(B)"),
        ("b) is wrong, I choose C", "(C)"),
        ("Option A", "(A)"),
        ("A is closer to the camera.", "(A)"),
        ("(A) Point A is on the edge.\n(B) Point B is not.\n\nTherefore, B.", "(B)"),
    ],
)
def test_rules_read_what_the_official_script_gives_to_a_language_model(reply, letter):
    assert official_letter(reply, 4) is None
    assert chosen_letter(reply, 4) == letter


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I'm sorry, but I can't assist with that request.",
        "None of the choices (A) 6, (B) 3, (C) 4, or (D) 5 apply.",
        "A person stands in front of a car.",
        "It is not (A).",
        "A or B",
        "E",
    ],
)
def test_a_reply_that_chooses_nothing_is_not_read(reply):
    assert chosen_letter(reply, 4) is None


def test_a_letter_beyond_the_choices_is_none():
    assert chosen_letter("(C)", 2) is None
    assert chosen_letter("The answer is C", 2) is None
