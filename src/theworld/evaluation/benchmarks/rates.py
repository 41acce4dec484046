"""Rates: the share of a group that is right, with its intervals and what could not be read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from theworld.evaluation.scoring import Score
from theworld.evaluation.statistics import Interval, bootstrap_mean, wilson_interval


@dataclass(frozen=True)
class Rate:
    """How a group of items went; shares are over the items with a reply."""

    num_items: int
    num_right: int
    num_unparsed: int
    """Replies that could not be read: they count as not right."""
    num_missing: int
    """Items without a reply: they count as nothing."""
    value: float | None
    """Share that is right; None without a reply."""
    wilson: Interval | None
    bootstrap: Interval | None

    @property
    def num_scored(self) -> int:
        """Items with a reply."""
        return self.num_items - self.num_missing


def rate(scores: Sequence[Score]) -> Rate:
    """Count a group."""
    states = Counter(one.state for one in scores)
    values = [one.value for one in scores if one.value is not None]
    num_right = states["right"]
    return Rate(
        num_items=len(scores),
        num_right=num_right,
        num_unparsed=states["unparsed"],
        num_missing=states["missing"],
        value=num_right / len(values) if values else None,
        wilson=wilson_interval(num_right, len(values)) if values else None,
        bootstrap=bootstrap_mean(values) if values else None,
    )
