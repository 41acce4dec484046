"""Mixture: samples of several data sets, drawn by weight."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from jaxtyping import Int

from theworld.datasets.contents import files_of
from theworld.datasets.errors import RecordError
from theworld.datasets.sample import KnowsLengths, KnowsShapes, Sample, Samples

_PICTURES: Final = ((1,), None)
"""Shape of samples from a data set without shapes: pictures, and the model's own number of steps ahead."""


class Mixture:
    """Samples of several data sets, in random order.

    Seed, weights and sizes alone determine the sample of an index. Each part provides its share of `length` samples by
    weight, exact to one; it repeats a sample only after all of its samples.

        index      0    1    2    3    4    5   ...
        part       b    a    a    b    a    a         weights 2 and 1
        its index  4    0    2    0    1    2         a has 3 samples: a new order after each pass

    A mixture has `shape_of` if any part has it, and `text_length_of` and `num_images_of` if all parts have them. A
    sample's field `part` names its part.

    Args:
        parts: data sets by name.
        weights: one per part, greater than 0; only their ratios count.
        length: number of samples.
        seed: of the order.

    Raises:
        ValueError: for a part without samples that must provide some, or wrong weights.
    """

    def __init__(self, parts: Mapping[str, Samples], weights: Sequence[float], length: int, seed: int) -> None:
        if not parts or len(weights) != len(parts) or min(weights) <= 0:
            raise ValueError(f"weights {list(weights)} of {len(parts)} data sets: expected one each, greater than 0")
        self.names = list(parts)
        self.parts = list(parts.values())
        self.files = tuple(path for part in self.parts for path in files_of(part))
        counts = _shares(weights, length)
        order = np.repeat(np.arange(len(counts), dtype=np.uint16), counts)
        self.part_of: Int[np.ndarray, " N"] = np.random.default_rng([seed, 0]).permutation(order)
        """Number of the part of each index."""
        self.place_of: Int[np.ndarray, " N"] = np.zeros(length, np.int64)
        """Index within that part."""
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
        """Return the sample of an index.

        Raises:
            RecordError: from its part, whose name the message adds.
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
        """Return the shape of a sample, without reading it."""
        part, place = self._find(index)
        return part.shape_of(place) if isinstance(part, KnowsShapes) else _PICTURES

    def _text_length_of(self, index: int) -> int:
        """Return the characters of a sample's turns, without reading it."""
        part, place = self._find(index)
        return part.text_length_of(place)

    def _num_images_of(self, index: int) -> int:
        """Return the number of a sample's pictures, without reading it."""
        part, place = self._find(index)
        return part.num_images_of(place)


def _shares(weights: Sequence[float], length: int) -> Int[np.ndarray, " P"]:
    """Each part's number of samples out of `length`: rounded down, and the rest to the largest remainders."""
    exact = length * np.asarray(weights, float) / sum(weights)
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: length - counts.sum()]] += 1
    return counts


def _passes(size: int, count: int, rng: np.random.Generator) -> Int[np.ndarray, " C"]:
    """The first `count` indices of repeated passes over all indices below `size`, each pass in a new random order."""
    if not count:
        return np.zeros(0, np.int64)
    num_passes = -(-count // size)
    return rng.permuted(np.broadcast_to(np.arange(size), (num_passes, size)), axis=1).reshape(-1)[:count]
