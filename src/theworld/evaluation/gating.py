"""When to imagine: margins of answers without the world, and accuracy against the share of world calls."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

import numpy as np
from pydantic import BeforeValidator

from theworld.config.thresholds import ALWAYS, asks_world, lead_of
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.gate_features import LARGEST_MARGIN, feature_table, fitted
from theworld.evaluation.predictions import Prediction

_SHARES: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Shares of world calls at which the curve is written."""

NUM_FOLDS: Final = 5
_SEED: Final = 0
LEAST_ITEMS: Final = 40
"""Fewest items for a choice on some folds and its measurement on another."""

# Earlier results wrote null for "always", since JSON has no infinity.
_Threshold = Annotated[float | Literal["always"], BeforeValidator(lambda value: ALWAYS if value is None else value)]


_Pair: TypeAlias = tuple[Sequence[Prediction], Sequence[Prediction]]
"""Rows of the same items without the world, and with it."""


def margin_of(row: Prediction) -> float | None:
    """Return the lead of the best answer over the second-best one, nats; None: the row holds no such numbers.

    Log-likelihoods of the choices: the largest minus the second largest. A generated reply: the same of its first
    token's candidates.
    """
    if row.log_likelihoods is not None:
        return lead_of(row.log_likelihoods.values())
    margin = row.fields.get("first_margin")
    return float(margin) if isinstance(margin, int | float) else None


@dataclass(frozen=True)
class GatePoint:
    """Accuracy with a share of world calls."""

    share_called: float
    """Share of items whose answer comes from the world."""
    threshold: _Threshold
    """Of the margin: nats, below which the world is asked, 0: never. Of a learnt gate: the probability of help above
    which it is asked, 1: never. "always": it is asked everywhere."""
    accuracy: float
    share_harmed: float | None = None
    """Share of all items that were right before the world was asked, and are wrong now; None: in earlier results."""


@dataclass(frozen=True)
class HeldOut:
    """A gate on items that had no part in its choice: threshold (and weights) come from the other folds."""

    share_called: float
    accuracy: float
    share_harmed: float


@dataclass(frozen=True)
class LearntGate:
    """A logistic regression of "the world turns a wrong answer into a right one" on features known before it is asked.

    Each item is ranked by weights that were fitted on the other folds.
    """

    curve: list[GatePoint]
    best: GatePoint
    held_out: HeldOut
    weights: dict[str, float]
    """Fitted on all items; of features with mean 0 and standard deviation 1, log-odds."""


