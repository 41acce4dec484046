"""The data set `video`: opens a folder, a list, a file of rows or a hub data set, with labels or without."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from theworld.config import VideoData
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.held_out import HeldOut, Part, warn_of_share
from theworld.datasets.public.hf import SPLIT_NAMES, load_splits
from theworld.datasets.row_files import SUFFIXES, first_rows
from theworld.datasets.sample import Samples
from theworld.datasets.video import ClipRule
from theworld.datasets.video_list import (
    LIST_SUFFIXES,
    VideoColumn,
    VideoList,
    listed_videos,
    videos_in,
    videos_of_rows,
)
from theworld.datasets.video_rows import VideoQuestions, video_keys
from theworld.datasets.video_windows import Thresholds, VideoWindows
from theworld.datasets.window_index import WindowRule
from theworld.datasets.wrappers import undecoded
from theworld.hub import refuse_revision
from theworld.io import fingerprint

notes = logging.getLogger("theworld.notes")

Split = Literal["train", "validation", "test"]

_MOST_WINDOWS: Final = 8
"""Windows of a video, unless it is the only one."""
_NUM_SAMPLED: Final = 200
"""Rows that decide on the keys."""
_TABLES: Final = ("*.parquet", "*.arrow", "*/*.parquet", "*/*.arrow")
_announced: set[str] = set()


def open_video_data(
    settings: VideoData, split: Split | None, size: int | None, with_future: bool, rule: ClipRule
) -> Samples:
    """Open the samples of a split.

    Without folders or files for splits, some videos are held out for validation.

    Args:
        settings: the source, and the rule of its windows.
        split: train, validation or test; None: all videos.
        size: number of samples, from the first; None: all.
        with_future: True if samples have the frames that follow.
        rule: the given frames.

    Raises:
        ValueError: on one line, for a source that is not there or holds no videos, or a split that it does not have.
    """
    return _Opening(settings, split, size, with_future, rule).samples()


class _Opening:
    """Finds out what a source is."""

    def __init__(
        self, settings: VideoData, split: Split | None, size: int | None, with_future: bool, rule: ClipRule
    ) -> None:
        self.settings, self.split, self.size, self.with_future = settings, split, size, with_future
        self.rule = rule
        self.source = Path(settings.source).expanduser()

    def samples(self) -> Samples:
        """Open the source."""
        source, video_dir = self.source, self.settings.video_dir
        if video_dir is not None and not video_dir.is_dir():
            raise ValueError(
                f"video_dir={video_dir}: no such folder; expected the one that the videos' paths start from"
            )
        if source.is_dir():
            if (rows := _file_in(source, "metadata")) is not None:
                return self._rows(rows, self._part())
            if any(path for pattern in _TABLES for path in source.glob(pattern)):
                return self._table()
            return self._folder()
        if source.is_file():
            if source.suffix.lower() not in LIST_SUFFIXES:
                raise ValueError(
                    f"{source}: expected a folder of videos, or a list of them ({', '.join(LIST_SUFFIXES)})"
                )
            if source.suffix.lower() in SUFFIXES:
                return self._rows(source, self._part())
            self._refuse("a list of videos", "keys", "video_column", "config_name")
            return self._windows(listed_videos(source, self._video_dir(source)), self._part(), source)
        return self._table()

    def _folder(self) -> Samples:
        """The videos of a folder, or of the folder of a split in it."""
        split, source = self.split, self.source
        self._refuse("a folder of videos", "keys", "video_column", "config_name", "video_dir")
        if split is None:
            return self._windows(videos_in(source), None, source)
        folders = {name: _folder_of(source, names) for name, names in SPLIT_NAMES.items()}
        if (folder := folders[split]) is not None:
            is_whole = folders["validation"] is not None or split == "test"
            if is_whole and split != "test":
                warn_of_share(self.settings.held_out_share, str(source))
            return self._windows(videos_in(folder), None if is_whole else self._part(), folder)
        if split == "validation" and (folder := folders["train"]) is not None:
            return self._windows(videos_in(folder), "validation", folder)
        return self._windows(videos_in(source), self._part(), source)

    def _rows(self, path: Path, part: Part | None) -> Samples:
        """The videos of a file of rows, with their labels if it has some."""
        rows = first_rows(path, _NUM_SAMPLED)
        folder = self._video_dir(path)
        self._refuse("a file of rows (its keys are named by keys, as video=NAME)", "video_column", "config_name")
        if not rows:  # a list of texts, the paths
            self._refuse("a list of videos", "keys")
            return self._windows(videos_of_rows(path, folder, None), part, path)
        keys = video_keys(rows, self.settings.keys, str(path))
        if "answer" not in keys:
            return self._windows(videos_of_rows(path, folder, keys["video"]), part, path)
        _announce(str(path), keys)
        return VideoQuestions(path, keys, folder, self._rule(None), part=part, **self._options())

    def _table(self) -> Samples:
        """A data set of the hub, or its folder."""
        settings = self.settings
        self._refuse("a data set of tables", "video_dir")
        splits = load_splits(settings.source, settings.config_name, settings.revision)
        ours = {name: next((word for word in words if word in splits), None) for name, words in SPLIT_NAMES.items()}
        divides = ours["validation"] is None and self.split in ("train", "validation")
        if ours["validation"] is not None and self.split in ("train", "validation"):
            warn_of_share(settings.held_out_share, settings.source)
        name = ours["train"] if divides or self.split is None else ours[self.split]
        if name is None:
            raise ValueError(f"{settings.source}: no split for {self.split!r}: it has {', '.join(splits)}")
        table = splits[name]
        key = self._column(table)
        part: Any = self.split if divides else None
        folder = self.source if self.source.is_dir() else Path()
        videos = VideoColumn(undecoded(table, key), key, folder)
        others = table.remove_columns([key])
        keys = video_keys([*others.select(range(min(len(others), _NUM_SAMPLED))), {key: ""}], settings.keys, name, key)
        if "answer" not in keys:
            place = Path(table.cache_files[0]["filename"]) if table.cache_files else folder
            return self._windows(videos, part, place, settings.source)
        _announce(settings.source, keys)
        return VideoQuestions(others, keys, folder, self._rule(None), videos=videos, part=part, **self._options())

    def _refuse(self, kind: str, *names: str) -> None:
        """Refuse settings that have no effect on this kind of source."""
        if self.source.exists():
            refuse_revision(self.source, self.settings.revision)
        for name in names:
            if (value := getattr(self.settings, name)) not in (None, ()):
                shown = ", ".join(value) if isinstance(value, tuple) else value
                raise ValueError(
                    f"{name}={shown}: {self.settings.source} is {kind}, on which it has no effect; drop it"
                )

    def _column(self, table: Any) -> str:
        """The column of videos: as the settings name it, or as its type or name tells."""
        given, source = self.settings.video_column, self.settings.source
        if given is not None:
            if given not in table.column_names:
                raise ValueError(f"{source}: no column {given!r}: its columns are {sorted(table.column_names)}")
            return given
        typed = [name for name, feature in table.features.items() if type(feature).__name__ == "Video"]
        if len(typed) == 1:
            return typed[0]
        try:
            return video_keys([dict.fromkeys(table.column_names)], (), source)["video"]
        except ValueError as error:
            raise ValueError(
                f"{source}: no column of videos among {sorted(table.column_names)}: name it with --data.video-column"
            ) from error

    def _options(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "index_dir": self.settings.index_dir,
            "held_out": HeldOut(share=self.settings.held_out_share),
            "with_future": self.with_future,
        }

    def _windows(self, videos: VideoList, part: Part | None, source: Path, name: str | None = None) -> VideoWindows:
        settings = self.settings
        return VideoWindows(
            videos,
            self._rule(settings.windows_per_video or (_MOST_WINDOWS if len(videos.names) > 1 else None)),
            str(source) if name is None else name,
            _index_place(source, settings.index_dir),
            part,
            self.size,
            share=settings.held_out_share,
            thresholds=Thresholds(settings.min_motion, settings.min_luminance, settings.max_jump),
            with_future=self.with_future,
        )

    def _rule(self, windows_per_video: int | None) -> WindowRule:
        settings = self.settings
        num_future = TEMPORAL_STRIDE * settings.num_future_steps
        return WindowRule(self.rule, num_future, windows_per_video, settings.stride_s, settings.window_seed)

    def _video_dir(self, path: Path) -> Path:
        return path.parent if self.settings.video_dir is None else self.settings.video_dir

    def _part(self) -> Part | None:
        if self.split == "test":
            raise ValueError(f"{self.source}: no test split; expected train or validation, or a folder `test` in it")
        return "train" if self.split == "train" else None if self.split is None else "validation"


def _announce(source: str, keys: Mapping[str, str]) -> None:
    """Say once which keys were taken for which role."""
    sentence = f"{source}: {', '.join(f'{role} from {key!r}' for role, key in keys.items())}"
    if sentence not in _announced:
        _announced.add(sentence)
        notes.info("%s", sentence)


def _file_in(folder: Path, stem: str) -> Path | None:
    return next((path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)


def _folder_of(source: Path, names: tuple[str, ...]) -> Path | None:
    return next((source / name for name in names if (source / name).is_dir()), None)


def _index_place(source: Path, index_dir: Path | None) -> Path:
    source = source.absolute()
    if index_dir is None:
        return source.parent / f"{source.name}.windows"
    return index_dir / f"{source.name}.{fingerprint(source.resolve())}.windows"
