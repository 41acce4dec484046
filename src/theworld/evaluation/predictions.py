"""Predictions: one JSONL row per item, in a file that survives a kill at any byte and refuses rows of another run."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from theworld.files import write_whole

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

logger = logging.getLogger(__name__)


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class Prediction:
    """What a model said about one item: its raw text, its log-likelihoods of the choices, or the error it met.

    Raises:
        ValueError: (pydantic's) unless there is either an error alone or something to score; if log-likelihoods and
            choices disagree, or the answer is no choice; for a value that JSON would not give back unchanged.
    """

    sample_id: str
    """Id of the sample, unique in a file."""

    question: str
    """Text of the question: what must agree, with answer and choices, before two files are compared."""

    answer: str | None
    """The true answer, one of the choices where there are choices; None where it is withheld."""

    prediction: str | None
    """The raw text of the reply; None for an error row, or if only log-likelihoods were computed."""

    error: str | None = None
    """`TypeName: message` of the exception that stood in the way; an error is never an answer."""

    choices: tuple[str, ...] | None = None
    """The answers to choose from; None for an open question."""

    log_likelihoods: Mapping[str, float] | None = None
    """Natural logarithm of the probability of each choice."""

    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Whatever a table may group by: task, split, scene."""

    prompt_hash: str
    """Hash of the rendered prompt: other prompts, other hash."""

    world_read: int = 0
    """Clips that the world model, or its feature store, was read for on behalf of this item."""

    seconds: float | None = None
    """Wall time of this item."""

    @model_validator(mode="after")
    def _check(self) -> "Prediction":
        said_something = self.prediction is not None or self.log_likelihoods is not None
        if said_something == (self.error is not None):
            raise ValueError(
                f"sample {self.sample_id!r}: expected either an error alone, or a prediction or log-likelihoods"
                " without an error"
            )
        if self.log_likelihoods is not None and set(self.log_likelihoods) != set(self.choices or ()):
            raise ValueError(
                f"sample {self.sample_id!r}: log-likelihoods of {sorted(self.log_likelihoods)}, choices {self.choices}"
            )
        if self.choices is not None and self.answer is not None and self.answer not in self.choices:
            raise ValueError(f"sample {self.sample_id!r}: the answer {self.answer!r} is none of {self.choices}")
        return self


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class RunIdentity:
    """Which run a file of predictions belongs to; rows of any other run are refused."""

    settings_hash: str
    """Hash of all settings that the predictions depend on: prompts, decoding, world, data."""

    checkpoint: str
    """Hub id and revision, or folder and fingerprint, of the model."""

    tap_fingerprint: str | None = None
    """Fingerprint of the world tap; None with the world off."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Library name to version."""


_ROW: TypeAdapter[Prediction] = TypeAdapter(Prediction)
_IDENTITY: TypeAdapter[RunIdentity] = TypeAdapter(RunIdentity)


def error_text(error: BaseException) -> str:
    """`TypeName: message`, the form in which an exception enters a row."""
    return f"{type(error).__name__}: {error}"


def identity_path(path: Path) -> Path:
    """The file beside `name.jsonl` that holds its run identity: `name.run.json`.

    Raises:
        ValueError: if the name does not end in `.jsonl`.
    """
    path = Path(path)
    if path.suffix != ".jsonl":
        raise ValueError(f"{path}: files of predictions are named *.jsonl")
    return path.with_suffix(".run.json")


def read_identity(path: Path) -> RunIdentity:
    """The run that the predictions at `path` belong to.

    Raises:
        FileNotFoundError: if there is no `name.run.json`.
        ValueError: if it cannot be understood.
    """
    file = identity_path(path)
    return _validated(_IDENTITY.validate_json, file.read_bytes(), str(file))


def read_predictions(path: Path) -> list[Prediction]:
    """All rows of a file, error rows included, in the order in which they were written.

    Raises:
        ValueError: names the file and line of a row that is damaged, cut off or a repetition.
    """
    rows, torn = _read(Path(path))
    if torn:
        raise ValueError(
            f"{path}, line {len(rows) + 1}: cut off in the middle: the run is still writing, or was killed;"
            " start it again, it goes on where it stopped"
        )
    return rows


class PredictionWriter:
    """Appends rows to a file of predictions; opened again after any kill, it goes on where the file ends.

    Opening cuts off a torn last line and takes out the error rows, so that both are done again. Each row is handed to
    the operating system at once: a killed process loses at most the row it was writing.

    ```
    file     {row a}\\n{row b: error}\\n{row c}\\n{"sample_id": "d", "que
    opened   {row a}\\n{row c}\\n                                          done() = {a, c}
    ```
    """

    def __init__(self, path: Path, identity: RunIdentity) -> None:
        """Open or create the file.

        Raises:
            ValueError: if the file belongs to another run or to none, or holds a damaged row before its last line.
        """
        self.path = Path(path)
        _claim(self.path, identity)
        rows, num_torn_bytes = _read(self.path) if self.path.exists() else ([], 0)
        kept = [row for row in rows if row.error is None]
        if num_torn_bytes or len(kept) < len(rows):
            logger.warning(
                "%s: %d error rows and a torn line of %d bytes are done again",
                self.path,
                len(rows) - len(kept),
                num_torn_bytes,
            )
            write_whole(self.path, b"".join(map(_line, kept)))
        self._done = {row.sample_id for row in kept}
        self._stream = self.path.open("ab")
        self._written = self._place()

    def done(self) -> frozenset[str]:
        """Ids of the rows in the file."""
        return frozenset(self._done)

    def append(self, predictions: Iterable[Prediction]) -> None:
        """Write rows at the end of the file.

        Raises:
            ValueError: if an id is in the file already.
            RuntimeError: if another process has written to the file since.
        """
        for row in predictions:
            if row.sample_id in self._done:
                raise ValueError(f"{self.path}: sample {row.sample_id!r} is in the file already")
            if self._place() != self._written:
                raise RuntimeError(
                    f"{self.path}: another process writes to this file; end one of the two and start again"
                )
            self._done.add(row.sample_id)
            self._stream.write(_line(row))
            self._stream.flush()
            self._written = self._place()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def __enter__(self) -> "PredictionWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _place(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_ino, status.st_size


def _line(row: Prediction) -> bytes:
    return _ROW.dump_json(row) + b"\n"


def _read(path: Path) -> tuple[list[Prediction], int]:
    """Rows of the whole lines, and the number of bytes after the last line end."""
    *lines, tail = path.read_bytes().split(b"\n")
    rows: list[Prediction] = []
    line_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        row = _validated(_ROW.validate_json, line, f"{path}, line {number}")
        if row.sample_id in line_of:
            raise ValueError(
                f"{path}, line {number}: sample {row.sample_id!r} is in line {line_of[row.sample_id]} already"
            )
        line_of[row.sample_id] = number
        rows.append(row)
    return rows, len(tail)


def _claim(path: Path, identity: RunIdentity) -> None:
    """Write the identity beside a new file; refuse a file of another run."""
    beside = identity_path(path)
    if not beside.exists():
        if path.exists() and path.stat().st_size:
            raise ValueError(f"{path} holds predictions, but no {beside.name} says of which run; choose another name")
        write_whole(beside, json.dumps(_IDENTITY.dump_python(identity), indent=2, sort_keys=True) + "\n")
        return
    found = read_identity(path)
    names = [one.name for one in fields(RunIdentity)]
    differing = [name for name in names if getattr(found, name) != getattr(identity, name)]
    if differing:
        changes = "; ".join(
            f"{name}: {getattr(found, name)!r} there, {getattr(identity, name)!r} here" for name in differing
        )
        raise ValueError(f"{path} belongs to another run ({changes}); choose another file, or remove both")


def _validated(validate: Callable[[bytes], Any], text: bytes, place: str) -> Any:
    try:
        return validate(text)
    except ValidationError as error:
        reasons = "; ".join(
            f"{'.'.join(map(str, reason['loc'])) or 'row'}: {reason['msg']}" for reason in error.errors()[:3]
        )
        raise ValueError(f"{place}: {reasons}") from error
