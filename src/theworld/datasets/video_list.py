"""Lists of videos: the files of a folder, of a list of paths, or of the rows of a file or of a hub data set."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import pyarrow as pa

from theworld.datasets.images import path_in, picture_of
from theworld.datasets.records import short
from theworld.datasets.row_files import SUFFIXES, rows_of
from theworld.datasets.video import VIDEO_SUFFIXES, is_video
from theworld.io import fingerprint

LIST_SUFFIXES: Final = (".txt", *SUFFIXES)
"""Endings of files that list videos."""

_MAYBE: Final = (".gif", ".webp", ".apng", ".png")
"""Endings of animations, and of single pictures."""


_NUM_HASHED: Final = 4096
"""Bytes in the middle of a video that tell it from others; equal ones only share a side of a split."""


@runtime_checkable
class VideoList(Protocol):
    """Videos by number."""

    files: tuple[Path, ...]
    """Files that decide on the list."""

    @property
    def names(self) -> Sequence[str]:
        """A name of each, the same on every machine: its path from the folder of the videos, or its number."""
        ...

    def source(self, number: int) -> Any:
        """Return the path or the content of a video."""
        ...

    def facts(self, number: int) -> dict[str, Any]:
        """Return JSON-like facts that change when the video changes; none for one that is not there."""
        ...


class VideoFiles:
    """Videos that are files.

    Args:
        paths: of the videos.
        folder: that their names start from.
        files: as `VideoList`; None: the videos themselves.
    """

    def __init__(self, paths: Sequence[Path], folder: Path, files: tuple[Path, ...] | None = None) -> None:
        self.paths = list(paths)
        self.names = [path.relative_to(folder).as_posix() for path in paths]
        self.files = tuple(paths) if files is None else files

    def source(self, number: int) -> Path:
        """Return the path of a video."""
        return self.paths[number]

    def facts(self, number: int) -> dict[str, Any]:
        """Return size and time of change."""
        try:
            facts = self.paths[number].stat()
        except OSError:
            return {}
        return {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


class VideoColumn:
    """Videos in a column of a Hugging Face data set, which keeps their bytes or paths.

    Args:
        table: a map-style data set, its videos undecoded.
        key: of the column.
        folder: that paths in a column of texts start from, and may not leave.
    """

    def __init__(self, table: Any, key: str, folder: Path) -> None:
        self.table, self.key, self.folder = table.select_columns([key]), key, folder
        self.keys = list(_content_keys(table, key))
        """A name of each video's content, equal for equal videos; empty for none."""
        self.names = [str(number) for number in range(len(table))]
        self.files = tuple(Path(entry["filename"]) for entry in table.cache_files)
        self._fingerprint = fingerprint(str(getattr(table, "_fingerprint", "")))

    def source(self, number: int) -> Any:
        """Return the bytes or the path of a video; None for a row without one.

        Raises:
            RecordError: for a path in a column of texts that leaves the folder.
        """
        value = self.table[number][self.key]
        return path_in(self.folder, value, f"row {number}") if isinstance(value, str) else picture_of(value)

    def facts(self, number: int) -> dict[str, Any]:
        """Return the fingerprint of the data set."""
        return {"table": self._fingerprint}


def _content_keys(table: Any, key: str) -> Iterator[str]:
    """Path, or size and bytes in the middle, of each video of a column, without reading whole files."""
    for batch in table.select_columns([key]).with_format("arrow").iter(batch_size=256):
        for value in batch[key]:
            content = value.get("bytes") if isinstance(value, pa.StructScalar) and value.is_valid else value
            path = value.get("path") if isinstance(value, pa.StructScalar) and value.is_valid else pa.scalar(None)
            if content.is_valid and isinstance(content, pa.BinaryScalar | pa.LargeBinaryScalar):
                file = memoryview(content.as_buffer())
                start = max(len(file) - _NUM_HASHED, 0) // 2
                yield fingerprint(len(file), bytes(file[start : start + _NUM_HASHED]).hex())
            else:
                yield str((path.as_py() if path.is_valid else content.as_py()) or "")


def videos_in(folder: Path) -> VideoFiles:
    """Return the videos of a folder and of the folders in it, without hidden ones, in the order of their paths.

    Raises:
        ValueError: if there are none.
    """
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and _is_video_file(path)
    ]
    if not paths:
        raise ValueError(
            f"{folder}: no videos in this folder; expected files such as clip.mp4, or metadata.jsonl with their paths"
        )
    return VideoFiles(paths, folder)


def _is_video_file(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return path.is_file()
    return suffix in _MAYBE and path.is_file() and is_video(path)


def listed_videos(path: Path, folder: Path) -> VideoFiles:
    """Return the videos of a text file with a path on each line; a line that begins with `#` is a comment.

    Args:
        path: the list.
        folder: that its paths start from.

    Raises:
        ValueError: for a list without a path, or that is no text.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); expected the path of a video on each line") from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise ValueError(f"{path}: an empty list; expected the path of a video on each line")
    return _files(names, folder, path)


def videos_of_rows(path: Path, folder: Path, key: str | None) -> VideoFiles:
    """Return the videos of a file of rows, each once: `key` of an object, or the row itself if it is a text."""
    with path.open("rb") as stream:
        rows = list(rows_of(path, stream))
    names = [row.get(key) if isinstance(row, Mapping) and key is not None else row for row in rows]
    wrong = next((place for place, name in enumerate(names) if not isinstance(name, str) or not name.strip()), None)
    if wrong is not None:
        raise ValueError(f"{path}: row {wrong} has {short(names[wrong])} as the video: expected a path")
    return _files([str(name).strip() for name in names], folder, path)


def _files(names: Sequence[str], folder: Path, path: Path) -> VideoFiles:
    """The listed videos, each once.

    Raises:
        ValueError: for a path that leads out of the folder.
    """
    base = Path(os.path.normpath(folder.absolute()))
    paths = {Path(os.path.normpath(base / name)): name for name in names}
    for place, name in paths.items():
        if not place.is_relative_to(base):
            raise ValueError(
                f"{path}: {short(name)} leaves {folder}, the folder that its paths start from: set --data.video-dir to"
                " one that holds all of them"
            )
    return VideoFiles(list(paths), base, (path,))
