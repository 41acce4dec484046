"""Atomic files and folders, caches of numbered pieces, claims of runs on folders, and fingerprints."""

import glob
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

logger = logging.getLogger(__name__)

_MOST_CHANGES: Final = 8
"""Differing values that the message of a refused claim lists."""
_MOST_CHARACTERS: Final = 100
"""Characters of a value in that message."""


def sync(path: Path) -> None:
    """Wait until a file, or the list of names in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recover(target: Path) -> bool:
    """Restore the folder that a killed `replace_folder` moved away from `target`; return True if there was one.

    This needs an absent `target` and exactly one folder set aside: of several, the latest one is unknown.
    """
    target = Path(target)
    if target.exists():
        return False
    earlier = sorted(target.parent.glob(f".{glob.escape(target.name)}.old.*/{glob.escape(target.name)}"))
    if len(earlier) != 1:
        return False
    earlier[0].rename(target)
    earlier[0].parent.rmdir()
    logger.warning("%s: restored after an interrupted replacement", target)
    return True


def replace_folder(aside: Path, target: Path) -> None:
    """Replace `target` by a finished folder: sync its files to disk, then rename it.

    A folder cannot be renamed over one that holds files, so `target` is first renamed to `.NAME.old.*/NAME` beside it.
    If the second rename fails, the first is undone. A process killed between the two leaves nothing at `target`: the
    next `replace_folder`, `whole_folder` or `recover` restores the earlier folder. Only one process at a time may
    replace a folder.
    """
    recover(target)
    for path in sorted(aside.rglob("*"), reverse=True):  # a folder after its contents
        if path.exists():  # False for a broken link
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
        (old / target.name).rename(old / "replaced")  # `recover` must not restore it half deleted
        shutil.rmtree(old)
    else:
        aside.rename(target)
    sync(target.parent)


def remove_folder(target: Path) -> None:
    """Delete a folder; a process killed meanwhile leaves no half-deleted folder under this name."""
    doomed = Path(tempfile.mkdtemp(prefix=f".{target.name}.removed.", dir=target.parent))
    target.rename(doomed / target.name)
    shutil.rmtree(doomed)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a folder to fill; it replaces `target` only when the block ends without an error.

    The earlier `target` stays until the new content is on disk; see `replace_folder` for a kill in between.
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
    """Yield a folder to fill; its files move to `folder`, each of them whole, when the block ends without an error.

    A new folder appears whole or not at all; an existing one keeps its other files.
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
    """Write a file under a temporary name, sync it to disk and rename it."""
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


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """Yield a path to write to; the file replaces `target` only when the block ends without an error."""
    target = Path(target)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        aside = Path(folder) / target.name
        yield aside
        sync(aside)
        aside.replace(target)


class PieceFolder:
    """Cache of numbered pieces: each is whole or absent, and an interrupted folder resumes where it stopped.

        folder/00000000.npy, 00000000.jsonl    elements 0 to 249
        folder/00000250.npy, 00000250.jsonl    elements 250 to 499

    Args:
        folder: holds the pieces.
        starts: number of the first element of each piece, which names its files.
        suffix: of the file that marks a piece as whole; it is the last one written.
        num_digits: digits in a file name.
    """

    def __init__(self, folder: Path, starts: range, suffix: str = ".npy", num_digits: int = 8) -> None:
        self.folder = folder
        self.paths = [folder / f"{start:0{num_digits}d}{suffix}" for start in starts]

    def compare(
        self, stored: Callable[[Path], Mapping[str, Any]], expected: Callable[[int], Mapping[str, Any]], remedy: str
    ) -> None:
        """Compare the first piece on disk with the content it would get today.

        Args:
            stored: describes a piece on disk.
            expected: describes the piece that starts at a number, as it would be made now.
            remedy: ends the error message.

        Raises:
            ValueError: if the descriptions differ.
        """
        path = next((path for path in self.paths if path.exists()), None)
        if path is not None:
            check_same_run(self.folder, expected(int(path.stem)), stored(path), remedy)

    def fill(self, make: Callable[[int], Mapping[str, str | bytes]], label: str, num_processes: int = 1) -> None:
        """Write the missing pieces.

        Args:
            make: returns the contents of the piece that starts at a number, by suffix. With several processes it must
                be picklable.
            label: names the work in the progress bar.
            num_processes: processes that make pieces; 1: this process.
        """
        missing = [path for path in self.paths if not path.exists()]
        write = partial(_write_piece, make)
        progress = partial(tqdm, desc=label, total=len(missing), unit="piece", disable=not missing)
        if num_processes == 1 or len(missing) < 2:
            for _ in progress(map(write, missing)):
                pass
            return
        # Spawned, not forked: a fork of a torch that has started its threads may hang.
        with ProcessPoolExecutor(num_processes, mp_context=get_context("spawn")) as pool:
            for _ in progress(pool.map(write, missing)):
                pass


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the object of its names and values; the `object_pairs_hook` of JSON that others wrote.

    Raises:
        ValueError: for a name that is there twice, of which Python would take the last.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"{twice!r:.60} is given twice; keep one")
    return values


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON objects a line, without a last line that a kill cut off; no file has no lines.

    Raises:
        ValueError: names the file and the line that is no object.
    """
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            row = json.loads(line) if line else None
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: no JSON ({error}); repair it, or start anew") from error
        if row is not None and not isinstance(row, dict):
            raise ValueError(f"{path}, line {number}: expected an object")
        rows += [] if row is None else [row]
    return rows


def _write_piece(make: Callable[[int], Mapping[str, str | bytes]], path: Path) -> None:
    contents = make(int(path.stem))
    for suffix in sorted(contents, key=lambda suffix: suffix == path.suffix):  # last: the mark of a whole piece
        write_whole(path.with_suffix(suffix), contents[suffix])


def claim(path: Path, identity: Mapping[str, Any], remedy: str) -> None:
    """Keep the identity of a run in a JSON file; on a later start, check that it is the same run.

    Args:
        path: the file, in the folder that the run claims.
        identity: JSON-like values that the contents of the folder depend on.
        remedy: ends the error message.

    Raises:
        ValueError: if the file holds another identity.
    """
    if path.exists():
        try:
            existing = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path}: damaged ({error}); {remedy}") from error
        if not isinstance(existing, dict):
            raise ValueError(f"{path}: it holds no identity of a run; {remedy}")
        check_same_run(path.parent, identity, existing, remedy)
    else:
        write_whole(path, json.dumps(identity, indent=2, default=str) + "\n")


def check_same_run(place: Path, expected: Mapping[str, Any], existing: Mapping[str, Any], remedy: str) -> None:
    """Refuse a file or folder that belongs to another run.

    Args:
        place: the file or folder.
        expected: identity of this run: JSON-like values, which may be nested.
        existing: identity of the run that `place` belongs to.
        remedy: ends the error message.

    Raises:
        ValueError: if the identities differ; the message names the values that do.
    """
    here, there = flattened(expected), flattened(existing)
    changes = [
        f"{name}: {_shown(there, name)} there, {_shown(here, name)} here"
        for name in here | there
        if (name in there, there.get(name)) != (name in here, here.get(name))
    ]
    if changes:
        more = [f"{len(changes) - _MOST_CHANGES} more"] if len(changes) > _MOST_CHANGES else []
        listed = "; ".join(changes[:_MOST_CHANGES] + more)
        raise ValueError(f"{place} belongs to another run ({listed}); {remedy}")


def flattened(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as one: each value, in its JSON form, by its dotted name."""
    flat: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(values, default=str)).items():
        if isinstance(value, dict) and value:
            flat |= {f"{name}.{inner}": leaf for inner, leaf in flattened(value).items()}
        else:
            flat[name] = value
    return flat


