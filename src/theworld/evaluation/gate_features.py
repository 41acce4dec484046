"""A tiny learnt gate: features of an answer without the world, and a logistic regression on them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from theworld.evaluation.predictions import Prediction
from theworld.evaluation.question_kinds import kind_of_row

LARGEST_MARGIN: Final = 50.0
"""Nats; a single choice has an infinite margin."""

_MOST_KINDS: Final = 20
"""More kinds of question have no feature each."""

_L2: Final = 1.0
"""Strength of the penalty on the weights; the constant has none."""


def feature_table(rows: Sequence[Prediction], margins: np.ndarray) -> tuple[list[str], Float[np.ndarray, "n f"]]:
    """Return the names and values of the features that all rows have: nothing that needs the world or the answer.

    Margin, nats; the log-probability of the best answer (of the first token, of a generated reply); the entropy of the
    choices, nats; the question's length, characters; the number of choices; and its kind, a feature for each.
    """
    values = [_features(row, margin) for row, margin in zip(rows, margins.tolist(), strict=True)]
    names = [name for name in values[0] if all(name in features for features in values)]
    columns = {name: [features[name] for features in values] for name in names}
    kinds = [kind_of_row(row) for row in rows]
    if 1 < len({*kinds}) <= _MOST_KINDS:
        columns |= {f"kind: {kind}": [float(kind == other) for other in kinds] for kind in sorted({*kinds})}
    return list(columns), np.array(list(columns.values()), dtype=float).T


def _features(row: Prediction, margin: float) -> dict[str, float]:
    features = {"margin": min(margin, LARGEST_MARGIN)}
    if row.log_likelihoods is not None:
        weights = np.array(list(row.log_likelihoods.values()))
        logs = weights - np.logaddexp.reduce(weights)
        features |= {"log-probability": float(logs.max()), "entropy": float(-(np.exp(logs) * logs).sum())}
    elif isinstance(first := row.fields.get("first_log_prob"), int | float):
        features["log-probability"] = float(first)
    features["characters"] = float(len(row.question))
    if row.choices is not None:
        features["choices"] = float(len(row.choices))
    return features


@dataclass(frozen=True)
class Logistic:
    """A fitted logistic regression on standardised features."""

    mean: Float[np.ndarray, " f"]
    spread: Float[np.ndarray, " f"]
    weights: Float[np.ndarray, " f"]
    constant: float

    def __call__(self, table: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
        """Return the probability of each row."""
        return _sigmoid((table - self.mean) / self.spread @ self.weights + self.constant)


def fitted(table: Float[np.ndarray, "n f"], targets: Bool[np.ndarray, " n"]) -> Logistic:
    """Fit a logistic regression by Newton's method, with a penalty on the squares of its weights.

    Args:
        table: features.
        targets: the outcome of each row.
    """
    mean, spread = table.mean(0), table.std(0)
    spread = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([np.ones(len(table)), (table - mean) / spread])
    penalty = np.array([1e-6, *[_L2] * table.shape[1]])  # the constant's keeps one-sided outcomes finite
    weights = np.zeros(len(penalty))
    weights[0] = math.log((targets.sum() + 1) / ((~targets).sum() + 1))
    for _ in range(50):
        expected = _sigmoid(design @ weights)
        gradient = design.T @ (expected - targets) + penalty * weights
        curvature = (design * (expected * (1 - expected))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-8:
            break
    return Logistic(mean, spread, weights[1:], float(weights[0]))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -50, 50)))
