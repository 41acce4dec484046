"""Statistics of binary scores: intervals, baselines, paired tests and detectable differences."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np
from scipy.stats import binomtest, norm

Values: TypeAlias = Sequence[int | float] | np.ndarray
Labels: TypeAlias = Sequence[str | int] | np.ndarray

_CHUNK = 4_000_000
"""Largest number of values that a bootstrap holds in memory."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class McNemar:
    """Result of an exact McNemar test of two models on the same items."""

    num_first_only: int
    """Items that only the first got right."""
    num_second_only: int
    """Items that only the second got right."""
    p_value: float
    """Two-sided; 1 if the models never differ."""


def wilson_interval(num_right: int, num_items: int, level: float = 0.95) -> Interval:
    """Compute Wilson's score interval of a share (Wilson 1927, JASA 22:209).

    Raises:
        ValueError: without items, or if more are right than there are items.
    """
    if not 0 <= num_right <= num_items or num_items == 0:
        raise ValueError(f"{num_right} right of {num_items} items: expected 0 <= right <= items, and an item at least")
    interval = binomtest(num_right, num_items).proportion_ci(level, method="wilson")
    return Interval(float(interval.low), float(interval.high))


def bootstrap_mean(
    values: Values, clusters: Labels | None = None, num_resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Compute a percentile bootstrap interval of a mean (Efron and Tibshirani 1993, chapter 13).

    Args:
        values: one number per item.
        clusters: one label per item (its scene): items of one cluster are resampled together.

    Raises:
        ValueError: without values, or if the numbers of values and labels differ.
    """
    distinct, cells = np.unique(np.asarray(values, dtype=float), return_inverse=True)

    def mean(counts: np.ndarray) -> np.ndarray:
        return counts @ distinct / counts.sum(axis=1)

    return _bootstrap(mean, cells, len(distinct), clusters, num_resamples, seed, level)


def bootstrap_difference(
    first: Values,
    second: Values,
    clusters: Labels | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Compute a paired bootstrap interval of mean(second) - mean(first), over the same items in the same order.

    Raises:
        ValueError: as `bootstrap_mean`, or if the lengths differ.
    """
    first, second = _paired(first, second)
    return bootstrap_mean(second - first, clusters, num_resamples, seed, level)


def bootstrap_nested(
    values: np.ndarray, builds: Labels, num_resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Compute a hierarchical bootstrap interval of a mean over builds, the seeds of each build, and items.

    A resample draws builds, then seeds within each, and items, all with replacement. All runs answer the same items, so
    a resample draws them once. With few builds or seeds such an interval is too narrow: with one build it says nothing
    about others (Saravanan et al. 2020, Neurons, Behavior, Data Analysis, and Theory 3:5).

    Args:
        values: one row for each run, one column for each item.
        builds: the build of each run; the runs of a build differ by their seed.

    Raises:
        ValueError: without values, or if the numbers of rows and labels differ.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 2 or values.size == 0 or len(builds) != len(values):
        raise ValueError(
            f"values of shape {values.shape} for {len(builds)} builds: expected a row for each run, with a build each,"
            " and a column for each item"
        )
    names, codes = np.unique(np.asarray(builds), return_inverse=True)
    generator = np.random.default_rng(seed)
    num_drawn = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), size=num_resamples)
    weights = np.empty((num_resamples, len(values)))
    for code in range(len(names)):
        rows = np.flatnonzero(codes == code)  # each draw of a build draws as many seeds as it has
        counts = generator.multinomial(num_drawn[:, code] * len(rows), np.full(len(rows), 1 / len(rows)))
        weights[:, rows] = counts / (len(rows) * len(names))
    num_items = values.shape[1]
    items = generator.multinomial(num_items, np.full(num_items, 1 / num_items), size=num_resamples)
    means = ((weights @ values) * items).sum(1) / num_items
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def balanced_accuracy(answers: Labels, values: Values) -> float:
    """Compute the mean over the true answers of the share that is right: 1 / (number of answers) for a constant reply.

    Args:
        answers: the true answer of each item.
        values: 1 for right, 0 for not.

    Raises:
        ValueError: without items, or for two lengths.
    """
    cells, num_answers = _answer_cells(answers, values)
    return float(_mean_recall(np.bincount(cells, minlength=2 * num_answers)[None])[0])


