"""Predictions: one JSONL row per item, and the identity of the run that wrote them."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from theworld.evaluation.jsonl import RowFormat, RowWriter
from theworld.io import write_whole

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class Prediction:
    """Reply of a model to one item: its raw text, its log-likelihoods of the choices, or an error.

    Raises:
        ValueError: (pydantic's) unless there is either an error alone or a reply to score; if log-likelihoods and
            choices disagree, or the answer is not a choice; for a value that changes in JSON.
    """

    sample_id: str
    """Id of the sample, unique in a file."""

    question: str
    """Text of the question; it must agree, with answer and choices, before two files are compared."""

    answer: str | None
    """The true answer, one of the choices if there are choices; None: withheld."""

    prediction: str | None
    """The raw text of the reply; None for an error row, or if only log-likelihoods were computed."""

    error: str | None = None
    """`TypeName: message` of the exception; an error is never an answer."""

    choices: tuple[str, ...] | None = None
    """The answers to choose from; None for an open question."""

    log_likelihoods: Mapping[str, float] | None = None
    """Natural logarithm of the probability of each choice."""

    fields: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    """Values that a table may group by: task, split, scene."""

    prompt_hash: str
    """Hash of the rendered prompt."""

    world_read: int = 0
    """Clips of this item that the world model or its feature store read."""

    seconds: float | None = None
    """Wall time of this item."""

    @model_validator(mode="after")
    def _check(self) -> "Prediction":
        has_reply = self.prediction is not None or self.log_likelihoods is not None
        if has_reply == (self.error is not None):
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
    """Identity of the run that wrote a file of predictions; rows of other runs are refused."""

    settings_hash: str
    """Hash of all settings that influence predictions: prompts, decoding, world, data."""

    checkpoint: str
    """Hub id and revision, or folder and fingerprint, of the model."""

    tap_fingerprint: str | None = None
    """Fingerprint of the world tap; None with the world off."""

    dtype: str | None = None
    """Number format of the model's weights; None: no model, or not recorded."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Library name to version."""


def file_stem(arm: str) -> str:
    """Return the name of an arm's files: the slash of a hub id becomes two hyphens, as in the hub's cache."""
    return arm.replace("/", "--")


def arm_of(stem: str) -> str:
    """Return the arm whose files have this name."""
    return stem.replace("--", "/")


_FORMAT = RowFormat(Prediction, RunIdentity, "predictions")


def identity_path(path: Path) -> Path:
    """Return the path of the run identity beside `name.jsonl`: `name.run.json`.

    Raises:
        ValueError: if the name does not end in `.jsonl`.
    """
    return _FORMAT.identity_path(path)


def read_identity(path: Path) -> RunIdentity:
    """Read the identity of the run that wrote the predictions at `path`.

    Raises:
        FileNotFoundError: if there is no `name.run.json`.
        ValueError: if it cannot be parsed.
    """
    return _FORMAT.read_identity(path)


def parts_folder(path: Path) -> Path:
    """Return the folder in which several processes write their rows before the file at `path` holds them all."""
    return path.parent / "parts" / path.stem


def parts_of(path: Path) -> list[Path]:
    """Return the files in `parts_folder`: those of processes that are writing, or that were interrupted."""
    return sorted(parts_folder(path).glob("*.jsonl"))


def check_run(path: Path, identity: RunIdentity) -> None:
    """Refuse predictions of another run at `path` or in its parts; nothing is written.

    Raises:
        ValueError: if a file belongs to another run or has no identity.
    """
    for file in (path, *parts_of(path)):
        _FORMAT.check(file, identity)


def check_known(path: Path, **known: Any) -> None:
    """Refuse predictions at `path` or in its parts by what is known of this run before its weights load.

    Args:
        path: of the predictions.
        known: fields of `RunIdentity`.

    Raises:
        ValueError: if one of these fields differs.
        FileNotFoundError: if a file has no identity.
    """
    for file in (path, *parts_of(path)):
        if file.exists() and file.stat().st_size:
            _FORMAT.check(file, replace(_FORMAT.read_identity(file), **known))


def read_predictions(path: Path) -> list[Prediction]:
    """Read all rows of a file, error rows included, in the order of writing.

    Raises:
        ValueError: names the file and line of a row that is damaged, cut off or repeated.
    """
    return _FORMAT.read(path)


def write_predictions(path: Path, rows: Sequence[Prediction]) -> None:
    """Replace the rows of a file, whole or not at all; its identity stays."""
    write_whole(path, b"".join(map(_FORMAT.line, rows)))


class PredictionWriter(RowWriter[Prediction, RunIdentity]):
    """Appends predictions to a file; see `RowWriter`. Opening removes error rows, so that they are done again."""

    def __init__(self, path: Path, identity: RunIdentity) -> None:
        """Open or create the file.

        Raises:
            ValueError: if the file belongs to another run, has no identity, or is damaged before its last line.
        """
        super().__init__(path, identity, _FORMAT)
