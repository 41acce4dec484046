"""Lengths: numbers with units in metres, and which of several a reply means."""

import pytest

from theworld.evaluation.parsing.quantities import lengths, named_length
from theworld.evaluation.parsing.text import plain


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("30.05 inches", 0.76327),
        ('12"', 0.3048),
        ("5 in.", 0.127),
        ("6.91 feet", 2.106168),
        ("26.25 centimeters", 0.2625),
        ("350 mm", 0.35),
        ("2 yards", 1.8288),
        ("1.2 km", 1200.0),
        ("1.5m", 1.5),
        ("a 5-foot wall", 1.524),
        ("5'10\"", 1.778),
        ("6 feet and 2 inches", 1.8796),
        ("1 m 20 cm", 1.2),
        ("1,234.5 mm", 1.2345),
        ("1,5 m", 1.5),
        ("1/2 meter", 0.5),
        ("1 1/2 feet", 0.4572),
        ("1½ feet", 0.4572),
        ("half a meter", 0.5),
        ("one and a half meters", 1.5),
        ("two feet", 0.6096),
        ("about a meter", 1.0),
        ("$1.5 \\text{ m}$", 1.5),
        ("**1.5** meters", 1.5),
    ],
)
def test_a_number_with_a_unit_is_a_length(text, metres):
    assert list(lengths(plain(text).casefold())) == [pytest.approx(metres)]


@pytest.mark.parametrize(
    ("text", "metres"),
    [
        ("5-6 feet", 1.6764),
        ("5 – 6 feet", 1.6764),
        ("between 2 and 3 meters", 2.5),
        ("1.5 to 2 meters", 1.75),
        ("2 feet to 3 feet", 0.762),
        ("50 cm to 1 m", 0.75),
    ],
)
def test_a_range_is_its_middle(text, metres):
    assert list(lengths(plain(text).casefold())) == [pytest.approx(metres)]


@pytest.mark.parametrize(
    "text",
    [
        "300 pixels",
        "2 x 3 m",
        "10 m²",
        "10 square meters",
        "3 m/s",
        "5 in the image",
        "0 m",
        "1/0 m",
        "9" * 400 + " m",
        "version 1.2.3 m",
        "42",
    ],
)
def test_what_is_no_length_is_not_read(text):
    assert list(lengths(plain(text).casefold())) == []


@pytest.mark.parametrize(
    "text", ["Region [0]", "region 0", "<region0>", "Region [0] meters", "[0] m", "Regions [0] and [1] in."]
)
def test_a_region_is_no_number(text):
    assert list(lengths(plain(text).casefold())) == []


def test_a_number_after_a_region_is_one():
    assert list(lengths(plain("region [0] 5 meters, region 1 is 2 m"))) == [5.0, 2.0]


def test_the_answer_stands_before_what_led_to_it():
    assert named_length("The chair is 1 m tall.\n\n**Answer:** 2 m") == 2.0
    assert named_length("The diameter is 6 m. Therefore, the radius is 3 m.") == 3.0


def test_a_list_of_options_is_left_out():
    assert named_length("* A) 10 cm\n* B) 20 cm\n\nIt is approximately **B) 20 cm** wide.") == 0.2
    assert named_length("* A) 10 cm\n* B) 20 cm") is None


def test_a_line_labelled_with_the_dimension_asked_for_is_preferred():
    assert named_length("Height: 2 m\nWidth: 1 m", "width") == 1.0
    assert named_length("Height: 2 m\nWidth: 1 m") == 2.0


def test_a_reply_cut_off_behind_its_therefore_names_no_length():
    assert named_length("The ceiling is 3 m high. Therefore, Region [0] is approximately 8-") is None
    assert named_length("It is 3 m high. Therefore, it is high.") == 3.0
