"""Shards of img2dataset: tar or Parquet files with pictures, texts and facts."""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from theworld.datasets.errors import Cause, RecordError
from theworld.datasets.records import id_of
from theworld.io import unique_names

_BLOCK_BYTES = 512
_RECORD_BYTES = 20 * _BLOCK_BYTES  # the end of a tar file may be cut by so many
_DAMAGE = (tarfile.TarError, pa.ArrowException, OSError, ValueError, IndexError, OverflowError, RecursionError)
"""Errors of the readers for damaged shards: tarfile converts damaged headers of sparse members without a check."""


@dataclass(frozen=True)
class ShardRecord:
    """A picture's file, its text and its facts; None if the shard lacks them."""

    key: str
    picture: bytes | None
    text: str | None
    facts: Mapping[str, Any]
    end: int
    """Start of the next record in the shard."""


def find_shards(source: Path) -> list[Path]:
    """Find the shards in a folder, or in its folder `shards`: tar files, or Parquet files with pictures.

    Raises:
        ValueError: if there are none.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder; expected shards that img2dataset wrote, pictures included")
    for folder in (source / "shards", source):
        if tars := sorted(folder.glob("*.tar")):
            return tars
    for folder in (source / "shards", source):
        if tables := [path for path in sorted(folder.glob("*.parquet")) if "jpg" in _columns(path)]:
            return tables
    raise ValueError(
        f"{source}: no shards: expected NUMBER.tar, or Parquet files with a column jpg, there or in its folder shards;"
        " metadata alone have no pictures, img2dataset fetches them"
    )


def read_shard(path: Path, start: int = 0) -> Iterator[ShardRecord]:
    """Yield the records of a shard from a position (`ShardRecord.end`).

    Raises:
        RecordError: at damage in the shard; the rest cannot be read.
    """
    try:
        yield from _read_table(path, start) if path.suffix == ".parquet" else _read_tar(path, start)
    except _DAMAGE as error:
        raise RecordError("malformed", f"{path}: the rest of the shard cannot be read ({error})") from error


def lost_records(path: Path) -> Counter[Cause]:
    """Count the records of a shard that img2dataset could not fetch, by cause, from the Parquet file beside it."""
    table = path.with_suffix(".parquet")
    if not table.is_file() or "status" not in _columns(table):
        return Counter()
    columns = [name for name in ("status", "error_message") if name in _columns(table)]
    try:
        rows = pq.read_table(table, columns=columns).to_pylist()
    except (pa.ArrowException, OSError, ValueError):
        return Counter()  # an incomplete file beside a shard
    causes: Counter[Cause] = Counter()
    for row in rows:
        if row["status"] != "success":
            causes["wrong checksum" if "hash" in str(row.get("error_message")) else "dead link"] += 1
    return causes


def _columns(path: Path) -> list[str]:
    try:
        return pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return []  # an incomplete file beside a shard


def _read_tar(path: Path, start: int) -> Iterator[ShardRecord]:
    """Members that share a path up to the first dot of the file's name are a record, as in webdataset.

    `start` is the offset of the first of them. Members that macOS adds belong to no record.
    """
    with path.open("rb") as stream:
        stream.seek(start)
        key, parts = "", dict[str, bytes]()
        bounded: Any = _Bounded(stream, path.stat().st_size)
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            for member in tar:
                if tar.offset <= member.offset or member.size < 0:
                    raise tarfile.ReadError(f"{member.name[:80]!r} claims {member.size:,} bytes")
                folder, slash, name = member.name.removeprefix("./").rpartition("/")
                stem, _, suffix = name.partition(".")
                if not member.isfile() or _is_of_macos(folder, name):
                    continue
                stem = f"{folder}{slash}{stem}"
                if parts and stem != key:
                    yield _record(key, parts, member.offset)
                    parts = {}
                if member.issparse():
                    raise tarfile.ReadError(f"{member.name[:80]!r} is a sparse file; expected whole ones")
                content = tar.extractfile(member)
                assert content is not None  # plain files have content
                key, parts[suffix.lower()] = stem, content.read()
                setattr(tar, "members", [])  # noqa: B010 - tarfile keeps every member in memory
            end = tar.offset
        if parts:
            yield _record(key, parts, end)
        stream.seek(end)
        if stream.read(_BLOCK_BYTES).strip(b"\0"):  # tarfile stops at a damaged header as at the end
            raise tarfile.ReadError(f"no header at byte {end:,}")


def _is_of_macos(folder: str, name: str) -> bool:
    """Return whether macOS added a member to an archive: attributes beside each file, and its views of folders."""
    return name.startswith("._") or name == ".DS_Store" or folder.split("/")[0] == "__MACOSX"


class _Bounded:
    """A file in which no read may start before the first byte or pass the last one.

    Headers of a tar file claim sizes, and tarfile reserves memory for any of them.
    """

    def __init__(self, stream: BufferedIOBase, num_bytes: int) -> None:
        self._stream, self._num_bytes = stream, num_bytes
        self.tell = stream.tell

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0 and not 0 <= place <= self._num_bytes + _BLOCK_BYTES:
            raise tarfile.ReadError(f"a member ends at byte {place:,} of {self._num_bytes:,}")
        return self._stream.seek(place, whence)

    def read(self, num_bytes: int = -1) -> bytes:
        left = max(0, self._num_bytes - self._stream.tell())
        if num_bytes < 0 or num_bytes > left + _RECORD_BYTES:
            raise tarfile.ReadError(f"a member claims {num_bytes:,} bytes, and the file has {left:,} more")
        return self._stream.read(num_bytes)


def _record(key: str, parts: Mapping[str, bytes], end: int) -> ShardRecord:
    picture = next((parts[name] for name in ("jpg", "jpeg", "png", "webp") if name in parts), None)
    try:
        facts = json.loads(parts.get("json", b"{}"), object_pairs_hook=unique_names)
        text = parts["txt"].decode("utf-8-sig") if "txt" in parts else _text(facts)
    except (ValueError, AttributeError, RecursionError):
        facts, text = {"status": "malformed"}, None
    name = key.encode("utf-8", "replace").decode()  # tarfile keeps other bytes as halves of surrogate pairs
    return ShardRecord(name, picture, text, facts, end)


def _text(facts: Mapping[str, Any]) -> str | None:
    """The first text of facts that is not empty.

    Raises:
        ValueError: if it is of another type.
    """
    text = next((facts[name] for name in ("txt", "text", "caption") if facts.get(name) not in (None, "")), None)
    if text is not None and not isinstance(text, str):
        raise ValueError(f"a text of type {type(text).__name__}")
    return text


def _read_table(path: Path, start: int) -> Iterator[ShardRecord]:
    """`start` is the number of the first row. Rows without a picture are skipped if their download failed."""
    with pq.ParquetFile(path) as table:
        row = 0
        for group in range(table.num_row_groups):
            num_rows = table.metadata.row_group(group).num_rows
            if row + num_rows > start:
                for values in table.read_row_group(group).slice(max(0, start - row)).to_pylist():
                    start += 1
                    picture = values.pop("jpg")
                    if picture is None and values.get("status", "success") != "success":
                        continue
                    picture = picture.get("bytes") if isinstance(picture, Mapping) else picture
                    try:
                        text = _text(values)
                        if not isinstance(picture, bytes | None):
                            raise ValueError(f"a picture of type {type(picture).__name__}")
                    except ValueError:
                        values, picture, text = {"key": values.get("key"), "status": "malformed"}, None, None
                    yield ShardRecord(id_of(values.get("key"), start - 1), picture, text, values, start)
            row += num_rows
