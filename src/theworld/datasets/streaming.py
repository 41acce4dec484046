"""Interface of streamed data sets; separate because several packages implement it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from theworld.datasets.errors import RecordError
from theworld.datasets.sample import Sample

Position: TypeAlias = Mapping[str, int]
"""Position in a part of a stream; survives JSON unchanged."""


@dataclass(frozen=True)
class Drawn:
    """A sample or an error from a stream."""

    record: str
    """Name of the record in the data set."""
    outcome: Sample | RecordError
    """Its sample, or the error that explains its absence."""
    position: Position
    """Position after it."""
    num_absent: int = 0
    """Number of records that this error covers, if a list names them as lost before reading; else 0."""


@runtime_checkable
class SampleStream(Protocol):
    """A data set without indices."""

    num_shards: int
    """Maximum number of parallel parts."""

    def read(self, seed: int, part: int, num_parts: int, position: Position | None = None) -> Iterator[Drawn]:
        """Read one of several parts, epoch after epoch without end, each in a new order.

        Args:
            seed: seed of the orders.
            part: number of the part, from 0.
            num_parts: number of parts, which together give every record once an epoch; at most `num_shards`.
            position: `Drawn.position` of the last sample used, to continue after it; None: the beginning.
        """
        ...