def bootstrap_balanced_accuracy(
    answers: Labels,
    values: Values,
    clusters: Labels | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Compute a percentile bootstrap interval of `balanced_accuracy`; a resample averages over the answers in it.

    Raises:
        ValueError: as `balanced_accuracy` and `bootstrap_mean`.
    """
    cells, num_answers = _answer_cells(answers, values)
    return _bootstrap(_mean_recall, cells, 2 * num_answers, clusters, num_resamples, seed, level)


def majority(answers: Labels) -> tuple[str, float]:
    """Return the most frequent answer (alphabetically first of several) and its share, a baseline.

    Raises:
        ValueError: without answers.
    """
    if len(answers) == 0:
        raise ValueError("no answers: expected one at least")
    counts = Counter(str(answer) for answer in answers)
    answer = min(counts, key=lambda answer: (-counts[answer], answer))
    return answer, counts[answer] / len(answers)


def mcnemar(first: Values, second: Values) -> McNemar:
    """Run an exact McNemar test of two models on the same items (McNemar 1947; binomial, no continuity correction).

    Args:
        first: 1 for right, 0 for not, of the first model.
        second: the same for the second model, in the same order.

    Raises:
        ValueError: without items, or for two lengths.
    """
    first, second = _paired(first, second)
    num_first, num_second = int((first > second).sum()), int((second > first).sum())
    num_differing = num_first + num_second
    p_value = float(binomtest(num_first, num_differing).pvalue) if num_differing else 1.0
    return McNemar(num_first, num_second, p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values to control the family-wise error rate (Holm 1979, SJS 6:65)."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def smallest_detectable_difference(
    num_items: int, flip_share: float, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """Compute the smallest difference in accuracy that a paired test detects at a given power.

    Solves n d^2 = (z_alpha sqrt(f) + z_power sqrt(f - d^2))^2 for d: the normal approximation to McNemar's test
    (Connor 1987, Biometrics 43:207). A difference of d needs a share of at least d to flip, so f is the larger of
    `flip_share` and d.

    Args:
        num_items: n, number of items that both models answered.
        flip_share: f, share of items that exactly one of the two models got right.
        power: probability of detecting the difference, in [0.5, 1).
        alpha: level of the two-sided test, in (0, 1).

    Returns:
        A share of the items (0.027 is 2.7 points); None if there are too few items to detect any difference.

    Raises:
        ValueError: outside these ranges.
    """
    if num_items < 1 or not 0 <= flip_share <= 1 or not 0.5 <= power < 1 or not 0 < alpha < 1:
        raise ValueError(
            f"num_items={num_items}, flip_share={flip_share}, power={power}, alpha={alpha}: expected at least one item,"
            " a share in [0, 1], a power in [0.5, 1) and a level in (0, 1)"
        )
    if 2 * 0.5**num_items > alpha:  # even if every item flipped the same way
        return None
    z_alpha, z_power = float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))
    scale = num_items + z_power**2
    squared = z_alpha**2 * num_items * flip_share - scale * (z_alpha**2 - z_power**2) * flip_share
    difference = (z_alpha * sqrt(num_items * flip_share) + sqrt(max(0.0, squared))) / scale
    if difference < flip_share:
        return difference
    root = sqrt(max(0.0, (z_alpha * z_power) ** 2 - scale * (z_alpha**2 - num_items)))
    remaining = (root - z_alpha * z_power) / scale  # sqrt(1 - d), where f = d
    return 1 - remaining**2 if remaining >= 0 else None


def _paired(first: Values, second: Values) -> tuple[np.ndarray, np.ndarray]:
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"{len(first)} and {len(second)} values: a pair needs as many of each, and one at least")
    return np.asarray(first, dtype=float), np.asarray(second, dtype=float)


def _answer_cells(answers: Labels, values: Values) -> tuple[np.ndarray, int]:
    """Return cell 2a + (1 if right) of each item with answer a, and the number of answers."""
    if len(answers) != len(values) or len(answers) == 0:
        raise ValueError(f"{len(answers)} answers for {len(values)} values: expected as many, and one at least")
    names, codes = np.unique(np.asarray(answers), return_inverse=True)
    return 2 * codes + (np.asarray(values) == 1), len(names)


def _mean_recall(counts: np.ndarray) -> np.ndarray:
    """Compute the mean recall of each row of counts; even columns count wrong items, odd columns right ones."""
    wrong, right = counts[:, 0::2], counts[:, 1::2]
    totals = wrong + right
    recalls = np.divide(right, totals, out=np.zeros(totals.shape), where=totals > 0)
    return recalls.sum(axis=1) / (totals > 0).sum(axis=1)


def _bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    cells: np.ndarray,
    num_cells: int,
    clusters: Labels | None,
    num_resamples: int,
    seed: int,
    level: float,
) -> Interval:
    if len(cells) == 0 or (clusters is not None and len(clusters) != len(cells)):
        num_labels = "no" if clusters is None else len(clusters)
        raise ValueError(f"{len(cells)} values and {num_labels} clusters: expected a value, and a label for each")
    drawn = [statistic(counts) for counts in _resampled_counts(cells, num_cells, clusters, num_resamples, seed)]
    low, high = np.quantile(np.concatenate(drawn), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def _resampled_counts(
    cells: np.ndarray, num_cells: int, clusters: Labels | None, num_resamples: int, seed: int
) -> Iterator[np.ndarray]:
    """Yield the number of draws of each cell, (resamples, cells), in chunks.

    Drawing n items with replacement and counting them by kind is one multinomial draw over the kinds. With binary
    values the cost does not depend on the number of items, and the distribution is the same.
    """
    if clusters is None:
        kinds, repeats = None, np.bincount(cells, minlength=num_cells)
    else:
        names, codes = np.unique(np.asarray(clusters), return_inverse=True)
        contents = np.zeros((len(names), num_cells))
        np.add.at(contents, (codes, cells), 1)
        kinds, repeats = np.unique(contents, axis=0, return_counts=True)
    num_units = int(repeats.sum())
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK // max(len(repeats), num_cells))
    for start in range(0, num_resamples, chunk):
        drawn = generator.multinomial(num_units, repeats / num_units, size=min(chunk, num_resamples - start))
        yield drawn if kinds is None else drawn @ kinds
