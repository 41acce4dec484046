"""When to imagine: margins of answers without the world, and accuracy against the share of world calls."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.predictions import Prediction

_SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of world calls at which the curve is written."""


def margin_of(row: Prediction) -> float | None:
    """Return the lead of the best answer over the second-best one, nats; None: the row holds no such numbers.

    Log-likelihoods of the choices: the largest minus the second largest. A generated reply: the same of its first
    token's candidates.
    """
    if row.log_likelihoods is not None:
        best = sorted(row.log_likelihoods.values(), reverse=True)
        return best[0] - best[1] if len(best) > 1 else math.inf
    margin = row.fields.get("first_margin")
    return float(margin) if isinstance(margin, int | float) else None


@dataclass(frozen=True)
class GatePoint:
    """Accuracy with a share of world calls."""

    share_called: float
    """Share of items whose answer comes from the world, those with the smallest margins."""
    threshold: float | None
    """Margin, nats, below which the world is asked; None: it is asked everywhere."""
    accuracy: float


@dataclass(frozen=True)
class Gate:
    """Accuracy against world calls, on items that were answered with the world and without it."""

    num_items: int
    num_harmed: int
    """Items right without the world, and not with it."""
    num_helped: int
    """Items right with the world, and not without it."""
    curve: list[GatePoint]
    """At 0 to 100 % of world calls."""
    best: GatePoint
    """Highest accuracy with the fewest calls. Its threshold is chosen on these very items: measure it on others."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def gate_of(plain: Sequence[Prediction], world: Sequence[Prediction]) -> Gate | None:
    """Compute the curve of a gate from the rows of the same items without the world and with it.

    Returns:
        The curve; None if no item has a margin without the world, and a score in both files.
    """
    others = {row.sample_id: row for row in world}
    items: list[tuple[float, int, int]] = []
    for row in plain:
        margin, other = margin_of(row), others.get(row.sample_id)
        if margin is None or other is None:
            continue
        values = score(row).value, score(other).value
        if None not in values:
            items.append((margin, int(values[0] or 0), int(values[1] or 0)))
    if not items:
        return None
    items.sort()
    points = _points(items)
    curve = [points[round(share * len(items))] for share in _SHARES]
    # Items of one margin go together: a threshold cannot part them.
    possible = [
        point for place, point in enumerate(points) if place in (0, len(items)) or items[place - 1][0] < items[place][0]
    ]
    return Gate(
        num_items=len(items),
        num_harmed=sum(before > after for _, before, after in items),
        num_helped=sum(after > before for _, before, after in items),
        curve=curve,
        best=max(possible, key=lambda point: (point.accuracy, -point.share_called)),
    )


def _points(items: Sequence[tuple[float, int, int]]) -> list[GatePoint]:
    """Return the accuracy if the first k items, by margin, ask the world, for k from 0 to n."""
    count = len(items)
    num_right = sum(before for _, before, _ in items)
    points = [GatePoint(0.0, items[0][0], num_right / count)]
    for place, (margin, before, after) in enumerate(items, start=1):
        num_right += after - before
        between = None if place == count else (margin + items[place][0]) / 2
        points.append(GatePoint(place / count, between, num_right / count))
    return [replace(point, threshold=_finite(point.threshold)) for point in points]


def _finite(threshold: float | None) -> float | None:
    return None if threshold is None or math.isinf(threshold) else threshold
