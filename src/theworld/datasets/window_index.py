"""Index of the windows of videos: where each begins, and how bright, moving and cut it is; measured once and kept."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from filelock import FileLock
from jaxtyping import Float
from PIL import Image
from tqdm import tqdm

from theworld.datasets.errors import ImageError, MissingImageError, RecordError
from theworld.datasets.video import LATE_SHARE, ClipRule, Video, frames_at, open_video
from theworld.datasets.video_limits import VideoLimits
from theworld.datasets.video_list import VideoList
from theworld.io import fingerprint, read_lines, write_whole

logger = logging.getLogger(__name__)

_VERSION: Final = 1
"""Increase this when equal videos give other windows or measures."""
_SIDE_PX: Final = 64
"""Side of the grey frames that are compared."""
_NUM_CELLS: Final = 16
"""Cells of a side, means of whose pixels are compared."""
_BLOCK_BYTES: Final = 64 << 10
_MOST_THREADS: Final = 8
_FAULTS: Final = ("missing video", "unreadable video")
"""Causes that may pass although the file stays as it is, such as a missing permission."""


@dataclass(frozen=True)
class WindowRule:
    """The windows of a video: the frames that the models see, and those that follow."""

    clip: ClipRule
    """The given frames."""
    num_future_frames: int
    """Frames that follow, 4 for each latent slot."""
    windows_per_video: int | None = 8
    """Most windows of a video; None: all."""
    stride_s: float | None = None
    """Seconds between the beginnings of two windows; None: their length."""
    seed: int = 0
    """Seed of the choice among more windows."""

    def __post_init__(self) -> None:
        rate = self.clip.frame_rate_hz
        if self.stride_s is not None and not round(self.stride_s * rate, 1) >= 1:  # a rounded period is one
            raise ValueError(
                f"data.stride_s={self.stride_s:g}: expected at least {1 / rate:.4g} s, the time of a frame at the"
                f" {rate:g} frames a second of the models"
            )

    def offsets(self, with_future: bool = True) -> np.ndarray:
        """Return the places of the frames, in periods from the current one."""
        return np.arange(1 - self.clip.num_frames, 1 + (self.num_future_frames if with_future else 0))


@dataclass(frozen=True)
class Window:
    """A window, and its measures."""

    now_s: float
    """Time of its current frame, seconds from the first of the video."""
    luminance: float
    """Mean grey level of its frames, 0 to 255."""
    motion: float
    """Change between neighbouring frames in the part of the picture that changes most, mean over the frames, grey
    levels: a small thing that moves counts, and the noise of a camera does not."""
    jump: float
    """Largest mean difference of neighbouring frames beyond the differences before and after it: that of a cut."""


@dataclass(frozen=True)
class IndexedVideo:
    """The windows of a video, or the reason why there are none."""

    name: str
    period_s: float = 0.0
    """Time between two frames of its windows, seconds."""
    digest: str = ""
    """Hash of its content, by which equal videos go to one side of a split."""
    windows: tuple[Window, ...] = ()
    cause: str = ""
    """missing video, unreadable video or short video; empty: none of them."""
    message: str = ""
    """The fault."""


def period_of(times_s: Float[np.ndarray, " M"], rate_hz: float) -> float:
    """Return the time between two frames of a clip: that of the models, or the video's own if it is much longer."""
    own = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    return own if own > (1 + LATE_SHARE) / rate_hz else 1 / rate_hz


def moments_of(times_s: Float[np.ndarray, " M"], rule: WindowRule, digest: str) -> list[float]:
    """Return the time of the current frame of each window, in order; none for a video that is too short.

        0 1 2 3 4 5 6 7 8 9 ...      frames of the video at the rate of the models
        g g n f f f f                the given frames g, the current one n, the future f
                      g g n f f f f

    Args:
        times_s: of the frames of the video.
        rule: of the windows.
        digest: of the video; with the seed it decides which windows of a long video are chosen.
    """
    period = period_of(times_s, rule.clip.frame_rate_hz)
    before = (rule.clip.num_frames - 1) * period
    room = float(times_s[-1]) - before - (rule.num_future_frames - LATE_SHARE) * period
    if room < 0:
        return []
    stride = period * len(rule.offsets()) if rule.stride_s is None else rule.stride_s
    places = range(int(room / stride) + 1)
    if rule.windows_per_video is not None and rule.windows_per_video < len(places):
        places = sorted(Random(f"{rule.seed}/{digest}").sample(places, rule.windows_per_video))
    return [round(before + place * stride, 6) for place in places]


