"""Choices between two regions, also where the reply names both."""

import pytest

from theworld.evaluation.parsing.region_choices import RELATIONS, chosen_region


@pytest.mark.parametrize(
    ("asked", "reply", "region"),
    [
        ("above", "Region [1] is above.", 1),
        ("above", "Positioned higher is Region [1].", 1),
        ("tall", "Standing taller between the two is Region [0].", 0),
        ("short", "With less height is Region [1].", 1),
        ("left", "From the viewer's perspective, Region [1] appears more on the left side.", 1),
        ("below", "The region labeled [1] is positioned lower.", 1),
        ("left", "* Region [0]\n* Region [1]\n\n**Answer:** Region [1]", 1),
    ],
)
def test_the_region_that_is_named_is_chosen(asked, reply, region):
    assert chosen_region(reply, RELATIONS[asked]) == region


@pytest.mark.parametrize(
    ("asked", "reply", "region"),
    [
        ("short", "Region [1] appears to be shorter than Region [0].", 1),
        ("short", "Region [1] is taller than Region [0].", 0),
        ("right", "Region [1] is located to the left of Region [0].", 0),
        ("tall", "The bookshelf (Region [0]) is significantly taller than the sofa (Region [1]).", 0),
        ("above", "Region [0], compared to Region [1], is higher up.", 0),
        ("above", "Compared to Region [0], Region [1] is higher up.", 1),
        ("above", "Region [0] is not above Region [1].", 1),
    ],
)
def test_a_reply_that_names_both_regions_is_read_by_what_it_claims(asked, reply, region):
    assert chosen_region(reply, RELATIONS[asked]) == region


def test_an_answer_stands_before_the_explanation_that_follows_it():
    reply = "**Answer:** Region [0]\n\n**Explanation:** Therefore, Region [1] appears lower."
    assert chosen_region(reply, RELATIONS["below"]) == 0


def test_descriptions_of_each_region_choose_nothing_but_what_follows_them_does():
    described = "* **Region [0]:** The plant above the desk.\n* **Region [1]:** The bench.\n"
    assert chosen_region(described, RELATIONS["above"]) is None
    assert chosen_region(described + "\n**Therefore, the bench (Region [1]) is higher up.**", RELATIONS["above"]) == 1


@pytest.mark.parametrize(
    "reply", ["", "of the image?", "Region [0] or Region [1]?", "Both Region [0] and Region [1].", "Region [7]"]
)
def test_a_reply_that_names_none_or_both_alike_is_not_read(reply):
    assert chosen_region(reply, RELATIONS["above"]) is None


@pytest.mark.parametrize(
    "text", ["Region [{}]", "Region [{}] is taller.", "The taller one is Region [{}].", "Answer: region [{}]"]
)
def test_a_region_number_of_thousands_of_digits_is_no_choice(text):
    assert chosen_region(text.format("9" * 5_000), RELATIONS["tall"]) is None
