"""Figures: a measured value with its goal, as a JSON line; timing in pairs."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class Ratio(float):
    """The median of ratios, with their quartiles."""

    quartiles: tuple[float, float]

    def __new__(cls, ratios: Sequence[float]) -> "Ratio":
        """Take the median of at least two ratios."""
        lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
        self = super().__new__(cls, median)
        self.quartiles = lower, upper
        return self


@dataclass(frozen=True)
class Figure:
    """A measured value with its goal."""

    name: str
    value: float
    goal: float
    unit: str = "ratio"
    at_least: bool = False
    """True if the goal is a lower bound, False if it is an upper bound."""

    @property
    def met(self) -> bool:
        """True if the value reaches the goal."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def line(self) -> str:
        """Return the JSON line."""
        values: dict[str, Any] = {"name": self.name, "value": round(self.value, 4)}
        if isinstance(self.value, Ratio):
            values["quartiles"] = [round(quartile, 4) for quartile in self.value.quartiles]
        return json.dumps({**values, "goal": self.goal, "met": self.met, "unit": self.unit})


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Return the time of one call, by default of the processor, which leaves other programs of the machine out."""
    started = clock()
    work()
    return clock() - started


def paired_ratio(
    work: Callable[[], object],
    reference: Callable[[], object],
    num_pairs: int = 15,
    clock: Callable[[], float] = time.process_time,
) -> Ratio:
    """Return median and quartiles of time(work) / time(reference) over pairs of runs, in alternating order.

    Both sides must do their work in this process. Where they wait, or differ in their threads, `clock` is
    `time.perf_counter`. One more pair before the counted ones warms up caches.
    """
    ratios = []
    for pair in range(num_pairs + 1):
        order = (work, reference) if pair % 2 else (reference, work)
        timed = {each: seconds(each, clock) for each in order}
        if pair:
            ratios.append(timed[work] / timed[reference])
    return Ratio(ratios)
