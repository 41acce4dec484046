"""Shards of img2dataset: tar or Parquet files with pictures, texts and facts."""

import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from theworld.datasets.errors import Cause, RecordError

_BLOCK_BYTES = 512


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
    except (tarfile.TarError, pa.ArrowException, OSError) as error:
        raise RecordError("malformed", f"{path}: the rest of the shard cannot be read ({error})") from error


def lost_records(path: Path) -> Counter[Cause]:
    """Count the records of a shard that img2dataset could not fetch, by cause, from the Parquet file beside it."""
    table = path.with_suffix(".parquet")
    if not table.is_file() or "status" not in _columns(table):
        return Counter()
    columns = [name for name in ("status", "error_message") if name in _columns(table)]
    rows = pq.read_table(table, columns=columns).to_pylist()
    causes: Counter[Cause] = Counter()
    for row in rows:
        if row["status"] != "success":
            causes["wrong checksum" if "hash" in (row.get("error_message") or "") else "dead link"] += 1
    return causes


def _columns(path: Path) -> list[str]:
    try:
        return pq.read_schema(path).names
    except (pa.ArrowException, OSError):
        return []  # an incomplete file beside a shard


def _read_tar(path: Path, start: int) -> Iterator[ShardRecord]:
    """Members that share a name up to its first dot are a record; `start` is the offset of the first of them."""
    with path.open("rb") as stream:
        stream.seek(start)
        key, parts = "", dict[str, bytes]()
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                stem, _, suffix = name.partition(".")
                if not member.isfile():
                    continue
                if parts and stem != key:
                    yield _record(key, parts, member.offset)
                    parts = {}
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


def _record(key: str, parts: Mapping[str, bytes], end: int) -> ShardRecord:
    picture = next((parts[name] for name in ("jpg", "jpeg", "png", "webp") if name in parts), None)
    try:
        facts = json.loads(parts.get("json", b"{}"))
        caption = facts.get("text") or facts.get("caption")
        text = parts["txt"].decode() if "txt" in parts else caption if isinstance(caption, str) else None
    except (ValueError, AttributeError):
        facts, text = {"status": "malformed"}, None
    return ShardRecord(key, picture, text, facts, end)


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
                    text = values.get("txt") or values.get("text") or values.get("caption")
                    yield ShardRecord(str(values.get("key", start - 1)), picture, text, values, start)
            row += num_rows
