"""Videos of rows: their forms in tables and lists, the part of a video that a row names, and the clips of a sample."""

import logging
import math
import re
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from pathlib import PurePath
from typing import Any, Final, NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from theworld.datasets.errors import RecordError
from theworld.datasets.images import picture_of
from theworld.datasets.records import short
from theworld.datasets.video import VIDEO_SUFFIXES, ClipRule, is_video, video_of

notes = logging.getLogger("theworld.notes")

_PICTURE_SUFFIXES: Final = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"))
_CLOCK: Final = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:[.,]\d+)?)")
_announced: set[str] = set()


class Span(NamedTuple):
    """The part of a video that a row is about."""

    start_s: float = 0.0
    """Seconds from the first frame."""
    end_s: float | None = None
    """None: the end of the video."""


WHOLE: Final = Span()


def names_video(name: Any) -> bool:
    """Return whether a text is the name of a file that is always a video; a .gif may be a picture."""
    return isinstance(name, str) and PurePath(name.strip()).suffix.lower() in VIDEO_SUFFIXES


def looks_like_video(value: Any) -> bool:
    """Return whether a value of a row under the name of a video is one: a path of a film or an animation, or a list."""
    if isinstance(value, list):
        return bool(value) and all(looks_like_video(item) or _suffix(item) in _PICTURE_SUFFIXES for item in value)
    return names_video(value) or _suffix(value) in (".gif", ".webp", ".apng")


def listed_videos(value: Any) -> list[Any]:
    """Return the videos of a row, each in a form that `video_of` takes.

    A list of videos gives several; a list of pictures is the frames of one. `{"path": ..., "bytes": ...}`, as tables
    hold files, gives its content or else its path; nested lists of numbers become an array.
    """
    if value is None:
        return []
    if isinstance(value, np.ndarray | Tensor):
        pixels = _narrowed(value) if isinstance(value, np.ndarray) else value
        return list(pixels) if pixels.ndim == 5 else [pixels]
    if not isinstance(value, list | tuple):
        return [picture_of(value)]
    if not value:
        return []
    items = [_unwrapped(item) for item in value]
    if all(isinstance(item, np.ndarray) and item.ndim == 3 for item in items):
        return [np.stack(items)] if len({item.shape for item in items}) == 1 else [items]
    return items if any(map(_is_one, items)) else [items]


def paths_of(videos: Iterable[Any]) -> list[Any]:
    """Return the paths of a row's videos, and those of all frames of one that is a list of pictures."""
    return [path for video in videos for path in (video if isinstance(video, list) and video else [video])]


def on_paths(convert: Callable[[str], Any], videos: Iterable[Any]) -> list[Any]:
    """Return the same videos with every path converted."""
    return [[convert(frame) for frame in video] if isinstance(video, list) else convert(video) for video in videos]


def first_paths(videos: Iterable[Any]) -> list[str]:
    """Return the path of each video; of a list of frames that of the first."""
    return [video[0] if isinstance(video, list) else video for video in videos]


def span_of(start: Any, end: Any, name: str) -> Span:
    """Return the part of a video between two times of a row.

    Args:
        start: seconds, a text such as "00:01:02.5", or both times in a list; None: the beginning.
        end: as `start`; None: the end.
        name: of the row, for messages.

    Raises:
        RecordError: malformed for no times, or an end before the start.
    """
    if isinstance(start, list | tuple) and len(start) == 2 and end is None:
        start, end = start
    start_s = 0.0 if start is None else seconds_of(start)
    end_s = None if end is None else seconds_of(end)
    for role, given, seconds in (("start", start, start_s), ("end", end, end_s)):
        if given is not None and seconds is None:
            raise RecordError(
                "malformed",
                f"{name}: {short(given)} as the {role}: expected seconds, 0 or more, or a text as 0:01:02.5",
            )
    if end_s is not None and start_s is not None and end_s < start_s:
        raise RecordError("malformed", f"{name}: the end, {end_s:g} s, comes before the start, {start_s:g} s")
    return Span(start_s or 0.0, end_s)


