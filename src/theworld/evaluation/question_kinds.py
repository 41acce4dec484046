"""Kinds of question: the fields of a data set that name them, or else the text of questions that repeat.

Majorities, tables and partners of the audit are of one kind: a frequent answer to another question is no baseline.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from theworld.datasets.sample import Sample
from theworld.evaluation.predictions import Prediction

_NAMES: Final = ("task", "category", "kind")
"""Fields that together make up the kind of a question."""

_FIELDS: Final = ("kind", "task", "category", "meta_category")
"""Fields to group tables by, the best one first."""


def has_kind(fields: Mapping[str, Any]) -> bool:
    """Return whether the fields of a sample or of a row name its kind."""
    return any(name in fields for name in _NAMES)


def kind_field(rows: Sequence[Prediction]) -> str | None:
    """Return the field with the kind of question, if all rows have one."""
    common = set.intersection(*({*row.fields} for row in rows)) if rows else set()
    return next((name for name in _FIELDS if name in common), None)


def question_kinds(samples: Sequence[Sample]) -> list[str]:
    """Return the kind of each question: its fields, or, if no sample has any of them, its text where it repeats."""
    if any(has_kind(sample.fields) or _is_of_benchmark(sample.fields) for sample in samples):
        return [" ".join(str(sample.fields.get(name)) for name in _NAMES) for sample in samples]
    return repeated_questions([sample.prompt[-1].text for sample in samples])


def kinds_of_rows(rows: Sequence[Prediction]) -> list[str]:
    """Return the text of each question that repeats, for rows that no field and no benchmark tells apart.

    Rows with kinds are one group here: tables by kind have the numbers of each.
    """
    if any(has_kind(row.fields) or _is_of_benchmark(row.fields) for row in rows):
        return [""] * len(rows)
    return repeated_questions([row.question for row in rows])


def kind_of_row(row: Prediction) -> str:
    """Return the kind of the question of a row by the fields that name it; empty: no field does."""
    return " ".join(str(row.fields[name]) for name in _NAMES if name in row.fields)


def repeated_questions(questions: Sequence[str]) -> list[str]:
    """Return each question that is asked again, and an empty text for the others.

    If most questions are asked once, all are empty: a few repetitions are no kinds.
    """
    texts = [" ".join(question.casefold().split()) for question in questions]
    counts = Counter(texts)
    if 2 * len(counts) > len(texts):
        return [""] * len(texts)
    return [text if counts[text] > 1 else "" for text in texts]


def _is_of_benchmark(fields: Mapping[str, Any]) -> bool:
    """Return whether a public benchmark, which has numbers of its own, asks the question."""
    return "benchmark" in fields
