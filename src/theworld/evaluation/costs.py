"""What an answer costs: wall time and floating-point operations, the world's included."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from torch.utils.flop_counter import FlopCounterMode

from theworld.datasets.sample import Sample
from theworld.evaluation.generation import Answerer
from theworld.modeling import TheWorld

_NUM_TIMED = 3


@dataclass(frozen=True)
class Cost:
    """Of one sample, in a batch."""

    seconds: float
    """Wall time, the median of three, on this machine."""
    gflops: float
    """Billions of floating-point operations in matrix products, convolutions and attention."""


def measure_cost(model: TheWorld, samples: Sequence[Sample], max_new_tokens: int) -> Cost:
    """Answer a batch a few times, the world read anew each time and nothing stored.

    Args:
        model: with its world loaded.
        samples: a batch, of one shape.
        max_new_tokens: longest reply.
    """
    answerer = Answerer(model, max_new_tokens=max_new_tokens)
    with FlopCounterMode(display=False) as counter:
        answerer(samples)
    seconds: list[float] = []
    for _ in range(_NUM_TIMED):
        started = time.perf_counter()
        answerer(samples)
        seconds.append(time.perf_counter() - started)
    return Cost(statistics.median(seconds) / len(samples), counter.get_total_flops() / len(samples) / 1e9)
