"""Calibration, separate from asking: accuracy by confidence, the agreement of several imagined futures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.predictions import Prediction
from theworld.evaluation.statistics import Interval, wilson_interval


@dataclass(frozen=True)
class ConfidenceBin:
    """Items of one confidence."""

    confidence: float
    num_items: int
    accuracy: float
    wilson: Interval


@dataclass(frozen=True)
class Calibration:
    """Accuracy by confidence."""

    num_items: int
    """Items with a confidence."""
    bins: list[ConfidenceBin]
    """From the lowest confidence to the highest."""
    error: float
    """Expected calibration error: the mean over items of the distance between accuracy and confidence of their bin."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def calibration_of(rows: Sequence[Prediction]) -> Calibration | None:
    """Compute the accuracy of rows by their confidence; None if none has one."""
    groups: dict[float, list[int]] = {}
    for row in rows:
        confidence = row.fields.get("confidence")
        if row.error is None and row.answer is not None and isinstance(confidence, int | float):
            groups.setdefault(round(float(confidence), 6), []).append(score(row).value or 0)
    if not groups:
        return None
    bins = [
        ConfidenceBin(confidence, len(values), sum(values) / len(values), wilson_interval(sum(values), len(values)))
        for confidence, values in sorted(groups.items())
    ]
    total = sum(bin.num_items for bin in bins)
    error = sum(bin.num_items * abs(bin.accuracy - bin.confidence) for bin in bins) / total
    return Calibration(total, bins, error)
