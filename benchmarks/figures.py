"""Figure: a measured value, its goal, and the JSON line it is printed as; timing in pairs."""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class Ratio(float):
    """A median of ratios, and the quartiles between which half of them lie."""

    quartiles: tuple[float, float]

    def __new__(cls, ratios: Sequence[float]) -> "Ratio":
        """Of two ratios or more."""
        lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
        self = super().__new__(cls, median)
        self.quartiles = lower, upper
        return self


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
        values: dict[str, Any] = {"name": self.name, "value": round(self.value, 4)}
        if isinstance(self.value, Ratio):
            values["quartiles"] = [round(quartile, 4) for quartile in self.value.quartiles]
        return json.dumps({**values, "goal": self.goal, "met": self.met, "unit": self.unit})


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call: what others do on the machine is no part of it."""
    began = time.process_time()
    work()
    return time.process_time() - began


def paired_ratio(
    work: Callable[[], object],
    reference: Callable[[], object],
    num_pairs: int = 15,
) -> Ratio:
    """Median and quartiles of time(work) / time(reference) over pairs that run one after the other, in changing order.

    Both sides must do their work in this process, on one thread. One pair before the counted ones warms caches up.
    """
    ratios = []
    for pair in range(num_pairs + 1):
        order = (work, reference) if pair % 2 else (reference, work)
        timed = {each: seconds(each) for each in order}
        if pair:
            ratios.append(timed[work] / timed[reference])
    return Ratio(ratios)
