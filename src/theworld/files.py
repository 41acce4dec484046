"""Files and folders that are either whole or absent, and fingerprints of their contents."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_folder(aside: Path, target: Path) -> None:
    """Put a finished folder in the place of `target`: on disk first, then by rename."""
    for path in sorted(aside.rglob("*")):
        if path.is_file():
            _fsync(path)
    _fsync(aside)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.rename(old / target.name)
        aside.rename(target)
        shutil.rmtree(old)
    else:
        aside.rename(target)
    _fsync(target.parent)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of `target` only when the block ends without an error.

    What stood at `target` before stays until the new content is on disk.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        aside.chmod(0o755)  # mkdtemp gives 0700
        yield aside
        replace_folder(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """A folder to fill whose files join `folder` when the block ends without an error, each of them whole.

    A new folder appears whole or not at all; in an existing one, what others put there stays.
    """
    folder = Path(folder)
    if not folder.exists():
        with whole_folder(folder) as aside:
            yield aside
        return
    aside = Path(tempfile.mkdtemp(prefix=".saving.", dir=folder))
    try:
        yield aside
        files = sorted(aside.iterdir())
        for path in files:
            _fsync(path)
        for path in files:
            path.replace(folder / path.name)
        _fsync(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_whole(target: Path, content: str | bytes) -> None:
    """Write a file aside and rename it into place."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(aside).chmod(0o644)
        Path(aside).replace(target)
    finally:
        Path(aside).unlink(missing_ok=True)


def fingerprint(*parts: Any) -> str:
    """Sixteen hexadecimal digits that stand for JSON-like values; equal values, equal digits."""
    text = json.dumps(parts, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_SAMPLES = 64
_SAMPLE_BYTES = 16384


def fingerprint_weights(folder: Path) -> str:
    """Fingerprint of the safetensors files under a folder.

    Reads each file's size, its head and 64 evenly spaced pieces: other weights of the same shape differ in every
    piece, and a file of 8 GB is told apart in milliseconds. A single changed tensor of a large file can escape it.

    Raises:
        FileNotFoundError: if there are no safetensors files.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder}: no *.safetensors files")
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            for piece in range(_SAMPLES):
                stream.seek(piece * max(0, size - _SAMPLE_BYTES) // (_SAMPLES - 1))
                digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16]