def measure(frames: Sequence[Image.Image]) -> tuple[float, float, float]:
    """Return luminance, motion and jump of the frames of a window, as `Window`."""
    grey = np.stack([_grey(frame) for frame in frames])
    if len(grey) < 2:
        return float(grey.mean()), 0.0, 0.0
    steps = np.abs(np.diff(grey, axis=0)).mean((1, 2))
    beside = np.maximum(np.append(0.0, steps[:-1]), np.append(steps[1:], 0.0))
    cells = grey.reshape(len(grey), _NUM_CELLS, -1, _NUM_CELLS, _SIDE_PX // _NUM_CELLS).mean((2, 4))
    motion = np.abs(np.diff(cells, axis=0)).max((1, 2)).mean()
    return float(grey.mean()), float(motion), float((steps - beside).max())


def _grey(frame: Image.Image) -> np.ndarray:
    return np.asarray(frame.convert("L").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX), np.float32)


def index_video(name: str, read: Callable[[], Any], rule: WindowRule) -> IndexedVideo:
    """Find the windows of a video, and measure each; a video without one gives the reason.

    Args:
        name: of the video.
        read: returns its path or content; None: there is none.
        rule: of the windows.
    """
    limits = VideoLimits(max_side_px=4 * _SIDE_PX, max_decode_seconds=float("inf"))  # a long video has many windows
    try:
        if (source := read()) is None:
            return IndexedVideo(name, cause="missing video", message=f"{name}: no video")
        with open_video(source, limits=limits) as video:
            digest = _digest(source)
            return _measured(name, video, rule, digest)
    except MissingImageError as error:
        return IndexedVideo(name, cause="missing video", message=f"{name}: {error}")
    except RecordError as error:
        cause = "missing video" if error.cause.startswith("missing") else "unreadable video"
        return IndexedVideo(name, cause=cause, message=error.message)
    except (ImageError, OSError) as error:
        return IndexedVideo(name, cause="unreadable video", message=f"{name}: {error}")


def _measured(name: str, video: Video, rule: WindowRule, digest: str) -> IndexedVideo:
    times_s = video.times_s
    assert times_s is not None  # of a file
    period = period_of(times_s, rule.clip.frame_rate_hz)
    moments = moments_of(times_s, rule, digest)
    if not moments:
        num_frames = len(rule.offsets())
        message = (
            f"{name}: {times_s[-1] + period:.3g} s; {rule.clip.num_frames} given frames and {rule.num_future_frames}"
            f" that follow take {num_frames * period:.3g} s"
        )
        return IndexedVideo(name, period, digest, cause="short video", message=message)
    windows = []
    for now_s in moments:
        frames = frames_at(video, now_s + period * rule.offsets(), period)
        windows.append(Window(now_s, *(round(value, 4) for value in measure(frames))))
    return IndexedVideo(name, period, digest, tuple(windows))


def _digest(source: Any) -> str:
    """Hash the size of a video with its first, middle and last block."""
    if isinstance(source, bytes | bytearray | memoryview):
        size = len(source)
        blocks = [bytes(source[start : start + _BLOCK_BYTES]) for start in _starts(size)]
    else:
        size, blocks = Path(source).stat().st_size, []
        with Path(source).open("rb") as stream:
            for start in _starts(size):
                stream.seek(start)
                blocks.append(stream.read(_BLOCK_BYTES))
    return hashlib.sha256(b"".join([str(size).encode(), *blocks])).hexdigest()[:16]


