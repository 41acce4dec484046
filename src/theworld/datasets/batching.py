"""Batches of samples that fit together: clips of one length, which look equally far ahead."""

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


class ShapeSampler(Sampler[int]):
    """Indices in random order, in runs of `run_length` of one shape: what a loader cuts into batches fits together.

    What is left of a shape after its last whole run is left out until the next epoch shuffles anew.

    Args:
        shapes: shape of each sample.
        run_length: samples per batch.
        seed: of the order; each epoch has another.

    Raises:
        ValueError: if no shape has enough samples for a batch.
    """

    def __init__(self, shapes: Sequence[Hashable], run_length: int, seed: int) -> None:
        self.shapes = shapes
        self.run_length = run_length
        self.seed = seed
        self.epoch = 0
        counts = [list(shapes).count(shape) for shape in dict.fromkeys(shapes)]
        self._length = sum(count // run_length * run_length for count in counts)
        if not self._length:
            raise ValueError(
                f"{len(shapes)} samples of {len(counts)} shapes (clip length, steps ahead): none fills a batch of"
                f" {run_length}; give more samples or a smaller batch_size"
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        rng = Random(f"{self.seed}/{self.epoch}")
        order = rng.sample(range(len(self.shapes)), len(self.shapes))
        runs = [run for run in grouped(order, self.run_length, self.shapes.__getitem__) if len(run) == self.run_length]
        rng.shuffle(runs)
        for run in runs:
            yield from run
