"""The data set `video`: opens a folder, a list, a file of rows or a hub data set, with labels or without."""

from pathlib import Path
from typing import Literal

from theworld.config import VideoData
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.held_out import Part
from theworld.datasets.sample import Samples
from theworld.datasets.video import ClipRule
from theworld.datasets.video_list import LIST_SUFFIXES, VideoList, listed_videos, videos_in
from theworld.datasets.video_windows import Thresholds, VideoWindows
from theworld.datasets.window_index import WindowRule
from theworld.io import fingerprint

Split = Literal["train", "validation", "test"]

_SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "dev"),
    "test": ("test",),
}
_MOST_WINDOWS = 8
"""Windows of a video, unless it is the only one."""


def open_video_data(
    settings: VideoData, split: Split | None, size: int | None, with_future: bool, rule: ClipRule
) -> Samples:
    """Open the samples of a split.

    Without folders for splits, some videos are held out for validation.

    Args:
        settings: the source, and the rule of its windows.
        split: train, validation or test; None: all videos.
        size: number of samples, from the first; None: all.
        with_future: True if samples have the frames that follow.
        rule: the given frames.

    Raises:
        ValueError: on one line, for a source that is not there or holds no videos, or a split that it does not have.
    """
    videos, part, source = _videos(settings, split)
    windows = WindowRule(
        clip=rule,
        num_future_frames=TEMPORAL_STRIDE * settings.num_future_steps,
        windows_per_video=settings.windows_per_video or (_MOST_WINDOWS if len(videos.names) > 1 else None),
        stride_s=settings.stride_s,
        seed=settings.window_seed,
    )
    return VideoWindows(
        videos,
        windows,
        str(source),
        _index_place(source, settings.index_dir),
        part,
        size,
        share=settings.held_out_share,
        thresholds=Thresholds(settings.min_motion, settings.min_luminance, settings.max_jump),
        with_future=with_future,
    )


def _videos(settings: VideoData, split: Split | None) -> tuple[VideoList, Part | None, Path]:
    """The videos of a split, the part of them that it has, and their source."""
    source = Path(settings.source).expanduser()
    if source.is_dir() and split is None:
        return videos_in(source), None, source
    if source.is_dir() and split is not None:
        folders = {name: _folder_of(source, name) for name in _SPLIT_NAMES}
        folder = folders[split]
        if folder is not None:
            return videos_in(folder), None if folders["validation"] or split == "test" else _part(source, split), folder
        if split == "validation" and folders["train"] is not None:
            return videos_in(folders["train"]), "validation", folders["train"]
        return videos_in(source), _part(source, split), source
    if not source.is_file():
        raise ValueError(f"{source}: no such file or folder")
    if source.suffix.lower() not in LIST_SUFFIXES:
        raise ValueError(f"{source}: expected a folder of videos, or a list of them ({', '.join(LIST_SUFFIXES)})")
    folder = source.parent if settings.video_dir is None else settings.video_dir
    return listed_videos(source, folder), _part(source, split), source


def _folder_of(source: Path, split: Split) -> Path | None:
    return next((source / name for name in _SPLIT_NAMES[split] if (source / name).is_dir()), None)


def _part(source: Path, split: Split | None) -> Part | None:
    if split == "test":
        raise ValueError(f"{source}: no test split; expected train or validation, or a folder `test` in it")
    return split


def _index_place(source: Path, index_dir: Path | None) -> Path:
    source = source.absolute()
    if index_dir is None:
        return source.parent / f"{source.name}.windows"
    return index_dir / f"{source.name}.{fingerprint(source.resolve())}.windows"
