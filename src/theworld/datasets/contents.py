"""Contents of data files: short digests that tell if a file is still the one that a run began with."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

_MOST_BYTES_READ: Final = 256 << 20
"""Files of a data set that are larger in all are read in part."""
_BLOCK_BYTES: Final = 64 << 10
_NUM_BLOCKS: Final = 4_096
"""Blocks that are read of all large files together; of each at least the first and the last."""


@runtime_checkable
class KnowsFiles(Protocol):
    """A data set whose rows are in files."""

    files: tuple[Path, ...]
    """The files of the rows; without pictures that lie beside them."""


def files_of(samples: object) -> tuple[Path, ...]:
    """Return the files that hold the rows of a data set; none for one that is simulated or in memory."""
    return samples.files if isinstance(samples, KnowsFiles) else ()


def digests(files: Iterable[Path]) -> dict[str, str]:
    """Return a digest of each file's contents by its name; path, owner and time of change do not count.

    Up to 256 MiB in all, every byte counts. Of larger data sets each file's size counts, with 4,096 blocks of 64 KiB in
    all, at equal distances: at least the first and the last of each file.

    Args:
        files: of a data set. Names that several files share get the folders that distinguish them.

    Raises:
        OSError: for a file that cannot be read.
    """
    paths = list(dict.fromkeys(Path(path).absolute() for path in files))
    sizes = [path.stat().st_size for path in paths]
    num_blocks = None if sum(sizes) <= _MOST_BYTES_READ else max(2, _NUM_BLOCKS // len(paths))
    hashes = [_digest(path, size, num_blocks) for path, size in zip(paths, sizes, strict=True)]
    return dict(zip(_names(paths), hashes, strict=True))


def _names(paths: list[Path]) -> list[str]:
    """The shortest ends of the paths that are all different."""
    names: list[str] = []
    for num_parts in range(1, max((len(path.parts) for path in paths), default=0) + 1):
        names = ["/".join(path.parts[-num_parts:]) for path in paths]
        if len(set(names)) == len(paths):
            break
    return names


def _digest(path: Path, size: int, num_blocks: int | None) -> str:
    """SHA-256 of a file, or of its size and of blocks at equal distances; 32 hexadecimal digits."""
    with path.open("rb") as stream:
        if num_blocks is None or size <= num_blocks * _BLOCK_BYTES:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
        digest = hashlib.sha256(str(size).encode())
        for number in range(num_blocks):
            stream.seek((size - _BLOCK_BYTES) * number // (num_blocks - 1))
            digest.update(stream.read(_BLOCK_BYTES))
        return digest.hexdigest()[:32]