def _starts(size: int) -> list[int]:
    return [0, max(0, size - _BLOCK_BYTES) // 2, max(0, size - _BLOCK_BYTES)]


class WindowIndex:
    """The windows of all videos of a list, kept in a file of a line per video.

        INDEX_DIR/RULE.jsonl    name, facts (size and time of change), windows with their measures

    A video that has changed is measured anew, and so are all for another rule; the lines of an interrupted run count.
    One process measures while others wait. A video that is missing or unreadable is tried again each time.

    Args:
        videos: the list.
        rule: of the windows.
        folder: of the index.

    Raises:
        ValueError: for an index that cannot be written.
    """

    def __init__(self, videos: VideoList, rule: WindowRule, folder: Path) -> None:
        self.path = folder / f"{fingerprint(_VERSION, _plain(rule))}.jsonl"
        facts = [videos.facts(number) for number in range(len(videos.names))]
        known = _known(self.path)
        missing = set(_missing(videos, facts, known))
        faulty = [
            number
            for number, name in enumerate(videos.names)
            if number not in missing and known[name][1].cause in _FAULTS
        ]
        if missing:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with self._lock():
                    known = _known(self.path)
                    known |= self._add(videos, facts, rule, known)
            except OSError as error:
                raise ValueError(
                    f"{folder}: the index of the videos cannot be written ({error}); give index_dir, a folder that can"
                ) from error
        known |= self._again(videos, facts, rule, faulty)
        self.videos = [known[name][1] for name in videos.names]
        """The videos of the list, in its order."""

    def _lock(self) -> Any:
        return FileLock(self.path.with_name(f".{self.path.name}.lock"))

    def _add(
        self, videos: VideoList, facts: list[dict[str, Any]], rule: WindowRule, known: dict[str, Any]
    ) -> dict[str, tuple[dict[str, Any], IndexedVideo]]:
        """Measure the videos that are missing or changed, and write a line for each."""
        missing = _missing(videos, facts, known)
        if missing and self.path.exists():  # without a line that a kill cut off, and without former videos
            names = set(videos.names)
            kept = (line for name, line in _lines(known) if name in names)
            write_whole(self.path, "".join(kept))
        added: dict[str, tuple[dict[str, Any], IndexedVideo]] = {}
        with self.path.open("a", encoding="utf-8") as stream:
            for number, result in _results(videos, rule, missing):
                added[result.name] = facts[number], result
                stream.write(_line(facts[number], result))
                stream.flush()
        return added

    def _again(
        self, videos: VideoList, facts: list[dict[str, Any]], rule: WindowRule, numbers: list[int]
    ) -> dict[str, tuple[dict[str, Any], IndexedVideo]]:
        """Measure videos with a fault again, and keep those without one; an index that cannot be written may stay."""
        if not numbers:
            return {}
        tried = {result.name: (facts[number], result) for number, result in _results(videos, rule, numbers)}
        mended = {name: entry for name, entry in tried.items() if entry[1].cause not in _FAULTS}
        if mended:
            try:
                with self._lock():
                    write_whole(self.path, "".join(line for _, line in _lines(_known(self.path) | mended)))
            except OSError as error:
                logger.debug("%s: %d videos can be read now, which is not kept (%s)", self.path, len(mended), error)
        return tried


def _results(videos: VideoList, rule: WindowRule, numbers: list[int]) -> Iterator[tuple[int, IndexedVideo]]:
    """Measure videos in threads; give each with its number, in order."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        results = pool.map(partial(_indexed, videos, rule), numbers)
        bar = tqdm(results, desc="indexing videos", total=len(numbers), unit="video", disable=len(numbers) < 2)
        yield from zip(numbers, bar, strict=True)


def _indexed(videos: VideoList, rule: WindowRule, number: int) -> IndexedVideo:
    return index_video(str(videos.names[number]), partial(videos.source, number), rule)


def _plain(rule: WindowRule) -> dict[str, Any]:
    clip = rule.clip
    values = {"rate": clip.frame_rate_hz, "frames": clip.num_frames, "future": rule.num_future_frames}
    return {**values, "most": rule.windows_per_video, "stride": rule.stride_s, "seed": rule.seed}


def _missing(videos: VideoList, facts: list[dict[str, Any]], known: dict[str, Any]) -> list[int]:
    """The numbers of the videos that no line describes as they are now."""
    return [number for number, name in enumerate(videos.names) if name not in known or known[name][0] != facts[number]]


def _known(path: Path) -> dict[str, tuple[dict[str, Any], IndexedVideo]]:
    known = {}
    for row in read_lines(path):
        windows = tuple(Window(*values) for values in row["windows"])
        video = IndexedVideo(row["name"], row["period_s"], row["digest"], windows, row["cause"], row["message"])
        known[video.name] = row["facts"], video
    return known


def _lines(known: dict[str, tuple[dict[str, Any], IndexedVideo]]) -> Any:
    return ((name, _line(facts, video)) for name, (facts, video) in known.items())


def _line(facts: dict[str, Any], video: IndexedVideo) -> str:
    windows = [[window.now_s, window.luminance, window.motion, window.jump] for window in video.windows]
    row = {"name": video.name, "facts": facts, "period_s": video.period_s, "digest": video.digest, "windows": windows}
    return json.dumps({**row, "cause": video.cause, "message": video.message}) + "\n"
