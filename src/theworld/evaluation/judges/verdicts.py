"""Verdicts of a judge on each reply, their file, which records failed calls too, and the scores by them."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from theworld.evaluation.benchmarks import spatial_rgpt
from theworld.evaluation.benchmarks.spatial_rgpt import SpatialRGPTScores, agreements, gather, in_words, is_right, off
from theworld.evaluation.jsonl import RowFormat, RowWriter
from theworld.evaluation.judges.prompts import Kind, kind_of
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score, State
from theworld.io import unique_names
from theworld.tables import Table, table_of

_FENCED = re.compile(r"```(?:json|JSON)?[ \t]*\n?(.*?)```", re.DOTALL)


class _Read(BaseModel):
    """Base class: strict values; unknown keys are ignored, as in the benchmark's script."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Mark(_Read):
    """Judgement of a reply: 1 for right, 0 for wrong."""

    your_mark: Annotated[int, Field(ge=0, le=1)]


class Lengths(_Read):
    """Two lengths, metres; None: the reply names no length."""

    answer_in_meters: Annotated[float, Field(gt=0)]
    response_in_meters: Annotated[float, Field(ge=0)] | None


class Directions(_Read):
    """Two hours of the clock; None: the reply names no direction."""

    answer_direction: Annotated[int, Field(ge=1, le=12)]
    response_direction: Annotated[int, Field(ge=1, le=12)] | None


Reading: TypeAlias = Mark | Lengths | Directions

_SHAPES: dict[Kind, type[Mark] | type[Lengths] | type[Directions]] = {
    "mark": Mark,
    "length": Lengths,
    "direction": Directions,
}


def read_reply(text: str, kind: Kind) -> Reading:
    """Read a judge's reply: one JSON object, alone or in the only fenced block.

    Raises:
        ValueError: names the problem.
    """
    fenced = _FENCED.findall(text)
    content = (fenced[0] if len(fenced) == 1 else text).strip()
    try:
        reading = _SHAPES[kind].model_validate_json(content)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, reason["loc"])) or "the reply"
        raise ValueError(f"{place}: {reason['msg']}; expected {', '.join(_SHAPES[kind].model_fields)}") from None
    try:
        json.loads(content, object_pairs_hook=unique_names)
    except ValueError as error:  # of two values of one name, neither is the judge's
        raise ValueError(f"the reply: {error}") from None
    return reading


_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class Verdict:
    """Verdict of a judge on one reply in one run, with its cost.

    Raises:
        ValueError: (pydantic's) unless there is a usable reply or an error.
    """

    sample_id: str
    """Id of the item; a file may have several rows of it, and only the last may be a verdict."""

    category: str
    """Category of the question."""

    reply: str | None
    """The judge's last reply, unchanged; with an error, an unusable one."""

    error: str | None = None
    """`TypeName: message` of the error; an error is never a verdict."""

    num_calls: int
    """Number of calls, failed ones included."""

    num_prompt_tokens: int = 0
    """Tokens of prompts, counted by the judge."""

    num_completion_tokens: int = 0
    """Tokens of replies, counted by the judge."""

    num_uncounted: int = 0
    """Replies of which the judge did not tell the tokens."""

    seconds: float
    """Wall time of the calls without pauses."""

    @model_validator(mode="after")
    def _check(self) -> "Verdict":
        if self.error is None and self.reply is None:
            raise ValueError(f"sample {self.sample_id!r}: expected a reply or an error")
        return self


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class JudgingIdentity:
    """Identity of a judging: the judge, its prompts, and the replies."""

    judge: str
    """Endpoint and model, or checkpoint and fingerprint."""

    settings_hash: str
    """Hash of other settings that influence the judge's replies: decoding, format."""

    prompts: str
    """Fingerprint of all prompts."""

    replies: str
    """Fingerprint of the items and the replies to them."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Library name to version, for a local judge."""


FORMAT: RowFormat[Verdict, JudgingIdentity] = RowFormat(Verdict, JudgingIdentity, "verdicts", keeps_errors=True)


class VerdictWriter(RowWriter[Verdict, JudgingIdentity]):
    """Appends verdicts to a file; see `RowWriter`. Error rows stay, and their items are judged again."""

    def __init__(self, path: Path, identity: JudgingIdentity) -> None:
        """Open or create the file.

        Raises:
            ValueError: if the file belongs to another run, has no identity, or is damaged before its last line.
        """
        super().__init__(path, identity, FORMAT)


def read_verdicts(path: Path) -> list[Verdict]:
    """Read all rows of a file, including error rows and repeated judgements.

    Raises:
        ValueError: names the file and line of a row that is damaged, cut off, or after a verdict on the same item.
    """
    return FORMAT.read(path)