def _shown(values: Mapping[str, Any], name: str) -> str:
    text = repr(values[name]) if name in values else "nothing"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def fingerprint(*parts: Any) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of JSON-like values; equal values give equal digits."""
    text = json.dumps(parts, sort_keys=True, default=str, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint_weights(folder: Path) -> str:
    """Return the fingerprint of a folder's safetensors files: of their names and of every byte.

    `fingerprints.json` in the user's cache (`$THEWORLD_CACHE`, else `~/.cache/theworld`) keeps the digest of each file,
    so a file with the same path, inode, size and time of change is read only once.

    Raises:
        FileNotFoundError: if there are no safetensors files.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder}: no *.safetensors files")
    cache = Path(os.environ.get("THEWORLD_CACHE") or Path.home() / ".cache" / "theworld") / "fingerprints.json"
    known = _known_digests(cache)
    paths = [str(file.resolve()) for file in files]  # several names of a downloaded model may link to one file
    entries = {path: _digest_entry(Path(path), known.get(path)) for path in dict.fromkeys(paths)}
    fresh = {path: entry for path, entry in entries.items() if entry != known.get(path) and _is_settled(entry)}
    if fresh:
        try:
            write_whole(cache, json.dumps({**_known_digests(cache), **fresh}, indent=0))
        except OSError as error:
            logger.warning("%s cannot be written (%s): weights are read again each time", cache, error)
    digest = hashlib.sha256()
    for file, path in zip(files, paths, strict=True):
        digest.update(f"{file.name}:{entries[path]['sha256']}\n".encode())
    return digest.hexdigest()[:16]


_SETTLED_SECONDS = 2.0
"""Younger files are not cached: a second change within the resolution of the clock would keep the time of change."""


def _digest_entry(file: Path, known: Any) -> dict[str, Any]:
    """Return inode, size, time of change and SHA-256 of a file; reads it only if one of the first three has changed."""
    status = file.stat()
    entry = {"inode": status.st_ino, "size": status.st_size, "mtime_ns": status.st_mtime_ns}
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
    """Return the digests in the cache; none if the cache is unreadable, since the weights can be read instead."""
    try:
        known = json.loads(cache.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        logger.warning("%s cannot be read (%s): weights are read again", cache, error)
        return {}
    return known if isinstance(known, dict) else {}


def name_of_path(path: Path, usual: str) -> str:
    """Return a name that two files or folders do not share, even if their last parts are alike.

    Args:
        path: of the file or folder.
        usual: first folder that the name leaves out, such as `runs` in `runs/llava/channel`.

    Returns:
        The parts of the path, separated by `/`, from the working folder on if it is inside.
    """
    whole = Path.cwd() / path
    parts = whole.relative_to(Path.cwd()).parts if whole.is_relative_to(Path.cwd()) else whole.parts[1:]
    return "/".join(parts[1:] if len(parts) > 1 and parts[0] == usual else parts)
