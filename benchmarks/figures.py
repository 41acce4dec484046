"""Figure: a measured value, its goal, and the JSON line it is printed as; timing in pairs."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """A value to hold against a goal."""

    name: str
    value: float
    goal: float
    unit: str = "ratio"
    at_least: bool = False
    """Whether more is better; else less is."""

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def line(self) -> str:
        """The JSON line."""
        values: dict[str, Any] = {"name": self.name, "value": round(self.value, 4), "goal": self.goal}
        return json.dumps({**values, "met": self.met, "unit": self.unit})


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call, by default of the wall clock."""
    began = clock()
    work()
    return clock() - began


def paired_ratio(
    work: Callable[[], object],
    reference: Callable[[], object],
    num_pairs: int = 15,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Median of time(work) / time(reference) over pairs that run one after the other, in changing order.

    One pair before the counted ones warms caches up. `time.process_time` as the clock counts the work of this process
    alone, for what runs on one core beside others.
    """
    ratios = []
    for pair in range(num_pairs + 1):
        order = (work, reference) if pair % 2 else (reference, work)
        timed = {each: seconds(each, clock) for each in order}
        if pair:
            ratios.append(timed[work] / timed[reference])
    return statistics.median(ratios)
