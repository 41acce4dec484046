"""Strict reading of saved replies from JSONL and JSON files, with the place of each row for error messages."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from theworld.evaluation.predictions import Prediction


class Record:
    """One JSON object of a file, and its place."""

    def __init__(self, content: Any, place: str) -> None:
        """Wrap an object.

        Raises:
            ValueError: if it is not an object.
        """
        if not isinstance(content, dict):
            raise ValueError(f"{place}: {_kind(content)}; expected an object, one to a row")
        self.content: dict[str, Any] = content
        self.place = place

    def text(self, key: str) -> str:
        """Return the text of a key.

        Raises:
            ValueError: if the key is missing, or if its value is not text.
        """
        value = self._value(key)
        if not isinstance(value, str):
            raise self.error(f"{key}: {_kind(value)}; expected text")
        return value

    def reply(self, key: str) -> str | None:
        """Return the reply of a key; None for `null`, no reply.

        Raises:
            ValueError: as `text`.
        """
        return None if self._value(key) is None else self.text(key)

    def error(self, problem: str) -> ValueError:
        """Make an error that names the place of this row."""
        return ValueError(f"{self.place}: {problem}")

    def _value(self, key: str) -> Any:
        if key not in self.content:
            raise self.error(f"{key}: missing; the row has {', '.join(map(repr, self.content)) or 'no keys'}")
        return self.content[key]


def read_rows(path: Path) -> Iterator[Record]:
    """Read the rows of a JSONL file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: names the line of a row that is not a JSON object; if there are no rows.
    """
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path}: no rows in it: the file is empty; expected one JSON object per line")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield Record(_parsed(line, place), place)


def read_object(path: Path) -> dict[str, Any]:
    """Read the object of a JSON file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file is not JSON, or not an object.
    """
    return Record(_parsed(path.read_bytes(), str(path)), str(path)).content


def prediction(sample_id: str, reply: str | None, answer: str, **rest: Any) -> Prediction:
    """Make a row of predictions from a saved reply; without a reply, an error row, which no share counts."""
    error = "no reply is saved" if reply is None else None
    return Prediction(
        sample_id=sample_id,
        answer=answer,
        prediction=reply,
        error=error,
        prompt_hash="",  # unknown: the prompt is not saved
        **{"question": "", **rest},
    )


def require_distinct(predictions: Mapping[str, Any], sample_id: str, record: Record) -> None:
    """Refuse an id that occurs twice in a file.

    Raises:
        ValueError: names the line of the second.
    """
    if sample_id in predictions:
        raise record.error(f"{sample_id!r} is in the file already")


def _parsed(text: bytes, place: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"{place}: nested too deeply") from None
    except ValueError as error:  # also for bytes that are not UTF-8
        raise ValueError(f"{place}: not JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
