"""Batches and samplers: group samples of one shape and of similar length, and limit their length."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from random import Random
from typing import Final, TypeVar

import numpy as np
from jaxtyping import Float, Int, Real
from torch.utils.data import Sampler

from theworld.datasets.collator import Collator
from theworld.datasets.contents import files_of
from theworld.datasets.errors import RecordError
from theworld.datasets.sample import KnowsLengths, KnowsShapes, Sample, Samples

_T = TypeVar("_T")


def batches(samples: Iterable[Sample], batch_size: int) -> Iterator[list[Sample]]:
    """Yield batches of one shape, in the order in which they fill; at the end the rest of each shape."""
    return grouped(samples, batch_size, lambda sample: sample.shape)


def grouped(items: Iterable[_T], size: int, key: Callable[[_T], Hashable]) -> Iterator[list[_T]]:
    """Yield lists of `size` items of one key, in the order in which they fill; at the end the rest of each key."""
    waiting: dict[Hashable, list[_T]] = {}
    for item in items:
        group = waiting.setdefault(key(item), [])
        group.append(item)
        if len(group) == size:
            yield group
            waiting[key(item)] = []
    yield from (group for group in waiting.values() if group)


def num_batches(samples: Samples, run_length: int, by_length: bool = False) -> int:
    """Return the batches of an epoch, each on all devices together: those of the samplers below.

    Args:
        samples: the data set.
        run_length: samples per batch, on all devices together.
        by_length: True if batches group samples of similar length.
    """
    shapes = Counter(map(samples.shape_of, range(len(samples)))) if isinstance(samples, KnowsShapes) else Counter()
    if by_length or len(shapes) > 1:
        return sum(count // run_length for count in shapes.values() or [len(samples)])
    return -(-len(samples) // run_length)


def num_in_runs(counts: Sequence[int], run_length: int) -> int:
    """Return the number of samples in whole runs.

    Args:
        counts: samples of each shape.
        run_length: samples per step, on all devices together.

    Raises:
        ValueError: if no shape has enough samples for a run.
    """
    length = sum(count // run_length * run_length for count in counts)
    if not length:
        raise ValueError(
            f"{sum(counts)} samples of {len(counts)} shapes (clip length, steps ahead): none fills a batch of"
            f" {run_length}; give more samples or a smaller batch_size"
        )
    return length


class RunSampler(Sampler[int]):
    """Indices in random order, in runs of `run_length` that fit together; a run fills one batch on all devices.

    An epoch omits the rest of a shape after its last whole run; the next epoch shuffles anew.

    Args:
        counts: samples of each shape.
        run_length: samples per step, on all devices together.
        seed: seed of the orders, one per epoch.

    Raises:
        ValueError: if no shape has enough samples for a run.
    """

    def __init__(self, counts: Sequence[int], run_length: int, seed: int) -> None:
        self.run_length = run_length
        self.seed = seed
        self.epoch = 0
        self._length = num_in_runs(counts, run_length)

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


WINDOW_RUNS: Final = 50
"""Runs per sorted window: larger windows pad less and shuffle less."""

CHARACTERS_PER_TOKEN: Final = 4.0
"""Approximate ratio for English text, to compare text lengths in characters with pictures in tokens."""


class WithinLength:
    """A data set with a length limit: an overlong sample raises RecordError (cause "overlong").

    Nothing is cut: half a picture has no meaning, and half an answer teaches the model to stop early. Shapes and
    lengths that the data set knows without reading samples stay known.

    Args:
        samples: the data set.
        collator: counts tokens.
        max_length: maximum tokens of a sample, with image and world tokens.
        least_characters: texts with fewer characters are not measured, since they cannot be too long.
    """

    def __init__(self, samples: Samples, collator: Collator, max_length: int, least_characters: int = 0) -> None:
        self.samples = samples
        self.collator = collator
        self.max_length = max_length
        self.least_characters = least_characters
        self.files = files_of(samples)
        if isinstance(samples, KnowsShapes):
            self.shape_of = samples.shape_of
        if isinstance(samples, KnowsLengths):
            self.text_length_of, self.num_images_of = samples.text_length_of, samples.num_images_of

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int, /) -> Sample:
        sample = self.samples[index]
        if sum(len(turn.text) for turn in sample.turns) < self.least_characters:
            return sample
        return refuse_overlong(sample, self.collator, self.max_length)


def refuse_overlong(sample: Sample, collator: Collator, max_length: int) -> Sample:
    """Return the sample if it is short enough; a sample without an answer has no length, and passes.

    Raises:
        RecordError: for more than `max_length` tokens.
    """
    if sample.answer is not None and (length := collator.length_of(sample)) > max_length:
        pictures = "1 picture" if len(sample.images) == 1 else f"{len(sample.images)} pictures"
        raise RecordError(
            "overlong", f"sample {sample.id!r} has {length:,} tokens ({pictures}), max_length={max_length:,}"
        )
    return sample


def estimated_lengths(samples: Samples, collator: Collator) -> Float[np.ndarray, " N"]:
    """Estimate the tokens of each sample, without reading samples.

    Raises:
        ValueError: for a data set that does not know its lengths.
    """
    if not isinstance(samples, KnowsLengths):
        raise ValueError(
            "group_by_length=True needs a data set that knows its lengths without reading samples (text_length_of,"
            " num_images_of), and this one does not: set it to false"
        )
    count = len(samples)
    characters = np.fromiter(map(samples.text_length_of, range(count)), np.float64, count)
    images = np.fromiter(map(samples.num_images_of, range(count)), np.float64, count)
    return characters / CHARACTERS_PER_TOKEN + images * collator.tokens_per_picture


class LengthSampler(RunSampler):
    """Runs of one shape and of similar length.

        shuffled    5 2 9 1 | 8 3 1 7       lengths, in windows of `WINDOW_RUNS` runs (here 2 runs of 2)
        sorted      1 2 5 9 | 1 3 7 8       within each window
        runs        7 8 | 1 2 | 1 3 | 5 9   shuffled

    Args:
        lengths: length of each sample, in any unit.
        shapes: shape of each sample; None: one for all.
        run_length, seed: as for RunSampler.
    """

    def __init__(
        self, lengths: Real[np.ndarray, " N"], shapes: Sequence[Hashable] | None, run_length: int, seed: int
    ) -> None:
        self.lengths = lengths
        kinds: dict[Hashable, int] = {}
        self._shapes = np.zeros(len(lengths), np.int64)
        if shapes is not None:
            self._shapes = np.fromiter(
                (kinds.setdefault(shape, len(kinds)) for shape in shapes), np.int64, len(lengths)
            )
        super().__init__(np.bincount(self._shapes).tolist(), run_length, seed)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        shuffled = rng.permutation(len(self.lengths))
        runs = []
        for shape in range(int(self._shapes.max()) + 1):
            indices = shuffled[self._shapes[shuffled] == shape]
            runs.append(self._sorted(indices[: len(indices) // self.run_length * self.run_length]))
        together = np.concatenate(runs)
        yield from together[rng.permutation(len(together))].ravel().tolist()

    def _sorted(self, indices: Int[np.ndarray, " n"]) -> Int[np.ndarray, "runs run_length"]:
        """Runs of similar length: sorted within each window, equal lengths in random order."""
        windows = np.arange(len(indices)) // (WINDOW_RUNS * self.run_length)
        return indices[np.lexsort((self.lengths[indices], windows))].reshape(-1, self.run_length)