def seconds_of(value: Any) -> float | None:
    """Return a time in seconds, of a number or a text; None: it is none, or negative."""
    if isinstance(value, str):
        if match := _CLOCK.fullmatch(value.strip()):
            hours, minutes, seconds = match.groups()
            return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds.replace(",", "."))
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        return None
    return float(value)


def read_videos(
    videos: Sequence[Any], rule: ClipRule, name: str, span: Span = WHOLE, frame_rate_hz: Any = None
) -> tuple[tuple[tuple[Image.Image, ...], ...], tuple[Image.Image, ...]]:
    """Return the clips of a sample, and the pictures that Gemma sees of them.

    Args:
        videos: of the row, as `listed_videos` returns them; each gives a clip of `rule.num_frames` frames.
        rule: the frames of a video that the models see.
        name: of the row, for messages.
        span: the part that counts.
        frame_rate_hz: frames per second of an array or a list of frames; None: unknown, and all of them count.

    Raises:
        RecordError: missing or unreadable video; malformed for a part of several videos, or a rate that is none.
    """
    if len(videos) > 1 and span != WHOLE:
        raise RecordError("malformed", f"{name}: a start or an end for {len(videos)} videos: expected one video")
    rate_hz = None if frame_rate_hz is None else seconds_of(frame_rate_hz)
    if frame_rate_hz is not None and not rate_hz:
        raise RecordError("malformed", f"{name}: {short(frame_rate_hz)} as the frame rate: expected more than 0")
    clips = [
        video_of(video, rule, name, start_s=span.start_s, end_s=span.end_s, source_rate_hz=rate_hz) for video in videos
    ]
    return tuple(clip.frames for clip in clips), tuple(picture for clip in clips for picture in clip.shown)


def refuse_both(num_images: int, num_videos: int, name: str) -> None:
    """Refuse a row with pictures and videos, whose clips differ in length.

    Raises:
        RecordError: malformed.
    """
    if num_images and num_videos:
        raise RecordError(
            "malformed", f"{name}: {num_images} pictures beside {num_videos} videos: expected either of them in a row"
        )


def announce_rule(source: str, rule: ClipRule) -> None:
    """Say once, for the videos of a data set, which of their frames the models see."""
    frames = "last frame" if rule.num_frames == 1 else f"last {rule.num_frames} frames"
    sentence = (
        f"{source}: of each video, or its part, the world model sees the {frames} at {rule.frame_rate_hz:g} a second;"
        " a shorter one repeats its first"
    )
    if sentence not in _announced:
        _announced.add(sentence)
        notes.info("%s", sentence)


def nouns(has_images: bool, has_videos: bool) -> str:
    """Return the plural for the pictures of a data set, its videos, or both."""
    return "pictures and videos" if has_images and has_videos else "videos" if has_videos else "pictures"


def _unwrapped(item: Any) -> Any:
    if isinstance(item, list | tuple):
        try:
            array = np.asarray(item) if _depth(item) >= 3 else None
        except ValueError:  # rows of unequal length
            array = None
        return [_unwrapped(part) for part in item] if array is None else _narrowed(array)
    return picture_of(item)


def _depth(value: Any) -> int:
    return 1 + _depth(value[0]) if isinstance(value, list | tuple) and value else 0


def _narrowed(pixels: np.ndarray) -> np.ndarray:
    """Return pixels in 8 bits, if they fit; tables widen them."""
    is_wide = pixels.dtype.kind in "iu" and pixels.dtype != np.uint8 and pixels.size > 0
    return pixels.astype(np.uint8) if is_wide and pixels.min() >= 0 and pixels.max() <= 255 else pixels


def _is_one(item: Any) -> bool:
    """Return whether an item of a list is a whole video, and no frame of one."""
    if isinstance(item, np.ndarray | Tensor):
        return item.ndim == 4
    if isinstance(item, list | tuple) or names_video(item) or _suffix(item) == ".gif":
        return True
    return not isinstance(item, str) and is_video(item)


def _suffix(name: Any) -> str:
    return PurePath(name.strip()).suffix.lower() if isinstance(name, str) else ""
