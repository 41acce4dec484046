"""Rows of a public data set in Parquet or JSON: a hub repository, a folder in its layout, or one file."""

import json
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from theworld.datasets.conversations import checked
from theworld.datasets.errors import RecordError
from theworld.datasets.records import distinct_ids
from theworld.datasets.sample import Sample
from theworld.hub import fetch, refuse_revision
from theworld.io import unique_names

Row = Mapping[str, Any]


class RowSamples:
    """A map-style data set of one sample per row.

    Args:
        rows: arguments of `_sample`.
        size: number of them, from the first; None: all.
        ids: of the rows; later rows of an id get `ID#2`, and so on. None: those of the samples.
    """

    def __init__(self, rows: Sequence[Any], size: int | None = None, ids: Iterable[Any] | None = None) -> None:
        self.rows = rows
        self.files: tuple[Path, ...] = getattr(rows, "files", ())
        """Files of the rows; none for rows in memory."""
        self._ids = None if ids is None else distinct_ids(ids)
        self.size = len(rows) if size is None else min(size, len(rows))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.size:
            raise IndexError(f"sample {index} of {self.size}")
        sample = self._sample(self.rows[index])
        if self._ids is not None:
            sample = replace(sample, id=self._ids[index])
        checked(sample.turns, sample.id)
        return sample

    @abstractmethod
    def _sample(self, row: Any) -> Sample:
        """Make the sample of a row."""


class _Table(Sequence[Row]):
    """Rows of Parquet files, each converted to Python values on access."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.files = tuple(paths)
        self._table = pa.concat_tables([pq.read_table(path, memory_map=True) for path in paths])

    def __len__(self) -> int:
        return self._table.num_rows

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            raise TypeError("rows are read one by one")
        try:
            return self._table.slice(index, 1).to_pylist()[0]
        except (UnicodeDecodeError, pa.ArrowException, OSError, OverflowError) as error:
            raise RecordError("malformed", f"row {index}: cannot be read ({error})") from error

    def column(self, name: str) -> list[Any]:
        """Return the values of a column; None where there are none."""
        if name not in self._table.column_names:
            return [None] * len(self)
        try:
            return self._table.column(name).to_pylist()
        except (UnicodeDecodeError, pa.ArrowException, OSError, OverflowError):
            return [None] * len(self)


class _Rows(list[Row]):
    """Rows of JSON files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(row for path in paths for row in _read_json(path))
        self.files = tuple(paths)


def column(rows: Sequence[Row], name: str) -> list[Any]:
    """Return a field of all rows, without reading their other fields; None where it is missing."""
    return rows.column(name) if isinstance(rows, _Table) else [row.get(name) for row in rows]


def read_rows(source: str | Path, patterns: Sequence[str], revision: str | None = None) -> Sequence[Row]:
    """Read the rows of the first of `patterns` that matches files of a source.

    Args:
        source: hub id of a data set, a folder in the layout of that repository, or one file (.parquet, .jsonl, .json).
        patterns: globs of the files with the rows, in order of preference.
        revision: commit of the hub repository.

    Raises:
        ValueError: if the source cannot be fetched, has none of these files, or has one that is not a table of rows;
            for a revision of local files.
    """
    path = Path(source)
    if path.exists():
        refuse_revision(path, revision)
    if path.is_file():
        return _read([path])
    folder = path if path.is_dir() else fetch(str(source), patterns, revision, kind="dataset")
    for pattern in patterns:
        files = sorted(folder.glob(pattern))
        if files:
            return _read(files)
    raise ValueError(f"{source}: no {' or '.join(patterns)} in {folder}; expected the files of the published data set")


def require(row: Row, names: Sequence[str], benchmark: str) -> None:
    """Refuse a row without these columns.

    Raises:
        RecordError: malformed, with the existing columns.
    """
    missing = [name for name in names if name not in row]
    if missing:
        columns = ", ".join(row) or "none"
        raise RecordError("malformed", f"{benchmark}: no column {', '.join(missing)}; the row has {columns}")


def _read(paths: Sequence[Path]) -> Sequence[Row]:
    if all(path.suffix == ".parquet" for path in paths):
        try:
            return _Table(paths)
        except pa.ArrowInvalid as error:
            raise ValueError(f"{', '.join(map(str, paths))}: no readable Parquet ({error})") from error
    return _Rows(paths)


def _read_json(path: Path) -> list[Row]:
    """A JSON array of objects, or one object per line.

    Lines end at `\\n` alone: JSON texts may hold U+2028, U+2029 and U+0085, where `str.splitlines` ends lines, too.
    """
    place = str(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if path.suffix == ".json":
            rows = _parsed(text)
        else:
            rows = []
            for number, line in enumerate(text.split("\n"), start=1):
                place = f"{path}, line {number}"
                if line.strip(" \t\r"):
                    rows.append(_parsed(line))
    except RecursionError:
        raise ValueError(f"{place}: nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{place}: not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path}: expected a list of objects, or one object per line")
    return rows


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=unique_names)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; write null")
