"""Files and folders that are either whole or absent, and fingerprints of their contents."""

import glob
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recover(target: Path) -> bool:
    """Put back what a killed `replace_folder` had taken away from `target`; whether there was such a folder.

    Only where nothing stands at `target` and exactly one earlier folder is set aside: with several, which one was the
    last cannot be told.
    """
    target = Path(target)
    if target.exists():
        return False
    earlier = sorted(target.parent.glob(f".{glob.escape(target.name)}.old.*/{glob.escape(target.name)}"))
    if len(earlier) != 1:
        return False
    earlier[0].rename(target)
    earlier[0].parent.rmdir()
    logger.warning("%s: put back, after its replacement had been interrupted", target)
    return True


def replace_folder(aside: Path, target: Path) -> None:
    """Put a finished folder in the place of `target`: on disk first, then by rename.

    A folder cannot be renamed over one that holds files, so what stands at `target` steps aside first, into
    `.NAME.old.*/NAME` beside it. If the second rename fails, it steps back. A process killed between the two leaves
    nothing at `target`: the next `replace_folder` or `whole_folder`, or `recover`, puts the earlier folder back. One
    process at a time may replace a folder.
    """
    recover(target)
    for path in sorted(aside.rglob("*"), reverse=True):  # a folder after what is in it
        if path.exists():  # not so a link to what is gone
            sync(path)
    sync(aside)
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
        target.rename(old / target.name)
        try:
            aside.rename(target)
        except OSError:
            (old / target.name).rename(target)
            old.rmdir()
            raise
        (old / target.name).rename(old / "replaced")  # half deleted, it must not be taken for a folder to put back
        shutil.rmtree(old)
    else:
        aside.rename(target)
    sync(target.parent)


def remove_folder(target: Path) -> None:
    """Delete a folder; a process killed meanwhile leaves nothing half deleted under its name."""
    doomed = Path(tempfile.mkdtemp(prefix=f".{target.name}.removed.", dir=target.parent))
    target.rename(doomed / target.name)
    shutil.rmtree(doomed)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of `target` only when the block ends without an error.

    What stood at `target` before stays until the new content is on disk; see `replace_folder` for a kill in between.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    recover(target)
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
            sync(path)
        for path in files:
            path.replace(folder / path.name)
        sync(folder)
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


def fingerprint_weights(folder: Path) -> str:
    """Fingerprint of the safetensors files of a folder: of their names and of every byte.

    A file that was read before and has the same path, inode, size and time of change is not read again: its digest is
    kept in `fingerprints.json` in the user's cache, `$THEWORLD_CACHE`, else `~/.cache/theworld`.

    Raises:
        FileNotFoundError: if there are no safetensors files.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder}: no *.safetensors files")
    cache = Path(os.environ.get("THEWORLD_CACHE") or Path.home() / ".cache" / "theworld") / "fingerprints.json"
    known = _known_digests(cache)
    paths = [str(file.resolve()) for file in files]  # of a downloaded model: several names may lead to one file
    found = {path: _digest_entry(Path(path), known.get(path)) for path in dict.fromkeys(paths)}
    fresh = {path: entry for path, entry in found.items() if entry != known.get(path) and _is_settled(entry)}
    if fresh:
        try:
            write_whole(cache, json.dumps({**_known_digests(cache), **fresh}, indent=0))
        except OSError as error:
            logger.warning("%s cannot be written (%s): weights are read anew each time", cache, error)
    digest = hashlib.sha256()
    for file, path in zip(files, paths, strict=True):
        digest.update(f"{file.name}:{found[path]['sha256']}\n".encode())
    return digest.hexdigest()[:16]


_SETTLED_SECONDS = 2.0
"""A file changed again within the resolution of its clock keeps its time of change: younger ones are not remembered."""


def _digest_entry(file: Path, known: Any) -> dict[str, Any]:
    """Inode, size, time of change and SHA-256 of a file; read only if the first three are not as they are known."""
    facts = file.stat()
    entry = {"inode": facts.st_ino, "size": facts.st_size, "mtime_ns": facts.st_mtime_ns}
    digest = known.get("sha256") if isinstance(known, dict) else None
    if isinstance(digest, str) and known == {**entry, "sha256": digest}:
        return known
    return {**entry, "sha256": _digest(file)}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_settled(entry: dict[str, Any]) -> bool:
    return time.time() - entry["mtime_ns"] / 1e9 > _SETTLED_SECONDS


def _known_digests(cache: Path) -> dict[str, Any]:
    """What the cache holds; nothing, if it cannot be read: the files themselves can."""
    try:
        known = json.loads(cache.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read (%s): weights are read anew", cache, error)
        return {}
    return known if isinstance(known, dict) else {}
