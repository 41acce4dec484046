"""Linear read-outs: what can be read from features by a ridge regression, its strength chosen by leaving one out."""

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

_STRENGTHS: Final = tuple(10.0**power for power in range(-3, 7))
"""Of the penalty, in units of the mean eigenvalue of the Gram matrix over ten thousand."""


class LinearReadout:
    """A ridge regression in its dual form: as many equations as items, however long the features.

    Args:
        features: of the training items; each number is brought to zero mean and unit spread.
        targets: what is to be read, a column per quantity.
    """

    def __init__(self, features: Float[Tensor, "N D"], targets: Float[Tensor, "N K"]) -> None:
        features = features.double()
        self._middle, spread = features.mean(0), features.std(0)
        self._spread = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        self._features = (features - self._middle) / self._spread
        self._offset = targets.double().mean(0)
        centred = targets.double() - self._offset
        values, vectors = torch.linalg.eigh(self._features @ self._features.T)
        unit = values.clamp(min=0).mean() / 1e4
        best = None
        for strength in _STRENGTHS:
            penalty = strength * unit
            inverse = (vectors / (values.clamp(min=0) + penalty)) @ vectors.T
            weights = inverse @ centred
            # Leave-one-out errors of ridge regression with an intercept, in closed form (Allen's PRESS statistic).
            leverage_left = penalty * inverse.diagonal() - 1 / len(features)
            error = (penalty * weights / leverage_left[:, None]).square().mean().item()
            if best is None or error < best[0]:
                best = (error, weights)
        assert best is not None
        self._weights = self._features.T @ best[1]

    def __call__(self, features: Float[Tensor, "M D"]) -> Float[Tensor, "M K"]:
        """What is read from other items."""
        return ((features.double() - self._middle) / self._spread) @ self._weights + self._offset


def classify(train: Float[Tensor, "N D"], labels: Int[Tensor, " N"], test: Float[Tensor, "M D"]) -> Int[Tensor, " M"]:
    """Labels of the test items: the class whose indicator a read-out gives the largest value."""
    readout = LinearReadout(train, torch.nn.functional.one_hot(labels).float())
    return readout(test).argmax(-1)


def explained(truth: Float[Tensor, "M K"], read: Float[Tensor, "M K"]) -> float:
    """Share of the variance that is read, R squared, the mean over quantities; at most 1, below 0 for a bad guess."""
    truth = truth.double()
    left = (truth - read).square().sum(0) / (truth - truth.mean(0)).square().sum(0).clamp(min=1e-12)
    return (1 - left).mean().item()
