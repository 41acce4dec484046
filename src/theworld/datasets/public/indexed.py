"""IndexedSamples: what data sets of one JSON array share: their index, their parts, lengths without pictures."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from theworld.datasets.holding_out import Part, places_of
from theworld.datasets.public.row_index import Measures, RowIndex
from theworld.datasets.records import RecordError
from theworld.datasets.sample import Sample


class IndexedSamples:
    """A map-style data set of one sample per row of a JSON array, which is never held in memory.

    Args:
        source: the file.
        kind: names the format.
        part: `validation` for the held-out share (one in a hundred, by hash of the id), `train` for the others; None:
            all.
        size: so many samples, from the first; None: all.
        index_dir: where the index of the rows is kept; None: beside the file.

    Raises:
        ValueError: for a file that cannot be read, or an index that cannot be written.
    """

    def __init__(
        self, source: Path, kind: str, part: Part | None = None, size: int | None = None, index_dir: Path | None = None
    ) -> None:
        self.rows = RowIndex(source, kind, self._measure, index_dir)
        self.places = places_of(self.rows.table["id_hash"], part)[:size]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        """The sample of an index.

        Raises:
            RecordError: for a row that gives none.
        """
        if not 0 <= index < len(self.places):
            raise IndexError(f"sample {index} of {len(self.places)}")
        place = int(self.places[index])
        row = self.rows[place]
        if not isinstance(row, Mapping):
            raise RecordError("malformed", f"row {place}: expected an object, got {type(row).__name__}")
        return self._sample(row, place)

    def text_length_of(self, index: int) -> int:
        """Characters of all turns of a sample, without reading it; 0 for a row that gives none."""
        return int(self.rows.table["characters"][self.places[index]])

    def num_images_of(self, index: int) -> int:
        """Pictures of a sample, without reading it."""
        return int(self.rows.table["images"][self.places[index]])

    @abstractmethod
    def _measure(self, row: Any, place: int) -> Measures:
        """What is kept of a row in the index; of whatever may stand in a file, without an error."""

    @abstractmethod
    def _sample(self, row: Mapping[str, Any], place: int) -> Sample:
        """The sample of a row."""