@dataclass(frozen=True)
class Gate:
    """Accuracy against world calls, on items that were answered with the world and without it."""

    num_items: int
    num_harmed: int
    """Items right without the world, and not with it."""
    num_helped: int
    """Items right with the world, and not without it."""
    curve: list[GatePoint]
    """At 0 to 100 % of world calls, the items with the smallest margins first."""
    best: GatePoint
    """Highest accuracy with the fewest calls. Its threshold is chosen on these very items: measure it on others."""
    held_out: HeldOut | None = None
    """The same choice made on other folds; None: too few items."""
    learnt: LearntGate | None = None
    """None: too few items, or none that the world helps."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Items:
    """Right (1) or wrong (0) without the world and with it, in order of the rows."""

    rows: list[Prediction]
    margins: np.ndarray
    before: np.ndarray
    after: np.ndarray
    folds: np.ndarray


def gate_of(plain: Sequence[Prediction], world: Sequence[Prediction], cluster_by: str | None = None) -> Gate | None:
    """Compute the curves of gates from the rows of the same items without the world and with it.

    Args:
        plain: rows without the world.
        world: rows with it.
        cluster_by: field of items that depend on each other, which stay in one fold; None: all are independent.

    Returns:
        The curves; None if no item has a margin without the world, and a score in both files.
    """
    items = _items(plain, world, cluster_by)
    if items is None:
        return None
    curve, best = _curve(-items.margins, items, _between_margins)
    is_large = len(items.rows) >= LEAST_ITEMS and len(np.unique(items.folds)) == NUM_FOLDS
    helped = items.after > items.before
    return Gate(
        num_items=len(items.rows),
        num_harmed=int((items.after < items.before).sum()),
        num_helped=int(helped.sum()),
        curve=curve,
        best=best,
        held_out=_held_out(items, [-items.margins] * NUM_FOLDS) if is_large else None,
        learnt=_learnt(items, helped) if is_large and 0 < helped.sum() < len(helped) else None,
    )


def transferred(chosen: _Pair, measured: _Pair, cluster_by: str | None = None) -> tuple[HeldOut, HeldOut]:
    """Choose both gates on some items and measure them on others, such as validation and test questions.

    Args:
        chosen: rows without the world, and with it, on which weights are fitted and thresholds chosen.
        measured: rows of other items, on which the gates are measured.
        cluster_by: as for `gate_of`.

    Returns:
        The outcomes of the margin and of the learnt gate.

    Raises:
        ValueError: if there are no items to choose or to measure on, or they have other features.
    """
    first, second = _items(*chosen, cluster_by), _items(*measured, cluster_by)
    if first is None or second is None:
        raise ValueError("no item has a margin without the world and a score in both files: answer the same items")
    gate = gate_of(*chosen, cluster_by)
    if gate is None or gate.learnt is None:
        raise ValueError(f"{len(first.rows)} items to choose on: expected {LEAST_ITEMS} or more, some of them helped")
    (names, table), (others, measured_table) = (feature_table(items.rows, items.margins) for items in (first, second))
    if names != others:
        raise ValueError(f"features {', '.join(names)}, but the items to measure have {', '.join(others)}")
    margin, probability = gate.best.threshold, gate.learnt.best.threshold
    ranks = fitted(table, first.after > first.before)(measured_table)
    by_margin = np.array([asks_world(value, margin) for value in second.margins.tolist()])
    return _outcome(by_margin, second), _outcome(ranks > (-1 if probability == ALWAYS else probability), second)


def _items(plain: Sequence[Prediction], world: Sequence[Prediction], cluster_by: str | None) -> _Items | None:
    others = {row.sample_id: row for row in world}
    kept: list[tuple[Prediction, float, int, int]] = []
    for row in plain:
        margin, other = margin_of(row), others.get(row.sample_id)
        if margin is None or other is None:
            continue
        values = score(row).value, score(other).value
        if None not in values:
            kept.append((row, margin, int(values[0] or 0), int(values[1] or 0)))
    if not kept:
        return None
    rows, margins, before, after = zip(*kept, strict=True)
    names = [row.sample_id if cluster_by is None else row.fields[cluster_by] for row in rows]
    _, groups = np.unique([str(name) for name in names], return_inverse=True)
    drawn = np.random.default_rng(_SEED).permutation(int(groups.max()) + 1) % NUM_FOLDS
    finite = np.minimum(margins, LARGEST_MARGIN)  # a single choice has no second one
    return _Items(list(rows), finite, np.array(before), np.array(after), drawn[groups])


def _learnt(items: _Items, helped: np.ndarray) -> LearntGate:
    """Fit the gate on all folds but one, five times; rank the items of each fold by the weights of the others."""
    names, table = feature_table(items.rows, items.margins)
    gates = [fitted(table[items.folds != fold], helped[items.folds != fold]) for fold in range(NUM_FOLDS)]
    probabilities = [gate(table) for gate in gates]
    ranks = np.choose(items.folds, probabilities)
    curve, best = _curve(ranks, items, _between_probabilities)
    weights = dict(zip(names, fitted(table, helped).weights.tolist(), strict=True))
    return LearntGate(curve, best, _held_out(items, probabilities), weights)


def _curve(ranks: np.ndarray, items: _Items, between: Any) -> tuple[list[GatePoint], GatePoint]:
    """Return the curve, and its best point, if the items with the largest ranks ask the world first."""
    count = len(ranks)
    order, points = _points(ranks, items, between)
    # Items of one rank go together: a threshold cannot part them.
    possible = [
        point
        for place, point in enumerate(points)
        if place in (0, count) or ranks[order[place - 1]] > ranks[order[place]]
    ]
    best = max(possible, key=lambda point: (point.accuracy, -point.share_called))
    return [points[round(share * count)] for share in _SHARES], best


def _points(ranks: np.ndarray, items: _Items, between: Any) -> tuple[np.ndarray, list[GatePoint]]:
    """Return the order of the items by rank, and the outcome if the first k ask the world, for k from 0 to n."""
    order = np.argsort(-ranks, kind="stable")
    change = (items.after - items.before)[order]
    num_right = items.before.sum() + np.concatenate([[0], change.cumsum()])
    num_harmed = np.concatenate([[0], (change < 0).cumsum()])
    count = len(order)
    thresholds = between(ranks[order])
    points = [
        GatePoint(place / count, threshold, int(num_right[place]) / count, int(num_harmed[place]) / count)
        for place, threshold in enumerate(thresholds)
    ]
    return order, points


def _between_margins(ranks: np.ndarray) -> Iterator[float | Literal["always"]]:
    """Yield the thresholds that part the first k items from the rest; finite ones, since JSON has no infinity."""
    yield 0.0
    for margin, following in zip(-ranks[:-1], -ranks[1:], strict=True):
        yield float(margin + 1 if math.isinf(following) else (margin + following) / 2)
    yield ALWAYS


def _between_probabilities(ranks: np.ndarray) -> Iterator[float | Literal["always"]]:
    yield 1.0
    yield from ((ranks[:-1] + ranks[1:]) / 2).tolist()
    yield ALWAYS


def _held_out(items: _Items, ranks_by_fold: Sequence[np.ndarray]) -> HeldOut:
    """Choose the best threshold on all folds but one, apply it to that one, and pool the outcomes.

    Args:
        items: of all folds.
        ranks_by_fold: ranks of all items by a gate that has not seen the fold, for each fold.
    """
    called = np.zeros(len(items.rows), dtype=bool)
    for fold, ranks in enumerate(ranks_by_fold):
        others = items.folds != fold
        called |= ~others & (ranks >= _cut(ranks[others], (items.after - items.before)[others]))
    return _outcome(called, items)


def _outcome(called: np.ndarray, items: _Items) -> HeldOut:
    right = np.where(called, items.after, items.before)
    return HeldOut(float(called.mean()), float(right.mean()), float((right < items.before).mean()))


def _cut(ranks: np.ndarray, change: np.ndarray) -> float:
    """Return the least rank that asks the world, for the highest accuracy with the fewest calls; infinity: none."""
    levels = np.unique(ranks)[::-1]
    gains = [0, *(int(change[ranks >= level].sum()) for level in levels)]
    most = gains.index(max(gains))
    if most == len(levels):
        return -math.inf  # always
    return math.inf if most == 0 else float((levels[most - 1] + levels[most]) / 2)
