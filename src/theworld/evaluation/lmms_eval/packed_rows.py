"""Conversion of prediction rows to and from plain values of lmms-eval; separate because every task uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from theworld.evaluation.predictions import Prediction


def packed(row: Prediction, *metrics: str) -> dict[str, dict[str, Any]]:
    """Return a row in the format of `process_results`: the same plain values under each of its metrics."""
    return dict.fromkeys(metrics, asdict(row))


def unpacked(items: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """Return the rows that lmms-eval collected for one metric."""
    return [Prediction(**item) for item in items]


def only_reply(results: Sequence[str]) -> str:
    """Return the reply to an item.

    Raises:
        ValueError: if there are several.
    """
    if len(results) != 1:
        raise ValueError(f"{len(results)} replies to one item: expected one; leave --repeats at 1")
    return results[0]
