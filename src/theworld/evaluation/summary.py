"""Summaries: one file of predictions in counts, accuracy with intervals, baselines and answers given."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from theworld.evaluation.predictions import Prediction
from theworld.evaluation.scoring import Score, Scorer, score
from theworld.evaluation.statistics import (
    Interval,
    balanced_accuracy,
    bootstrap_balanced_accuracy,
    bootstrap_mean,
    majority,
    wilson_interval,
)

_MOST_FREQUENT = 20


@dataclass(frozen=True)
class AnswerShare:
    """How often an answer is true, and how often it is given: P(yes) of the items and of the model."""

    true: float
    given: float


@dataclass(frozen=True)
class Accuracy:
    """What all scored items together say; missing items (error rows) are in none of these."""

    value: float
    wilson: Interval
    bootstrap: Interval
    balanced: float
    balanced_bootstrap: Interval
    majority_answer: str
    majority: float
    """Accuracy of always giving the most frequent true answer."""
    guessing: float | None
    """Accuracy of picking one of each item's choices at random; None if a question is open. Where the choices change
    from item to item, the most frequent answer is right far less often than this."""
    answers: dict[str, AnswerShare]
    """The most frequent true answers, 20 at most."""


@dataclass(frozen=True)
class Summary:
    """One file of predictions in numbers."""

    num_items: int
    num_right: int
    num_wrong: int
    num_unparsed: int
    """Replies that could not be read: they count as not right."""
    num_missing: int
    """Error rows: they count as nothing."""
    world_read: int
    """Clips that the world model was read for; 0 says that no prediction can depend on it."""
    accuracy: Accuracy | None
    """None if every item is missing."""
    groups: dict[str, dict[str, "Summary"]] = field(default_factory=dict)
    """Field, value of the field, and the summary of the items that have it."""

    @property
    def num_scored(self) -> int:
        """Items that are not missing."""
        return self.num_items - self.num_missing

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def summarise(
    predictions: Sequence[Prediction],
    *,
    group_by: Sequence[str] = (),
    cluster_by: str | None = None,
    scorer: Scorer = score,
) -> Summary:
    """Count, score and bound one run.

    Args:
        predictions: rows of one run.
        group_by: fields to break the numbers down by, such as task.
        cluster_by: field whose equal values mark items that are not independent, such as scene: the bootstrap draws
            them together (Wilson's interval cannot).
        scorer: turns a row into a score.

    Raises:
        ValueError: without rows, or for a row without one of these fields or without an answer.
    """
    if not predictions:
        raise ValueError("no predictions to summarise")
    return _summary(predictions, [scorer(row) for row in predictions], group_by, cluster_by)


def field_text(row: Prediction, name: str) -> str:
    """The value of a row's field as text, to group by.

    Raises:
        ValueError: if the row has no such field.
    """
    if name not in row.fields:
        raise ValueError(f"sample {row.sample_id!r} has no field {name!r}; its fields are {sorted(row.fields)}")
    return str(row.fields[name])


def _summary(
    rows: Sequence[Prediction], scores: Sequence[Score], group_by: Sequence[str], cluster_by: str | None
) -> Summary:
    states = Counter(one.state for one in scores)
    groups: dict[str, dict[str, Summary]] = {}
    for name in group_by:
        members: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            members.setdefault(field_text(row, name), []).append(index)
        groups[name] = {
            label: _summary([rows[index] for index in indices], [scores[index] for index in indices], (), cluster_by)
            for label, indices in sorted(members.items())
        }
    scored = [index for index, one in enumerate(scores) if one.value is not None]
    clusters = None if cluster_by is None else [field_text(rows[index], cluster_by) for index in scored]
    return Summary(
        num_items=len(rows),
        num_right=states["right"],
        num_wrong=states["wrong"],
        num_unparsed=states["unparsed"],
        num_missing=states["missing"],
        world_read=sum(row.world_read for row in rows),
        accuracy=(
            _accuracy([rows[index] for index in scored], [scores[index] for index in scored], clusters)
            if scored
            else None
        ),
        groups=groups,
    )


def _accuracy(rows: Sequence[Prediction], scores: Sequence[Score], clusters: Sequence[str] | None) -> Accuracy:
    chances = [1 / len(row.choices) for row in rows if row.choices]
    answers = [one.answer for one in scores]
    values = np.array([one.value for one in scores])
    true, given = Counter(answers), Counter(one.reading for one in scores)
    majority_answer, majority_share = majority(answers)
    return Accuracy(
        value=float(values.mean()),
        wilson=wilson_interval(int(values.sum()), len(values)),
        bootstrap=bootstrap_mean(values, clusters),
        balanced=balanced_accuracy(answers, values),
        balanced_bootstrap=bootstrap_balanced_accuracy(answers, values, clusters),
        majority_answer=majority_answer,
        majority=majority_share,
        guessing=float(np.mean(chances)) if len(chances) == len(rows) else None,
        answers={
            answer: AnswerShare(count / len(scores), given[answer] / len(scores))
            for answer, count in sorted(true.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_FREQUENT]
        },
    )
