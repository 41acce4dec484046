"""Verdicts: what a judge said about each reply, in a file that keeps what failed calls cost."""

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
from theworld.tables import Table, table_of

_FENCED = re.compile(r"```(?:json|JSON)?[ \t]*\n?(.*?)```", re.DOTALL)


class _Read(BaseModel):
    """Strict in its values; keys that were not asked for are passed over, as in the benchmark's script."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Mark(_Read):
    """Whether a reply is right."""

    your_mark: Annotated[int, Field(ge=0, le=1)]


class Lengths(_Read):
    """Two lengths, metres; None where a reply names none."""

    answer_in_meters: Annotated[float, Field(gt=0)]
    response_in_meters: Annotated[float, Field(ge=0)] | None


class Directions(_Read):
    """Two hours of the clock; None where a reply names none."""

    answer_direction: Annotated[int, Field(ge=1, le=12)]
    response_direction: Annotated[int, Field(ge=1, le=12)] | None


Reading: TypeAlias = Mark | Lengths | Directions

_SHAPES: dict[Kind, type[Mark] | type[Lengths] | type[Directions]] = {
    "mark": Mark,
    "length": Lengths,
    "direction": Directions,
}


def read_reply(text: str, kind: Kind) -> Reading:
    """What a judge's reply says: one JSON object, alone or in the only fenced block.

    Raises:
        ValueError: says what is wrong with it.
    """
    fenced = _FENCED.findall(text)
    try:
        return _SHAPES[kind].model_validate_json((fenced[0] if len(fenced) == 1 else text).strip())
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, reason["loc"])) or "the reply"
        raise ValueError(f"{place}: {reason['msg']}; expected {', '.join(_SHAPES[kind].model_fields)}") from None


_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class Verdict:
    """What a judge said about one reply, and what that took, in one run.

    Raises:
        ValueError: (pydantic's) unless there is either a reply that can be used or an error.
    """

    sample_id: str
    """Id of the item; a file may hold several rows of it, of which the last may be no error."""

    category: str
    """Category of the question."""

    reply: str | None
    """The judge's last reply as it is; beside an error, one that cannot be used."""

    error: str | None = None
    """`TypeName: message` of what stood in the way; an error is never a verdict."""

    num_calls: int
    """Calls that were made, those that failed included."""

    num_prompt_tokens: int = 0
    """Tokens of prompts, as the judge counts them."""

    num_completion_tokens: int = 0
    """Tokens of replies, as the judge counts them."""

    num_uncounted: int = 0
    """Replies of which the judge did not tell the tokens."""

    seconds: float
    """Wall time of the calls, pauses left out."""

    @model_validator(mode="after")
    def _check(self) -> "Verdict":
        if self.error is None and self.reply is None:
            raise ValueError(f"sample {self.sample_id!r}: expected a reply or an error")
        return self


@dataclass(config=_STRICT, frozen=True, kw_only=True)
class JudgingIdentity:
    """Which run a file of verdicts belongs to: this judge, asked in these words, about these replies."""

    judge: str
    """Endpoint and model, or checkpoint and fingerprint."""

    settings_hash: str
    """Hash of what the judge's replies depend on besides: decoding, format."""

    prompts: str
    """Fingerprint of all prompts."""

    replies: str
    """Fingerprint of the items and the replies to them."""

    versions: Mapping[str, str] = field(default_factory=dict)
    """Library name to version, for a judge on this machine."""


FORMAT: RowFormat[Verdict, JudgingIdentity] = RowFormat(Verdict, JudgingIdentity, "verdicts", keeps_errors=True)


class VerdictWriter(RowWriter[Verdict, JudgingIdentity]):
    """Appends verdicts to a file; see `RowWriter`. Error rows stay, and their items are judged again."""

    def __init__(self, path: Path, identity: JudgingIdentity) -> None:
        """Open or create the file.

        Raises:
            ValueError: if the file belongs to another run or to none, or holds a damaged row before its last line.
        """
        super().__init__(path, identity, FORMAT)


def read_verdicts(path: Path) -> list[Verdict]:
    """All rows of a file, error rows and items that were judged again included.

    Raises:
        ValueError: names the file and line of a row that is damaged, cut off, or behind a verdict on the same item.
    """
    return FORMAT.read(path)


@plain_dataclass(frozen=True)
class Cost:
    """What verdicts took, over all runs that wrote to their file."""

    num_calls: int
    num_retries: int
    """Calls beyond the first for an item in a run, and those for items that an earlier run had failed at."""
    num_prompt_tokens: int
    num_completion_tokens: int
    num_uncounted: int
    """Replies of which the judge did not tell the tokens."""
    seconds: float
    """Sum over the calls, which may have run side by side."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def cost(rows: Sequence[Verdict]) -> Cost:
    """Add up what rows took."""
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
"""A judge has read a true length if it gives it within this share: it rounds, and its feet may have 0.3 m."""


@plain_dataclass(frozen=True)
class Judged:
    """What a judge makes of saved replies."""

    scores: SpatialRGPTScores
    """By the judge's verdicts; agreement is with the readings of `theworld score`."""
    num_without_verdict: int
    """Replies that the judge gave no verdict on: they are missing, and asked about again by the next run."""
    num_misread: int
    """Verdicts on lengths and directions in which the true answer is another than the one that is written."""
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
            note += f" The tokens of {cost.num_uncounted:,} replies were not told."
        groups = self.scores.tables(agreement_with="the readings of theworld score")
        return [*groups, table_of("The judge", tuple(cells), [cells], note)]


def evaluate(rows: Sequence[Prediction], verdicts: Sequence[Verdict]) -> Judged:
    """Score rows by the verdicts on them, and hold both against each other.

    Args:
        rows: with the field `category`.
        verdicts: of one file, error rows included; an item without a verdict is missing.

    Raises:
        ValueError: without rows; for a verdict that cannot be read.
    """
    readings = {
        one.sample_id: read_reply(one.reply or "", kind_of(one.category)) for one in verdicts if one.error is None
    }
    by_rule = [spatial_rgpt.score(row) for row in rows]
    scored = [_scored(row, readings.get(row.sample_id), true.answer) for row, true in zip(rows, by_rule, strict=True)]
    judged_right = {one.sample_id: one.state == "right" for one, _ in scored if one.state != "missing"}
    return Judged(
        scores=gather(rows, scored, agreements(rows, by_rule, judged_right), with_predicates=False),
        num_without_verdict=sum(row.prediction is not None and row.sample_id not in readings for row in rows),
        num_misread=sum(_is_misread(row, readings.get(row.sample_id)) for row in rows),
        cost=cost(verdicts),
    )


def _scored(row: Prediction, reading: Reading | None, answer: str) -> tuple[Score, float | None]:
    """The score of a row and how far its reply is off; lengths and hours are those that the judge read."""
    category = str(row.fields["category"])
    if reading is None:
        return Score(row.sample_id, "missing", None, answer), None
    if isinstance(reading, Mark):
        return Score(
            row.sample_id, "right" if reading.your_mark else "wrong", f"mark {reading.your_mark}", answer
        ), None
    true, said = _values(reading)
    answer = in_words(true, category)
    if said is None:
        return Score(row.sample_id, "unparsed", None, answer), None
    state: State = "right" if is_right(said, true, category) else "wrong"
    return Score(row.sample_id, state, in_words(said, category), answer), off(said, true, category)


def _is_misread(row: Prediction, reading: Reading | None) -> bool:
    if reading is None or isinstance(reading, Mark):
        return False
    read, _ = _values(reading)
    written = spatial_rgpt.true_value(row)
    return not math.isclose(read, written, rel_tol=_SAME_LENGTH if isinstance(reading, Lengths) else 0.0)


def _values(reading: Reading) -> tuple[float, float | None]:
    """The true value and the one of the reply: metres, or hours."""
    if isinstance(reading, Lengths):
        return reading.answer_in_meters, reading.response_in_meters
    if isinstance(reading, Mark):
        raise TypeError("a mark holds no values")
    said = reading.response_direction
    return float(reading.answer_direction), None if said is None else float(said)
