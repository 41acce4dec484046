"""Tables of text, their Markdown, and the formats of the numbers in them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

ABSENT: Final = "–"
"""A cell without a value."""

_TAG: Final = re.compile(r"<(?=[a-zA-Z/!?])")


@runtime_checkable
class Range(Protocol):
    """An interval of shares."""

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


@dataclass(frozen=True)
class Table:
    """A heading, a grid of text, and a note on how to read it."""

    heading: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    num_text_columns: int = 1
    """Columns on the left that hold words; the others hold numbers."""


def table_of(heading: str, columns: Sequence[str], records: Iterable[Mapping[str, str]], note: str = "") -> Table:
    """Make a table of records, whose keys are columns; a column that a record lacks is `ABSENT`.

    Raises:
        ValueError: for a key that is no column.
    """
    rows = []
    for record in records:
        unknown = record.keys() - set(columns)
        if unknown:
            raise ValueError(f"{heading}: {', '.join(sorted(unknown))}: expected one of the columns {list(columns)}")
        rows.append(tuple(record.get(column, ABSENT) for column in columns))
    return Table(heading, tuple(columns), tuple(rows), note)


def to_markdown(table: Table) -> str:
    """Write the grid as a Markdown table with its numbers on the right."""
    rules = ["---" if index < table.num_text_columns else "---:" for index in range(len(table.columns))]
    return "\n".join(markdown_lines(table.columns, table.rows, _markdown_row(rules)))


def markdown_lines(columns: Sequence[str], rows: Iterable[Iterable[str]], rule: str | None = None) -> list[str]:
    """Write a grid as the lines of a Markdown table.

    Args:
        columns: the first may be empty.
        rows: cells in the order of the columns.
        rule: the line below the header; None: all columns are aligned alike.
    """
    header = _markdown_row(columns) if columns[0] else f"| {_markdown_row(columns[1:])}"
    return [header, rule or "|---" * len(columns) + "|", *map(_markdown_row, rows)]


def markdown_text(text: str) -> str:
    """Put text on one line and escape tags and column separators."""
    return _TAG.sub("&lt;", " ".join(text.split())).replace("|", "\\|")


def percent(share: float) -> str:
    """A share in percent, one decimal, without the sign."""
    return f"{100 * share:.1f}"


def percent_range(interval: Range) -> str:
    """An interval of shares in percent: `[39.8, 69.3]`."""
    return f"[{percent(interval.low)}, {percent(interval.high)}]"


def percent_with_range(share: float, interval: Range) -> str:
    """A share and its interval in percent: `55.0 [39.8, 69.3]`."""
    return f"{percent(share)} {percent_range(interval)}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign: `+8.0`, `−8.0`, `0.0`."""
    text = f"{100 * difference:+.1f}"
    return text[1:] if text in ("+0.0", "-0.0") else text.replace("-", "−")


def points_range(interval: Range) -> str:
    """An interval of differences in percentage points."""
    return f"[{points(interval.low)}, {points(interval.high)}]"


def points_with_range(difference: float, interval: Range) -> str:
    """A difference and its interval in percentage points: `+8.0 [+1.2, +14.9]`."""
    return f"{points(difference)} {points_range(interval)}"


def probability(p_value: float) -> str:
    """A p-value to two digits."""
    return "< 0.0001" if p_value < 0.0001 else f"{p_value:.2g}"


def equation(p_value: float) -> str:
    """A p-value inside a sentence: `p = 0.03`."""
    text = probability(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def _markdown_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"
