"""Batches of samples that fit together: clips of one length, which look equally far ahead."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from random import Random
from typing import TypeVar

from torch.utils.data import Sampler

from theworld.datasets.sample import Sample

_T = TypeVar("_T")


def batches(samples: Iterable[Sample], batch_size: int) -> Iterator[list[Sample]]:
    """Samples of one shape in batches, in the order in which batches fill; at the end what is left of each shape."""
    return grouped(samples, batch_size, lambda sample: sample.shape)


def grouped(things: Iterable[_T], size: int, key: Callable[[_T], Hashable]) -> Iterator[list[_T]]:
    """Lists of `size` things of one key, in the order in which they fill; at the end what is left of each key."""
    waiting: dict[Hashable, list[_T]] = {}
    for thing in things:
        group = waiting.setdefault(key(thing), [])
        group.append(thing)
        if len(group) == size:
            yield group
            waiting[key(thing)] = []
    yield from (group for group in waiting.values() if group)


class RunSampler(Sampler[int]):
    """Indices in random order, in runs of `run_length` that fit together: what a loader cuts into batches is one run.

    What is left of a shape after its last whole run is left out until the next epoch shuffles anew.

    Args:
        counts: samples of each shape.
        run_length: samples that go through the model at once, on all devices together.
        seed: of the order; each epoch has another.

    Raises:
        ValueError: if no shape has enough samples for a run.
    """

    def __init__(self, counts: Sequence[int], run_length: int, seed: int) -> None:
        self.run_length = run_length
        self.seed = seed
        self.epoch = 0
        self._length = sum(count // run_length * run_length for count in counts)
        if not self._length:
            raise ValueError(
                f"{sum(counts)} samples of {len(counts)} shapes (clip length, steps ahead): none fills a batch of"
                f" {run_length}; give more samples or a smaller batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length


class ShapeSampler(RunSampler):
    """Runs of one shape.

    Args:
        shapes: shape of each sample.
        run_length, seed: as for RunSampler.
    """

    def __init__(self, shapes: Sequence[Hashable], run_length: int, seed: int) -> None:
        super().__init__(list(Counter(shapes).values()), run_length, seed)
        self.shapes = shapes

    def __iter__(self) -> Iterator[int]:
        rng = Random(f"{self.seed}/{self.epoch}")
        order = rng.sample(range(len(self.shapes)), len(self.shapes))
        runs = [run for run in grouped(order, self.run_length, self.shapes.__getitem__) if len(run) == self.run_length]
        rng.shuffle(runs)
        for run in runs:
            yield from run
