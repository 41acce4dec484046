"""Mixture: samples of several data sets, each drawn as often as its weight says."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from jaxtyping import Int

from theworld.datasets.errors import RecordError
from theworld.datasets.sample import KnowsLengths, KnowsShapes, Sample, Samples

_PICTURES: Final = ((1,), None)
"""Shape of the samples of a data set that names none: pictures, looked ahead from as far as the model does."""


class Mixture:
    """Samples of several data sets, in random order.

    Which sample an index stands for is a function of seed, weights and sizes alone. Of `length` samples each part gives
    its share by weight, exact to one; none of its samples comes again before all others have come.

        index      0    1    2    3    4    5   ...
        part       b    a    a    b    a    a         weights 2 and 1
        its index  4    0    2    0    1    2         a has 3 samples: a new order after each pass

    `shape_of`, `text_length_of` and `num_images_of` are there where the parts have them. A sample's field `part` names
    the part that it is of.

    Args:
        parts: data sets by name.
        weights: one per part, greater than 0; only their ratios count.
        length: samples in all.
        seed: of the order.

    Raises:
        ValueError: for a part that has no samples and must give some, or weights that do not fit.
    """

    def __init__(self, parts: Mapping[str, Samples], weights: Sequence[float], length: int, seed: int) -> None:
        if not parts or len(weights) != len(parts) or min(weights) <= 0:
            raise ValueError(f"weights {list(weights)} of {len(parts)} data sets: expected one each, greater than 0")
        self.names = list(parts)
        self.parts = list(parts.values())
        counts = _shares(weights, length)
        order = np.repeat(np.arange(len(counts), dtype=np.uint16), counts)
        self.part_of: Int[np.ndarray, " N"] = np.random.default_rng([seed, 0]).permutation(order)
        """Which part an index stands for."""
        self.place_of: Int[np.ndarray, " N"] = np.zeros(length, np.int64)
        """Which of its samples."""
        for number, (name, part) in enumerate(parts.items()):
            if counts[number] and not len(part):
                raise ValueError(f"{name} has no samples: leave it out of the mixture, or repair its settings")
            rng = np.random.default_rng([seed, 1 + number])
            self.place_of[self.part_of == number] = _passes(len(part), int(counts[number]), rng)
        if any(isinstance(part, KnowsShapes) for part in self.parts):
            self.shape_of = self._shape_of
        if all(isinstance(part, KnowsLengths) for part in self.parts):
            self.text_length_of = self._text_length_of
            self.num_images_of = self._num_images_of

    def __len__(self) -> int:
        return len(self.part_of)

    def __getitem__(self, index: int) -> Sample:
        """The sample of an index.

        Raises:
            RecordError: as its part does, which is named.
        """
        part, place = self._find(index)
        name = self.names[self.part_of[index]]
        try:
            sample = part[place]
        except RecordError as error:
            raise RecordError(error.cause, f"{name}: {error.message}") from error
        return replace(sample, fields={**sample.fields, "part": name})

    def _find(self, index: int) -> tuple[Any, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self.parts[self.part_of[index]], int(self.place_of[index])

    def _shape_of(self, index: int) -> Hashable:
        """The shape of a sample, without reading it."""
        part, place = self._find(index)
        return part.shape_of(place) if isinstance(part, KnowsShapes) else _PICTURES

    def _text_length_of(self, index: int) -> int:
        """Characters of a sample's turns, without reading it."""
        part, place = self._find(index)
        return part.text_length_of(place)

    def _num_images_of(self, index: int) -> int:
        """Pictures of a sample, without reading it."""
        part, place = self._find(index)
        return part.num_images_of(place)


def _shares(weights: Sequence[float], length: int) -> Int[np.ndarray, " P"]:
    """How many of `length` each part gives: rounded down, and what is left to the largest remainders."""
    exact = length * np.asarray(weights, float) / sum(weights)
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: length - counts.sum()]] += 1
    return counts


def _passes(size: int, count: int, rng: np.random.Generator) -> Int[np.ndarray, " C"]:
    """The first `count` of all indices below `size` in random order, again and again, each time in another."""
    if not count:
        return np.zeros(0, np.int64)
    num_passes = -(-count // size)
    return rng.permuted(np.broadcast_to(np.arange(size), (num_passes, size)), axis=1).reshape(-1)[:count]
