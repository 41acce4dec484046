"""Records of saved replies: rows of JSONL and JSON files, each read strictly and named by its line."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from theworld.evaluation.predictions import Prediction


class Record:
    """One JSON object of a file, and where it stands."""

    def __init__(self, content: Any, place: str) -> None:
        """Wrap an object.

        Raises:
            ValueError: if it is no object.
        """
        if not isinstance(content, dict):
            raise ValueError(f"{place}: {_kind(content)}; expected an object, one to a row")
        self.content: dict[str, Any] = content
        self.place = place

    def text(self, key: str) -> str:
        """The text under a key.

        Raises:
            ValueError: without the key, or if there is no text under it.
        """
        value = self._value(key)
        if not isinstance(value, str):
            raise self.error(f"{key}: {_kind(value)}; expected text")
        return value

    def reply(self, key: str) -> str | None:
        """The reply under a key; None where the file says that there is none (`null`).

        Raises:
            ValueError: as `text`.
        """
        return None if self._value(key) is None else self.text(key)

    def error(self, problem: str) -> ValueError:
        """What is wrong with this row, with its place."""
        return ValueError(f"{self.place}: {problem}")

    def _value(self, key: str) -> Any:
        if key not in self.content:
            raise self.error(f"{key}: missing; the row has {', '.join(map(repr, self.content)) or 'no keys'}")
        return self.content[key]


def read_rows(path: Path) -> Iterator[Record]:
    """The rows of a JSONL file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: names the line of a row that is no JSON object; without rows.
    """
    content = path.read_bytes()
    if not content.strip():
        raise ValueError(f"{path}: no rows in it: the file is empty; expected one JSON object per line")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield Record(_parsed(line, place), place)


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no JSON, or no object.
    """
    return Record(_parsed(path.read_bytes(), str(path)), str(path)).content


def prediction(sample_id: str, reply: str | None, answer: str, **rest: Any) -> Prediction:
    """A saved reply as a row of predictions; one that is not there is an error, and so missing from every share."""
    error = "no reply is saved" if reply is None else None
    return Prediction(
        sample_id=sample_id,
        answer=answer,
        prediction=reply,
        error=error,
        prompt_hash="",  # whoever saved the reply knows its prompt
        **{"question": "", **rest},
    )


def require_distinct(predictions: Mapping[str, Any], sample_id: str, record: Record) -> None:
    """Refuse an id that a file holds twice.

    Raises:
        ValueError: with the line of the second.
    """
    if sample_id in predictions:
        raise record.error(f"{sample_id!r} is in the file already")


def _parsed(text: bytes, place: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError(f"{place}: nested too deeply") from None
    except ValueError as error:  # of json, and of bytes that are no UTF-8
        raise ValueError(f"{place}: not JSON: {error}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
