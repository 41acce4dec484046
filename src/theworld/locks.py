"""Locks on output folders: one process writes into a folder at a time, and a second one is told at once."""

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

LOCK_NAME: Final = ".lock"
"""File of an output folder, with the process that writes there. It alone means nothing: a killed process leaves it."""

_NO_LOCKS: Final = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}
"""Errors of file systems without locks."""
_held: set[int] = set()
"""Descriptors of this process's locks."""


def _forget() -> None:
    """Close the locks in a forked process: a worker that survives its parent would keep them."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)


@contextmanager
def in_use(folder: Path, *, is_first: bool = True) -> Iterator[None]:
    """Keep other processes out of an output folder for the time of the block.

    The operating system drops the lock when its process ends, however it ends. Between machines it holds where the
    network file system passes `flock` on (NFS 4, and NFS 3 with lockd); without locks, a warning says so.

    Args:
        folder: created if it is missing, and removed afterwards if nothing else was written into it.
        is_first: False for the other processes of a distributed run, which write together with the first.

    Raises:
        ValueError: if another process, or another run in this one, writes into the folder.
    """
    if not is_first:
        yield
        return
    folder = Path(folder)
    new = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    descriptor = _lock(folder)
    _held.add(descriptor)
    try:
        yield
    finally:
        (folder / LOCK_NAME).unlink(missing_ok=True)  # while it is locked: `_lock` notices
        _remove_empty(new)
        _held.discard(descriptor)
        os.close(descriptor)


def _lock(folder: Path) -> int:
    """Return the open file that holds the lock."""
    while True:
        # No FileLock: where a file system has no locks, it counts the file alone, which a killed process leaves behind.
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # another process has just removed the empty folder
            continue
        except FileExistsError:  # the same, between mkdir's refusal and its look at what is there; or a file is there
            if any(place.exists() and not place.is_dir() for place in (folder, *folder.parents)):
                raise
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise ValueError(
                f"{folder} is in use: {owner} writes into it; wait for its end, or choose another folder"
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            logger.warning("%s: this file system has no locks, so no second process here is noticed", folder)
        if _is_at(folder / LOCK_NAME, descriptor):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return descriptor
        os.close(descriptor)  # the process that held it has removed it


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one with this path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, each in the next, up to the first that another process has filled."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return
