"""Interface of data sets that are read as a stream; separate because several packages implement it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from theworld.datasets.errors import RecordError
from theworld.datasets.sample import Sample

Position: TypeAlias = Mapping[str, int]
"""Where a part of a stream goes on; goes through JSON unchanged."""


@dataclass(frozen=True)
class Drawn:
    """What a stream gives next."""

    record: str
    """The name of the record in the data set."""
    outcome: Sample | RecordError
    """Its sample, or why there is none."""
    position: Position
    """Where the part goes on after it."""
    num_absent: int = 0
    """Not 0: this stands for so many records that a list says were lost before, of which none was read."""


@runtime_checkable
class SampleStream(Protocol):
    """A data set without indices."""

    num_shards: int
    """Most parts that it can be read in side by side."""

    def read(self, seed: int, part: int, num_parts: int, position: Position | None = None) -> Iterator[Drawn]:
        """One of several parts, epoch after epoch without an end, each in another order.

        Args:
            seed: of the orders.
            part: which of them, from 0.
            num_parts: parts that together give every record once an epoch; at most `num_shards`.
            position: where to go on, as it was given with the last sample that was used; None: the beginning.
        """
        ...
