"""Index of a large JSON array on disk, for reading single rows, and the held-out validation split."""

import json
import logging
import posixpath
import struct
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock
from jaxtyping import Int, UInt64
from tqdm import tqdm

from theworld.datasets.errors import RecordError
from theworld.datasets.held_out import BY_PICTURE, HeldOut, Part, id_hash, places_by_id, places_by_picture
from theworld.datasets.public.json_array import UnreadableRow, array_rows
from theworld.datasets.row_videos import announce_rule, nouns
from theworld.datasets.sample import Sample, shape_of_clips
from theworld.datasets.video import ClipRule
from theworld.io import fingerprint, whole_folder, write_whole

logger = logging.getLogger(__name__)

_VERSION: Final = 5
_UNREADABLE: Final = "\0unreadable: "  # in front of the reason, in the place of a row
_LINES, _TABLE, _IDENTITY = "rows.jsonl", "rows.bin", "index.json"
_ENTRY: Final = struct.Struct("<QIIIIQIQ")
_COLUMNS: Final = np.dtype(
    [
        ("start", "<u8"),
        ("length", "<u4"),
        ("characters", "<u4"),
        ("images", "<u4"),
        ("videos", "<u4"),
        ("id_hash", "<u8"),
        ("repeat", "<u4"),
        ("picture_hash", "<u8"),
    ]
)


@dataclass(frozen=True)
class Measures:
    """Facts about a row, known without reading it."""

    id: str
    """Id of its sample."""
    characters: int
    """Characters of its turns."""
    images: int
    """Number of its pictures."""
    picture: str = ""
    """Path of its first picture or video; empty: none, and its id stands for one."""
    videos: int = 0
    """Number of its videos."""

    @property
    def group(self) -> str:
        """Name that decides on the side of the split: equal for all rows of a picture or video."""
        return posixpath.normpath(self.picture) if self.picture else self.id


Rows = Callable[[BufferedReader], Iterator[Any]]
"""Function that yields the rows of an open file, an `UnreadableRow` where there is one."""


