"""Files of the feature store: shards that hold its items, and files that are created as a whole."""

import contextlib
import errno
import hashlib
import mmap
import os
import secrets
import stat
import tempfile
from collections.abc import Iterable, Sequence
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


def opened(file: Path) -> BinaryIO:
    """Open a file of the store for reading.

    Raises:
        FileNotFoundError: if there is no such file.
        StoreDamagedError: if a folder, a pipe or a device is in its place; a pipe would wait for ever.
        StoreError: if it is not readable.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise StoreDamagedError([file])
        return file.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise StoreDamagedError([file]) from error
        raise StoreError(f"{file}: {error.strerror}; make the feature store readable, and run again") from error


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
            StoreDamagedError: if the file is shorter, or not a file.
            StoreError: if it is not readable.
        """
        if num_bytes <= len(self.content):
            return
        with opened(self.file) as stream:
            # An access to a mapped page beyond the end of the file would kill the process.
            size = os.fstat(stream.fileno()).st_size
            if size < num_bytes:
                raise StoreDamagedError([self.file])
            self.content = memoryview(mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ))

    def damaged_items(self, offset: int, item_bytes: int, checksums: Sequence[str]) -> int:
        """Count the items, side by side from `offset` on, that are missing from the file or have another checksum.

        Raises:
            FileNotFoundError: if there is no such file.
        """
        try:
            with opened(self.file) as stream:
                stream.seek(offset)
                return sum(checksum(stream.read(item_bytes)) != stated for stated in checksums)
        except StoreDamagedError:
            return len(checksums)


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
