"""Tables as Markdown, and the formats of numbers."""

import pytest

from theworld.evaluation.statistics import Interval
from theworld.tables import (
    Table,
    markdown_lines,
    percent_with_range,
    points,
    points_with_range,
    probability,
    table_of,
    to_markdown,
)


def test_records_fill_their_columns_by_name():
    table = table_of("Arms", ("arm", "n", "right, %"), [{"right, %": "50.0", "arm": "world"}, {"arm": "gemma"}])
    assert table.rows == (("world", "–", "50.0"), ("gemma", "–", "–"))


def test_a_cell_without_a_column_is_refused():
    with pytest.raises(ValueError, match="Arms: wrong: expected one of the columns"):
        table_of("Arms", ("arm",), [{"arm": "world", "wrong": "1"}])


def test_numbers_are_aligned_right():
    assert to_markdown(Table("", ("arm", "n"), (("world", "2"),))).splitlines() == [
        "| arm | n |",
        "| --- | ---: |",
        "| world | 2 |",
    ]


def test_the_first_column_may_be_empty_and_cells_cannot_break_the_grid():
    assert markdown_lines(["", "a|b"], [["<b>", "two\nlines"]]) == [
        "| | a\\|b |",
        "|---|---|",
        "| &lt;b> | two lines |",
    ]


def test_numbers_have_one_format():
    interval = Interval(-0.004, 0.0004)
    assert percent_with_range(0.5, Interval(0.398, 0.6931)) == "50.0 [39.8, 69.3]"
    assert points_with_range(-0.08, interval) == "−8.0 [−0.4, 0.0]"
    assert points(0.08) == "+8.0"
    assert (probability(0.00001), probability(0.0312)) == ("< 0.0001", "0.031")