class RowIndex(Sequence[Any]):
    """Rows of a JSON array, or of another file of rows, in constant memory.

    The first run streams the array into a folder: a file of one row per line, and a table of positions and measures.
    Later runs read the folder. One process writes it while others wait. A source with another size or time is streamed
    anew.

        SOURCE.rows/
          rows.jsonl   a row per line
          rows.bin     per row: start and length in bytes, characters, pictures, videos, hashes of the
                       id and of the first picture or video, earlier rows of that id
          index.json   the source, its size and time

    Args:
        source: the file.
        kind: name of the measures; an index of another kind is rebuilt.
        measure: function of each row and its position.
        index_dir: parent of the folder; None: the source's folder.
        read: yields the rows of the file; by default those of a JSON array.

    Raises:
        ValueError: for a missing file, no JSON array, or an index that cannot be written.
    """

    def __init__(
        self,
        source: str | Path,
        kind: str,
        measure: Callable[[Any, int], Measures],
        index_dir: str | Path | None = None,
        read: Rows = array_rows,
    ) -> None:
        source, index_dir = Path(source), None if index_dir is None else Path(index_dir)
        if not source.is_file():
            raise ValueError(f"{source}: no such file; expected a JSON array of records")
        facts = source.stat()
        identity = {"version": _VERSION, "kind": kind, "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}
        folder = _place(source, index_dir)
        if _read_identity(folder) != identity:
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(folder.parent / f".{folder.name}.lock"):
                    if _read_identity(folder) != identity:  # no other process has written it meanwhile
                        _stream(source, measure, folder, identity, read)
            except OSError as error:
                raise ValueError(
                    f"{folder}: the index of {source.name} cannot be written ({error}); give index_dir, a folder with"
                    " room for a copy of the file"
                ) from error
        self._lines = folder / _LINES
        num_bytes = (folder / _TABLE).stat().st_size
        empty = np.zeros(0, _COLUMNS)  # an empty file cannot be mapped
        self.table: np.ndarray = np.memmap(folder / _TABLE, _COLUMNS, mode="r") if num_bytes else empty
        """Facts about each row: columns start, length, characters, images, videos, id_hash, repeat, picture_hash."""

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise TypeError("rows are read one by one")
        entry = self.table[index]
        with self._lines.open("rb") as stream:  # opened each time: nothing is shared with other processes
            stream.seek(int(entry["start"]))
            return json.loads(stream.read(int(entry["length"])))


class TableRows(Sequence[Any]):
    """Rows of a split of a Hugging Face data set, measured at once.

    Args:
        dataset: a map-style data set.
        measure: function of each row and its position.
    """

    def __init__(self, dataset: Any, measure: Callable[[Any, int], Measures]) -> None:
        self.dataset = dataset
        self.table: np.ndarray = np.zeros(len(dataset), _COLUMNS)
        """Facts about each row: columns characters, images, videos, id_hash, repeat, picture_hash."""
        for place in range(len(dataset)):
            of_row = measure(self[place], place)
            picture = id_hash(of_row.group)
            counts = of_row.characters, of_row.images, of_row.videos
            self.table[place] = (0, 0, *counts, id_hash(of_row.id), 0, picture)
        self.table["repeat"] = _repeats(self.table["id_hash"])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        """Return a row; a list of records that Arrow keeps as columns becomes a list of records again."""
        row = self.dataset[index]
        return {name: _records(value) if isinstance(value, Mapping) else value for name, value in row.items()}


def _records(columns: Mapping[str, Any]) -> Any:
    if not all(isinstance(column, list) for column in columns.values()):
        return columns
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _place(source: Path, index_dir: Path | None) -> Path:
    if index_dir is None:
        return source.parent / f"{source.name}.rows"
    return index_dir / f"{source.name}.{fingerprint(source.resolve())}.rows"


def _read_identity(folder: Path) -> Any:
    path = folder / _IDENTITY
    return json.loads(path.read_text()) if path.is_file() else None


def _stream(
    source: Path, measure: Callable[[Any, int], Measures], folder: Path, identity: dict[str, Any], read: Rows
) -> None:
    """Write the index of a source; it takes its place when it is whole."""
    logger.info("%s is streamed once into %s", source, folder)
    with whole_folder(folder) as aside:
        with (
            source.open("rb") as stream,
            (aside / _LINES).open("wb") as lines,
            (aside / _TABLE).open("wb") as table,
            tqdm(total=identity["size"], desc=f"indexing {source.name}", unit="B", unit_scale=True) as progress,
        ):
            start = 0
            try:
                for position, row in enumerate(read(stream)):
                    line = _line(row)
                    of_row = measure(row, position)
                    lines.write(line)
                    numbers = start, len(line), of_row.characters, of_row.images, of_row.videos
                    table.write(_ENTRY.pack(*numbers, id_hash(of_row.id), 0, id_hash(of_row.group)))
                    start += len(line)
                    progress.update(stream.tell() - progress.n)
            except ValueError as error:
                raise _refusal(source, stream.tell(), error) from error
        if start:
            entries = np.memmap(aside / _TABLE, _COLUMNS, mode="r+")
            entries["repeat"] = _repeats(entries["id_hash"])
            entries.flush()
        write_whole(aside / _IDENTITY, json.dumps(identity))


def _line(row: Any) -> bytes:
    """A row as a line of JSON."""
    try:
        content = _UNREADABLE + row if isinstance(row, UnreadableRow) else row
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode() + b"\n"
    except ValueError:  # 1e999
        return _line(UnreadableRow("a number beyond the range of floats"))


def _refusal(source: Path, place: int, error: ValueError) -> ValueError:
    if str(error) == "no array":
        return ValueError(f"{source}: expected a JSON array of records")
    if not str(error).startswith("parse error"):
        return ValueError(f"{source}: {error}; near byte {place:,}")
    return ValueError(f"{source}: not a whole JSON array, near byte {place:,} ({error}); fetch it again")


def _contains(hashes: UInt64[np.ndarray, " N"], value: int) -> bool:
    place = int(np.searchsorted(hashes, np.uint64(value)))
    return place < len(hashes) and int(hashes[place]) == value


def _repeats(hashes: UInt64[np.ndarray, " N"]) -> Int[np.ndarray, " N"]:
    """The number of earlier rows with the same hash, for each row."""
    order = np.argsort(hashes, kind="stable")
    is_first = np.ones(len(order), bool)
    is_first[1:] = hashes[order[1:]] != hashes[order[:-1]]
    starts = np.flatnonzero(is_first)
    repeats = np.empty(len(order), np.int64)
    repeats[order] = np.arange(len(order)) - starts[np.cumsum(is_first) - 1]
    return repeats


class IndexedSamples:
    """A map-style data set of one sample per row of a JSON array, which stays on disk.

    Later rows of an id get the ids `ID#2`, `ID#3`, and so on.

    Args:
        source: the file, or a split of a Hugging Face data set with the same columns.
        kind: name of the format.
        part: `validation` for the held-out samples, `train` for the others; None: all.
        size: number of samples, from the first; None: all.
        index_dir: folder for the index of the rows; None: the file's folder.
        held_out: rule of the parts.
        read: as for RowIndex.
        rule: the frames of a video that the models see; None: the defaults.

    Raises:
        ValueError: for a file that cannot be read, or an index that cannot be written.
    """

    def __init__(
        self,
        source: Any,
        kind: str,
        part: Part | None = None,
        size: int | None = None,
        index_dir: str | Path | None = None,
        held_out: HeldOut = BY_PICTURE,
        read: Rows = array_rows,
        rule: ClipRule | None = None,
    ) -> None:
        self.rule = ClipRule() if rule is None else rule
        if hasattr(source, "column_names"):
            self.files: tuple[Path, ...] = tuple(Path(entry["filename"]) for entry in source.cache_files)
            self.rows = TableRows(source, self._measure)
        else:
            self.files = (Path(source),)
            self.rows = RowIndex(source, kind, self._measure, index_dir, read)
        table = self.rows.table
        if held_out.by == "id":
            self.places = places_by_id(table["id_hash"], part)[:size]
        else:
            noun = nouns(bool(table["images"].any()), bool(table["videos"].any()))
            self.places = places_by_picture(table["picture_hash"], part, held_out.share, str(source)[:80], noun)[:size]
        if table["videos"].any():  # samples of pictures alone have one shape
            self.shape_of = self._shape_of
            announce_rule(str(source)[:80], self.rule)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        """Return the sample of an index.

        Raises:
            RecordError: for a bad row.
        """
        if not 0 <= index < len(self.places):
            raise IndexError(f"sample {index} of {len(self.places)}")
        place = int(self.places[index])
        row = self.rows[place]
        if isinstance(row, str) and row.startswith(_UNREADABLE):
            raise RecordError("malformed", f"row {place}: {row.removeprefix(_UNREADABLE)}")
        if not isinstance(row, Mapping):
            raise RecordError("malformed", f"row {place}: expected an object, got {type(row).__name__}")
        sample = self._sample(row, place)
        repeat = int(self.rows.table["repeat"][place])
        return replace(sample, id=self._distinct(sample.id, repeat, place)) if repeat else sample

    def _distinct(self, id: str, repeat: int, place: int) -> str:
        """The id of a row after others of the same id: `ID#2`; predictions are stored by id."""
        name = f"{id}#{repeat + 1}"
        while _contains(self._sorted_hashes, id_hash(name)):
            name += f"@{place}"
        return name

    @cached_property
    def _sorted_hashes(self) -> UInt64[np.ndarray, " N"]:
        return np.sort(self.rows.table["id_hash"])

    def text_length_of(self, index: int) -> int:
        """Return the characters of a sample's turns, without reading it; 0 for a bad row."""
        return int(self.rows.table["characters"][self.places[index]])

    def num_images_of(self, index: int) -> int:
        """Return the number of pictures that Gemma sees of a sample, without reading it."""
        row = self.rows.table[self.places[index]]
        return int(row["images"]) + int(row["videos"]) * self.rule.num_gemma_frames

    def _shape_of(self, index: int) -> Hashable:
        """Return the shape of a sample without reading it: each clip of a video has the frames of the rule."""
        return shape_of_clips(self.rule.num_frames if self.rows.table["videos"][self.places[index]] else 1)

    @abstractmethod
    def _measure(self, row: Any, place: int) -> Measures:
        """Measure a row for the index; no row may raise an error."""

    @abstractmethod
    def _sample(self, row: Mapping[str, Any], place: int) -> Sample:
        """Make the sample of a row."""
