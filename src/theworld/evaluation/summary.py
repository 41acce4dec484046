"""Summary of a file of predictions: counts, accuracy with intervals, baselines and shares of answers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np

from theworld.evaluation.predictions import Prediction
from theworld.evaluation.question_kinds import kinds_of_rows
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

BY_QUESTION: Final = "by question"
"""In the place of a majority answer: each question has its own."""


@dataclass(frozen=True)
class AnswerShare:
    """Share of items with this true answer, and share of replies that give it."""

    true: float
    given: float


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over all scored items; missing items (error rows) are left out."""

    value: float
    wilson: Interval
    bootstrap: Interval
    balanced: float
    balanced_bootstrap: Interval
    majority_answer: str
    majority: float
    """Accuracy of a constant reply, the most frequent true answer."""
    guessing: float | None
    """Expected accuracy of a random choice among each item's choices; None if a question is open. If the choices
    change from item to item, the most frequent answer is right far less often than this."""
    answers: dict[str, AnswerShare]
    """The most frequent true answers, at most 20."""


@dataclass(frozen=True)
class Summary:
    """Numbers of one file of predictions."""

    num_items: int
    num_right: int
    num_wrong: int
    num_unparsed: int
    """Replies that cannot be read: they count as not right."""
    num_missing: int
    """Error rows: they are not counted."""
    world_read: int
    """Clips that the world model read; if 0, no prediction depends on it."""
    accuracy: Accuracy | None
    """None if every item is missing."""
    groups: dict[str, dict[str, "Summary"]] = field(default_factory=dict)
    """By field and value of the field, the summary of its items."""

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
    """Count and score the rows of one run.

    Args:
        predictions: rows of one run.
        group_by: fields to break the numbers down by, such as task.
        cluster_by: field whose equal values mark dependent items, such as scene: the bootstrap resamples them
            together (Wilson's interval cannot).
        scorer: scores a row.

    Raises:
        ValueError: without rows, or for a row without one of these fields or without an answer.
    """
    if not predictions:
        raise ValueError("no predictions to summarise")
    return _summary(predictions, [scorer(row) for row in predictions], group_by, cluster_by)


def field_text(row: Prediction, name: str) -> str:
    """Return the value of a row's field as text, to group by.

    Raises:
        ValueError: if the row has no such field.
    """
    if name == "question":
        return row.question
    if name not in row.fields:
        raise ValueError(f"sample {row.sample_id!r} has no field {name!r}; its fields are {sorted(row.fields)}")
    return str(row.fields[name])


def _summary(
    rows: Sequence[Prediction], scores: Sequence[Score], group_by: Sequence[str], cluster_by: str | None
) -> Summary:
    states = Counter(item.state for item in scores)
    groups: dict[str, dict[str, Summary]] = {}
    for name in group_by:
        members: dict[str, list[int]] = {}
        for index, row in enumerate(rows):
            members.setdefault(field_text(row, name), []).append(index)
        groups[name] = {
            label: _summary([rows[index] for index in indices], [scores[index] for index in indices], (), cluster_by)
            for label, indices in sorted(members.items())
        }
    scored = [index for index, item in enumerate(scores) if item.value is not None]
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
    answers = [item.answer for item in scores]
    values = np.array([item.value for item in scores])
    true, replies = Counter(answers), Counter(item.reading for item in scores)
    majority_answer, majority_share = _majority(rows, answers)
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
            answer: AnswerShare(count / len(scores), replies[answer] / len(scores))
            for answer, count in sorted(true.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_FREQUENT]
        },
    )


def _majority(rows: Sequence[Prediction], answers: Sequence[str]) -> tuple[str, float]:
    """The most frequent answer and its share; of rows without kinds, those of each question that repeats."""
    questions = kinds_of_rows(rows)
    if len(set(questions)) == 1:
        return majority(answers)
    counts: dict[str, Counter[str]] = {}
    for question, answer in zip(questions, answers, strict=True):
        counts.setdefault(question, Counter())[answer] += 1
    return BY_QUESTION, sum(max(of_question.values()) for of_question in counts.values()) / len(answers)
