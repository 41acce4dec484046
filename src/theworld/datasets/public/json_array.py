"""Rows of a JSON array of any size, one at a time: in linear time, and in memory of the order of the longest row."""

import codecs
import json
import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Any, Final, NoReturn

from theworld.io import unique_names

MAX_ROW_CHARACTERS: Final = 2**29
"""Longest row; a longer one is a file without an end of its first text."""

MAX_DEPTH: Final = 64
"""Deepest nesting of a row; rows of data sets have at most five levels."""

_CHUNK_BYTES = 2**16
_CUT = 16  # a parser that meets the end of its text stops at most so many characters before it
_LOOKAHEAD = 4  # the 1 of "1e+" is no row yet
_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"[-+.0-9eE]+")
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)


class UnreadableRow(str):
    """Reason why a row of an array cannot be read, in the place of the row."""

    __slots__ = ()


def array_rows(stream: BufferedIOBase) -> Iterator[Any]:
    """Yield the rows of a JSON array in UTF-8, with or without a byte order mark.

    A row that is nested too deeply, or has a number of too many digits, becomes an `UnreadableRow`.

    Raises:
        ValueError: at the first place that is not JSON, with the reason.
    """
    text = _Text(stream)
    if text.next_character() != "[":
        raise ValueError("no array")
    text.place += 1
    if text.next_character() == "]":
        text.place += 1
    else:
        yield text.row()
        while (character := text.next_character()) == ",":
            text.place += 1
            yield text.row()
        if character != "]":
            raise ValueError(f"parse error: expected , or ] after a row, got {character or 'the end of the file'!r}")
        text.place += 1
    if character := text.next_character():
        raise ValueError(f"parse error: {character!r} after the end of the array")


class _ConstantError(ValueError):
    """NaN or Infinity, which Python writes and JSON does not have."""


class _Text:
    """The part of a file that is in memory, and the place of the parser in it."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self.text, self.place, self.is_end = "", 0, False
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()

    def next_character(self) -> str:
        """Return the next character after white space, without passing it; empty at the end of the file."""
        while True:
            match = _SPACE.match(self.text, self.place)
            assert match is not None  # it matches the empty text, too
            self.place = match.end()
            if self.place < len(self.text) or self.is_end:
                return self.text[self.place : self.place + 1]
            self._read_more()

    def row(self) -> Any:
        """Return the next row and pass it."""
        self.next_character()
        while True:
            row, end = self._decoded()
            if end is not None and (end + _LOOKAHEAD <= len(self.text) or self.is_end):
                break
            if self.is_end:
                raise ValueError("parse error: the file ends within a row")
            if len(self.text) - self.place > MAX_ROW_CHARACTERS:
                raise ValueError(f"a row of more than {MAX_ROW_CHARACTERS:,} characters")
            self._read_more()
        num_brackets = self.text.count("[", self.place, end) + self.text.count("{", self.place, end)
        self.place = end
        return UnreadableRow("nested too deeply") if num_brackets > MAX_DEPTH and _is_deep(row, MAX_DEPTH) else row

    def _decoded(self) -> tuple[Any, int | None]:
        """The row at the place and its end; None: the text ends before it."""
        try:
            return _DECODER.raw_decode(self.text, self.place)
        except json.JSONDecodeError as error:
            is_cut = error.msg.startswith("Unterminated string") or not self.text[error.pos + _CUT :].strip()
            if self.is_end or not is_cut:
                raise ValueError(f"parse error: {error.msg}") from error
            return None, None
        except _ConstantError:
            raise
        except RecursionError:
            return UnreadableRow("nested too deeply"), self._end()
        except ValueError as error:  # Python converts no more than 4,300 digits
            return UnreadableRow(str(error).partition(";")[0]), self._end()

    def _end(self) -> int | None:
        """The end of the row at the place: of its digits, or found by its brackets."""
        if number := _NUMBER.match(self.text, self.place):
            return number.end()
        depth = 0
        for match in _TOKEN.finditer(self.text, self.place):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
            if depth == 0:
                return match.end()
        return None

    def _read_more(self) -> None:
        """Read at least as much again as there is, so that a long row is parsed few times."""
        rest = self.text[self.place :]
        content = self._stream.read(max(_CHUNK_BYTES, len(rest)))
        self.is_end = not content
        try:
            self.text, self.place = rest + self._decoder.decode(content, final=self.is_end), 0
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8: {error.reason}") from error


def _refuse_constant(name: str) -> NoReturn:
    raise _ConstantError(f"{name} is not JSON: write null")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=unique_names)


def _is_deep(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deep(child, levels - 1) for child in children)
