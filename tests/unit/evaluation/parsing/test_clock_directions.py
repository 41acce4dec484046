"""Clock directions: hours in words and digits, and the shorter way round."""

import pytest

from theworld.evaluation.parsing.quantities import clock_error, clock_hour


@pytest.mark.parametrize(
    ("reply", "hour"),
    [
        ("Region [1] is roughly at 12 o'clock from Region [0].", 12),
        ("Region [0] will find Region [1] around the 3 o’clock direction.", 3),
        ("**two o'clock**", 2),
        ("10:30 o'clock", 10.5),
        ("2-3 o'clock", 2.5),
        ("between 11 and 1 o'clock", 12),
        ("It could be 3 o'clock.\n\n**Answer:** 4 o'clock", 4),
        ("7", 7),
    ],
)
def test_an_hour_is_read(reply, hour):
    assert clock_hour(reply) == hour


@pytest.mark.parametrize(
    "reply", ["", "to the right", "Region [1]", "13 o'clock", "0 o'clock", "0", "5 meters", "Region [3]."]
)
def test_what_is_no_hour_is_not_read(reply):
    assert clock_hour(reply) is None


@pytest.mark.parametrize(
    ("first", "second", "hours"), [(12.0, 1.0, 1), (11.0, 1.0, 2), (6.0, 12.0, 6), (3.0, 3.0, 0), (1.0, 10.5, 2.5)]
)
def test_directions_are_as_far_apart_as_the_shorter_way_round(first, second, hours):
    assert clock_error(first, second) == clock_error(second, first) == hours
