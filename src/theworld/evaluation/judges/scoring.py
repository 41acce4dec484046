"""Scores of SpatialRGPT-Bench from a judge's verdicts, by the rules of its own script."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from theworld.evaluation.benchmarks import spatial_rgpt
from theworld.evaluation.benchmarks.spatial_rgpt import SpatialRGPTScores, agreements, gather, in_words, is_right, off
from theworld.evaluation.judges.questions import kind_of
from theworld.evaluation.judges.readings import Lengths, Mark, Reading, read_reply
from theworld.evaluation.judges.verdicts import Cost, Verdict, cost
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score, State

_SAME_LENGTH = 0.02
"""A judge has read a true length if it gives it within this share: it rounds, and its feet may have 0.3 m."""


@dataclass(frozen=True)
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
