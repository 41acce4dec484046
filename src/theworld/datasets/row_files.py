"""Files of rows: a JSON array, a JSON object a line, or a table of comma-separated values."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Final

from theworld.datasets.public.json_array import UnreadableRow, array_rows
from theworld.io import unique_names

TABLES: Final = (".csv", ".tsv")
SUFFIXES: Final = (".json", ".jsonl", ".ndjson", *TABLES)
"""Endings of the files that `rows_of` reads."""

_SEPARATORS: Final = ",;\t"
_LONGEST_CELL: Final = 10_000_000
"""Characters; a text of more than 100,000 is a bad record of its own."""
_EXCESS: Final = "\0more"
"""Key of the cells beyond the header's."""


def rows_of(path: Path, stream: io.BufferedReader) -> Iterator[Any]:
    """Yield the rows of an open file; a row that cannot be read becomes an `UnreadableRow`.

    The content decides between an array and lines: `.json` files of lines are common.

    Raises:
        ValueError: for a file that holds no rows, with the reason.
    """
    if path.suffix.lower() in TABLES:
        return _table_rows(stream)
    return array_rows(stream) if _first_character(stream) == b"[" else _line_rows(stream)


def first_rows(path: Path, number: int) -> list[Any]:
    """Return the first rows of a file, without those that cannot be read.

    Raises:
        ValueError: for a missing file, or one that holds no rows.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    with path.open("rb") as stream:
        try:
            rows = list(islice(rows_of(path, stream), number))
        except ValueError as error:
            raise ValueError(f"{path}: cannot be read as rows ({error})") from error
    return [row for row in rows if isinstance(row, dict)]


def _first_character(stream: io.BufferedReader) -> bytes:
    """The first byte after white space and a byte order mark, without passing it."""
    start = stream.peek(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return start[:1]


def _line_rows(stream: io.BufferedReader) -> Iterator[Any]:
    is_empty = True
    for number, line in enumerate(stream):
        if not line.strip():
            continue
        row = _parsed(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line)
        if is_empty and isinstance(row, UnreadableRow):  # of a file of lines, the first one is whole
            raise ValueError(f"neither a JSON array nor a JSON object a line: line {number + 1}: {row}")
        is_empty = False
        yield row


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line, object_pairs_hook=unique_names)
    except (ValueError, RecursionError) as error:
        return UnreadableRow(f"not a line of JSON ({error})")


def _table_rows(stream: io.BufferedReader) -> Iterator[Any]:
    """Rows of a table with a header; cells are texts, and empty ones None."""
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    reader = None
    try:
        header = lines.readline()
        separator = max(_SEPARATORS, key=header.count)
        names = next(csv.reader([header], delimiter=separator), [])
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"the header names {', '.join(map(repr, twice))} twice: give each column a name of its own"
            )
        csv.field_size_limit(_LONGEST_CELL)
        reader = csv.DictReader(lines, names, restkey=_EXCESS, delimiter=separator, strict=True)
        for row in reader:
            if _EXCESS in row:
                yield UnreadableRow(f"more cells than the header has ({len(names)})")
            elif any(row.values()):
                yield _row_of_cells(row)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 ({error.reason}): save the table as UTF-8") from error
    except csv.Error as error:
        line = "" if reader is None else f" at line {reader.line_num + 1}"
        raise ValueError(f"no table of comma-separated values{line} ({error}): is a quote never closed?") from error
    finally:
        lines.detach()  # the caller closes the file


def _row_of_cells(row: dict[Any, str | None]) -> dict[Any, Any] | UnreadableRow:
    try:
        return {name: _cell(cell) for name, cell in row.items()}
    except ValueError as error:
        return UnreadableRow(str(error))


def _cell(cell: str | None) -> Any:
    """Return the content of a cell: a list if it is one in JSON, None if it is empty, else its text.

    Raises:
        ValueError: for a list with an object of two values of one name.
    """
    text = "" if cell is None else cell.strip()
    if text.startswith("[") and text.endswith("]"):
        with suppress(json.JSONDecodeError, RecursionError):
            return json.loads(text, object_pairs_hook=unique_names)
    return text or None