@plain_dataclass(frozen=True)
class Cost:
    """Cost of verdicts, over all runs that wrote to their file."""

    num_calls: int
    num_retries: int
    """Calls after the first for an item, in this run or in later ones."""
    num_prompt_tokens: int
    num_completion_tokens: int
    num_uncounted: int
    """Replies of which the judge did not tell the tokens."""
    seconds: float
    """Sum over the calls, which may have run concurrently."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def cost(rows: Sequence[Verdict]) -> Cost:
    """Add up the cost of rows."""
    num_calls = sum(row.num_calls for row in rows)
    return Cost(
        num_calls=num_calls,
        num_retries=num_calls - len({row.sample_id for row in rows if row.num_calls}),
        num_prompt_tokens=sum(row.num_prompt_tokens for row in rows),
        num_completion_tokens=sum(row.num_completion_tokens for row in rows),
        num_uncounted=sum(row.num_uncounted for row in rows),
        seconds=sum(row.seconds for row in rows),
    )


_SAME_LENGTH = 0.02
"""Tolerance for a judge that repeats the true length: it rounds, and may take a foot as 0.3 m."""


@plain_dataclass(frozen=True)
class Judged:
    """Scores of saved replies by the verdicts of a judge."""

    scores: SpatialRGPTScores
    """Scores by the verdicts; agreement is with the readings of `theworld score`."""
    num_without_verdict: int
    """Replies without a verdict: they are missing, and the next run judges them again."""
    num_misread: int
    """Verdicts on lengths and directions in which the judge misread the true answer."""
    cost: Cost

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **self.scores.to_dict(),
            "num_without_verdict": self.num_without_verdict,
            "num_misread": self.num_misread,
            "cost": asdict(self.cost),
        }

    def tables(self, judge: str) -> list[Table]:
        """Show groups by the judge's verdicts, its agreement with the readings, and its cost.

        Args:
            judge: name of the judge.
        """
        cost = self.cost
        cells = {
            "judge": judge,
            "calls": f"{cost.num_calls:,}",
            "of them retries": f"{cost.num_retries:,}",
            "prompt tokens": f"{cost.num_prompt_tokens:,}",
            "completion tokens": f"{cost.num_completion_tokens:,}",
            "seconds in calls": f"{cost.seconds:,.1f}",
            "without a verdict": f"{self.num_without_verdict:,}",
            "true answer misread": f"{self.num_misread:,}",
        }
        note = (
            "Over all runs into this folder. Replies without a verdict are missing; the same command asks about them"
            " again."
        )
        if cost.num_uncounted:
            note += f" The judge did not count the tokens of {cost.num_uncounted:,} replies."
        groups = self.scores.tables(agreement_with="the readings of theworld score")
        return [*groups, table_of("The judge", tuple(cells), [cells], note)]


def evaluate(rows: Sequence[Prediction], verdicts: Sequence[Verdict]) -> Judged:
    """Score rows by the verdicts on them, and compare the verdicts with the readings.

    Args:
        rows: with the field `category`.
        verdicts: of one file, error rows included; an item without a verdict is missing.

    Raises:
        ValueError: without rows; for an unreadable verdict.
    """
    readings = {
        item.sample_id: read_reply(item.reply or "", kind_of(item.category)) for item in verdicts if item.error is None
    }
    by_rule = [spatial_rgpt.score(row) for row in rows]
    scored = [_scored(row, readings.get(row.sample_id), true.answer) for row, true in zip(rows, by_rule, strict=True)]
    judged_right = {item.sample_id: item.state == "right" for item, _ in scored if item.state != "missing"}
    return Judged(
        scores=gather(rows, scored, agreements(rows, by_rule, judged_right), with_predicates=False),
        num_without_verdict=sum(row.prediction is not None and row.sample_id not in readings for row in rows),
        num_misread=sum(_is_misread(row, readings.get(row.sample_id)) for row in rows),
        cost=cost(verdicts),
    )


def _scored(row: Prediction, reading: Reading | None, answer: str) -> tuple[Score, float | None]:
    """Score a row by its verdict, and return the error of its reply; lengths and hours are from the judge."""
    category = str(row.fields["category"])
    if reading is None:
        return Score(row.sample_id, "missing", None, answer), None
    if isinstance(reading, Mark):
        return Score(
            row.sample_id, "right" if reading.your_mark else "wrong", f"mark {reading.your_mark}", answer
        ), None
    true, value = _values(reading)
    answer = in_words(true, category)
    if value is None:
        return Score(row.sample_id, "unparsed", None, answer), None
    state: State = "right" if is_right(value, true, category) else "wrong"
    return Score(row.sample_id, state, in_words(value, category), answer), off(value, true, category)


def _is_misread(row: Prediction, reading: Reading | None) -> bool:
    if reading is None or isinstance(reading, Mark):
        return False
    read, _ = _values(reading)
    written = spatial_rgpt.true_value(row)
    return not math.isclose(read, written, rel_tol=_SAME_LENGTH if isinstance(reading, Lengths) else 0.0)


def _values(reading: Reading) -> tuple[float, float | None]:
    """Return the true value and the value of the reply: metres, or hours."""
    if isinstance(reading, Lengths):
        return reading.answer_in_meters, reading.response_in_meters
    if isinstance(reading, Mark):
        raise TypeError("a mark holds no values")
    hour = reading.response_direction
    return float(reading.answer_direction), None if hour is None else float(hour)
