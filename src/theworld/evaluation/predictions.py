"""Predictions: one JSONL row per item, in a file that survives a kill at any byte and refuses rows of another run."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from pydantic import ConfigDict, model_validator
from pydantic.dataclasses import dataclass

from theworld.evaluation.jsonl import RowFormat, RowWriter

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


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

    dtype: str | None = None
    """Number format of the model's weights; None: no model, or not recorded."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Library name to version."""


_FORMAT = RowFormat(Prediction, RunIdentity, "predictions")


def identity_path(path: Path) -> Path:
    """The file beside `name.jsonl` that holds its run identity: `name.run.json`.

    Raises:
        ValueError: if the name does not end in `.jsonl`.
    """
    return _FORMAT.identity_path(path)


def read_identity(path: Path) -> RunIdentity:
    """The run that the predictions at `path` belong to.

    Raises:
        FileNotFoundError: if there is no `name.run.json`.
        ValueError: if it cannot be understood.
    """
    return _FORMAT.read_identity(path)


def read_predictions(path: Path) -> list[Prediction]:
    """All rows of a file, error rows included, in the order in which they were written.

    Raises:
        ValueError: names the file and line of a row that is damaged, cut off or a repetition.
    """
    return _FORMAT.read(path)


class PredictionWriter(RowWriter[Prediction, RunIdentity]):
    """Appends predictions to a file; see `RowWriter`. Error rows are taken out when it is opened, and done again."""

    def __init__(self, path: Path, identity: RunIdentity) -> None:
        """Open or create the file.

        Raises:
            ValueError: if the file belongs to another run or to none, or holds a damaged row before its last line.
        """
        super().__init__(path, identity, _FORMAT)
