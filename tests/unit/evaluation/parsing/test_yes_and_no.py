"""Yes and no: words of assent and denial, negation, antonyms, and claims about the other region."""

import pytest

from theworld.evaluation.parsing.region_choices import RELATIONS
from theworld.evaluation.parsing.yes_no import says_yes


@pytest.mark.parametrize(
    ("reply", "yes"),
    [
        ("Yes.", True),
        ("No, it is not.", False),
        ("model\nNo, Region [0] is not smaller than Region [1].", False),
        ("That is True.", True),
        ("That is False.", False),
        ("Indeed, Region [0] is positioned over Region [1].", True),
        ("Incorrect, Region [0] is not positioned above Region [1].", False),
        ("That is not correct.", False),
        ("Based on the image, **yes**, Region [0] appears to be above.", True),
        ("Region [0] seems to be above it.\n\n**Answer:** No", False),
    ],
)
def test_words_of_assent_and_denial_decide(reply, yes):
    assert says_yes(reply, RELATIONS["above"]) is yes


@pytest.mark.parametrize(
    ("asked", "reply", "yes"),
    [
        ("above", "Actually, Region [0] is below Region [1].", False),
        ("above", "In fact, Region [0] is above Region [1].", True),
        ("above", "Region [0] does not appear over Region [1].", False),
        ("above", "Region [0] isn't above Region [1].", False),
        ("above", "Region [1] is above Region [0].", False),
        ("above", "Region [1] is underneath Region [0].", True),
        ("right", "Region [0] is located to the left of Region [1].", False),
        ("big", "**Region [1] appears to be bigger than Region [0].**", False),
        ("small", "Correct me, but Region [0] occupies less space than Region [1].", True),
        ("tall", "Region [0] does not have a greater height compared to Region [1].", False),
        ("short", "Region [0] is not as tall as Region [1].", True),
        ("wide", "Region [0]'s width does not surpass Region [1]'s.", False),
        ("thin", "The width of Region [0] exceeds that of Region [1].", False),
        ("behind", "Region [0] is closer to the viewer.", False),
        ("behind", "Region [0] is further to the viewer compared to Region [1].", True),
        ("front", "Region [0] is less distant than Region [1].", True),
        ("front", "The sofa (Region [1]) is in front of the lamp (Region [0]).", False),
    ],
)
def test_without_such_words_what_is_claimed_of_the_relation_decides(asked, reply, yes):
    assert says_yes(reply, RELATIONS[asked]) is yes


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "to the camera?",
        "* **Yes**\n* **No**",
        "* **No.** Region [0] is outside.\n* **Yes.** Region [0] is the box.",
        "Is Region [0] above Region [1]?",
        "Region [0] and Region [1] overlap.",
        "There is no way to tell.",
    ],
)
def test_a_reply_that_says_neither_or_both_is_not_read(reply):
    assert says_yes(reply, RELATIONS["above"]) is None


def test_a_list_of_what_can_be_answered_is_no_answer_but_what_follows_it_is():
    assert says_yes("* **Yes**\n* **No**\n\n**Answer:** No", RELATIONS["above"]) is False
    assert says_yes("* **Yes**\n* **No**\n\nRegion [0] is lower than Region [1].", RELATIONS["above"]) is False


def test_the_first_word_stands_against_an_explanation_that_says_otherwise():
    reply = "**Yes**\n\n**Reasoning:** Region [0] is large. Therefore, Region [0] is below Region [1]."
    assert says_yes(reply, RELATIONS["above"]) is True
