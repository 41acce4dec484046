"""Shard files and the numbered commits that seal what was appended to them: the feature store's bytes on disk."""

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
"""A writer begins a new shard after this size: the most that one damaged file costs. A reader keeps one descriptor
open per shard, and processes often have 1,024."""


class StoreError(ValueError):
    """A feature store cannot do what was asked."""


class StoreDamagedError(StoreError):
    """Files of a feature store are not as they were written."""

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = tuple(sorted(set(files)))
        """The damaged files."""
        names = ", ".join(str(file) for file in self.files)
        super().__init__(
            f"damaged in the feature store: {names}. Stop the runs that use the store, delete what is named here, and"
            " run again: the features it held are computed anew"
        )


class StoreWriteError(StoreError):
    """The disk did not take new features; those stored before are untouched."""


def create_whole(target: Path, content: bytes) -> bool:
    """Create a file that is whole from the moment it is visible; False if it is there already.

    A hard link is the step that cannot replace anything, on local and on network file systems alike: of several
    processes that create one name, exactly one gets True.
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
    """Items of one number format and shape that lie side by side in a shard, in the order of `keys`."""

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
        """The content of a commit file: the checksum of the second line, and the second line."""
        body = json.dumps(asdict(self), separators=(",", ":")).encode()
        return checksum(body).encode() + b"\n" + body

    @classmethod
    def read(cls, file: Path) -> "Commit":
        """Read a commit file.

        Raises:
            FileNotFoundError: if there is no such file.
            StoreDamagedError: if its content is not what `encode` gave.
        """
        stated, _, body = file.read_bytes().partition(b"\n")
        if checksum(body).encode() != stated:
            raise StoreDamagedError([file])
        fields = json.loads(body)
        for name in ("shape", "keys", "checksums"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def checksum(content: bytes | memoryview) -> str:
    """128 bits of SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()[:32]


class Shard:
    """A shard file as memory-mapped bytes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.content = memoryview(b"")
        """The mapped bytes, at least as many as `map` was asked for."""

    def map(self, num_bytes: int) -> None:
        """Map at least so many bytes; a shard grows while its writer lives.

        Raises:
            FileNotFoundError: if there is no such file.
            StoreDamagedError: if the file is shorter.
        """
        if num_bytes <= len(self.content):
            return
        with self.file.open("rb") as stream:
            # Touching a mapped page beyond the end of the file would kill the process, so the length is checked first.
            size = os.fstat(stream.fileno()).st_size
            if size < num_bytes:
                raise StoreDamagedError([self.file])
            self.content = memoryview(mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ))

    def damaged_items(self, commit: Commit) -> int:
        """How many items of a commit are missing from the file or have another checksum, read from the file itself."""
        with self.file.open("rb") as stream:
            stream.seek(commit.offset)
            return sum(checksum(stream.read(commit.item_bytes)) != stated for stated in commit.checksums)


class ShardWriter:
    """Appends to shard files that no other writer knows; what no commit names is nobody's and is never read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: Path | None = None
        self._process = os.getpid()

    def append(self, content: np.ndarray) -> tuple[str, int]:
        """Write bytes and force them to disk.

        Returns:
            The name of the shard, and the bytes before the first one written.

        Raises:
            OSError: if the disk did not take them; the shard is as long as before.
        """
        # A forked child must not share its parent's shard; and a name whose file was deleted must not come back, as
        # commits still point into it.
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
                with contextlib.suppress(OSError):  # gives the space back if it can; nothing reads it in any case
                    stream.truncate(offset)
                raise
            if stream.tell() >= SHARD_BYTES:
                self._file = None
        return file.name, offset


def _write_all(stream: BinaryIO, content: np.ndarray) -> None:
    rest = content.reshape(-1).data
    while rest:
        rest = rest[stream.write(rest) :]
