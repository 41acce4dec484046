"""Shard files of the feature store, and the numbered commits that make their appended items valid."""

import contextlib
import hashlib
import json
import mmap
import os
import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from theworld.io import sync

SHARD_BYTES = 4 * 2**30
"""A writer begins a new shard after this size, which limits the loss by a damaged file. A reader keeps one descriptor
open per shard; processes often have 1,024."""


class StoreError(ValueError):
    """An operation on a feature store failed."""


class StoreDamagedError(StoreError):
    """Files of a feature store have changed since they were written."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = tuple(sorted(set(files)))
        """The damaged files."""
        names = ", ".join(str(file) for file in self.files)
        super().__init__(
            f"damaged in the feature store: {names}. Stop the runs that use the store, delete these files, and"
            " run again: the features it held are computed anew"
        )


class StoreWriteError(StoreError):
    """New features could not be written to disk; stored features are unchanged."""


def create_whole(target: Path, content: bytes) -> bool:
    """Create a file that is complete from the moment it is visible; return False if it exists already.

    A hard link never replaces a file, on local and on network file systems alike: if several processes create one name,
    exactly one gets True.
    """
    descriptor, aside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(aside).chmod(0o644)  # mkstemp gives 0600
        try:
            os.link(aside, target)
        except FileExistsError:
            return False
        sync(target.parent)
        return True
    finally:
        Path(aside).unlink(missing_ok=True)


@dataclass(frozen=True)
class Commit:
    """Items of one number format and shape, side by side in a shard, in the order of `keys`."""

    shard: str
    """Name of the shard file."""
    offset: int
    """Bytes before the first item."""
    dtype: str
    shape: tuple[int, ...]
    """Shape of one item."""
    item_bytes: int
    keys: tuple[str, ...]
    checksums: tuple[str, ...]

    @property
    def end(self) -> int:
        """Bytes of the shard up to and including the last item."""
        return self.offset + len(self.keys) * self.item_bytes

    def encode(self) -> bytes:
        """Encode a commit file: the checksum of the second line, and the second line."""
        body = json.dumps(asdict(self), separators=(",", ":")).encode()
        return checksum(body).encode() + b"\n" + body

    @classmethod
    def read(cls, file: Path) -> "Commit":
        """Read a commit file.

        Raises:
            FileNotFoundError: if there is no such file.
            StoreDamagedError: if its content does not match its checksum.
        """
        stated, _, body = file.read_bytes().partition(b"\n")
        if checksum(body).encode() != stated:
            raise StoreDamagedError([file])
        fields = json.loads(body)
        for name in ("shape", "keys", "checksums"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def checksum(content: bytes | memoryview) -> str:
    """Return 128 bits of SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()[:32]


class Shard:
    """A shard file as memory-mapped bytes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.content = memoryview(b"")
        """The mapped bytes, at least as many as `map` got as its argument."""

    def map(self, num_bytes: int) -> None:
        """Map at least `num_bytes` bytes; a shard grows while its writer runs.

        Raises:
            FileNotFoundError: if there is no such file.
            StoreDamagedError: if the file is shorter.
        """
        if num_bytes <= len(self.content):
            return
        with self.file.open("rb") as stream:
            # An access to a mapped page beyond the end of the file would kill the process.
            size = os.fstat(stream.fileno()).st_size
            if size < num_bytes:
                raise StoreDamagedError([self.file])
            self.content = memoryview(mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ))

    def damaged_items(self, commit: Commit) -> int:
        """Count the items of a commit that are missing from the file or have another checksum."""
        with self.file.open("rb") as stream:
            stream.seek(commit.offset)
            return sum(checksum(stream.read(commit.item_bytes)) != stated for stated in commit.checksums)


class ShardWriter:
    """Appends to shard files of its own; bytes that are in no commit are never read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Path | None = None
        self._process = os.getpid()

    def append(self, content: np.ndarray) -> tuple[str, int]:
        """Write bytes and force them to disk.

        Returns:
            The name of the shard, and the offset of the first byte written.

        Raises:
            OSError: if the write failed; the shard is as long as before.
        """
        # A forked child must not share its parent's shard. A deleted file's name must not be used again, since commits
        # still point into it.
        if self._file is None or self._process != os.getpid() or not self._file.exists():
            self._file = self._folder / f"{secrets.token_hex(8)}.shard"
            self._process = os.getpid()
        file = self._file
        with file.open("ab", buffering=0) as stream:
            offset = stream.tell()
            try:
                _write_all(stream, content)
                os.fsync(stream.fileno())
                if not offset:
                    sync(self._folder)
            except OSError:
                with contextlib.suppress(OSError):  # frees the space; the bytes are unused in any case
                    stream.truncate(offset)
                raise
            if stream.tell() >= SHARD_BYTES:
                self._file = None
        return file.name, offset


def _write_all(stream: BinaryIO, content: np.ndarray) -> None:
    rest = content.reshape(-1).data
    while rest:
        rest = rest[stream.write(rest) :]
