"""Videos: read a file, an animation, an array, a list of frames or a decoder as a clip for the world model.

One rule makes a clip of a video, whatever it came in: `ClipRule`.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.errors import ImageError, MissingImageError, RecordError, VideoError
from theworld.datasets.images import is_animation, picture_of, shown_path, to_clip
from theworld.datasets.video_files import is_film, open_file
from theworld.datasets.video_limits import LimitCheck, VideoLimits, one_line, smaller

VIDEO_SUFFIXES: Final = frozenset(
    f".{name}"
    for name in ("mp4", "m4v", "mov", "webm", "mkv", "avi", "3gp", "mpg", "mpeg", "ts", "mts", "flv", "wmv", "ogv")
)
"""Names of files that are always videos, also of formats that are not read; a .gif, .webp or .png may be a picture."""

LATE_SHARE: Final = 0.25
"""Share of a period by which a frame may come late and still count as shown: files round their times."""

LATE_END_S: Final = 1.0
"""Seconds after the last frame that a time may name and still mean the end: rows round the length of a video."""

_MIN_RATE_HZ, _MAX_RATE_HZ = 1e-6, 1000.0
"""Frame rates of arrays and lists that are believed: from one frame in twelve days to a camera of high speed."""


@runtime_checkable
class Video(Protocol):
    """An opened video; every form of `open_video` is one."""

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        ...

    @property
    def times_s(self) -> Float[np.ndarray, " M"] | None:
        """Time of each frame in seconds from the first, ascending; None: frames without times."""
        ...

    def pictures(self, indices: Sequence[int]) -> list[Image.Image]:
        """Decode the frames of ascending numbers, which may repeat, as upright RGB pictures."""
        ...


@dataclass(frozen=True)
class ClipRule:
    """The frames of a video that the models see: its last ones, at the world's frame rate.

        10 frames a second of 30      x . . x . . x . . x . . x . . x     every third, counted from the last
        5 frames for the world              x . . x . . x . . x . . x     a shorter one repeats its first
        1 frame for Gemma                                           x

    Frames of a variable rate are those that a viewer sees at these times. A video whose last frames are all further
    apart keeps each frame.
    """

    frame_rate_hz: float = 16.0
    """Frames per second that the world model expects."""
    num_frames: int = 5
    """Frames of a clip, 1 + 4j."""
    num_gemma_frames: int = 1
    """Frames for Gemma: the last one, or as many from the first of the clip to the last."""

    def __post_init__(self) -> None:
        if not self.frame_rate_hz > 0:
            raise ValueError(f"frame_rate_hz={self.frame_rate_hz}: expected more than 0 frames a second")
        if self.num_frames < 1 or (self.num_frames - 1) % TEMPORAL_STRIDE:
            raise ValueError(f"num_frames={self.num_frames}: expected 1 + {TEMPORAL_STRIDE}j (1, 5, 9, ...)")
        if not 1 <= self.num_gemma_frames <= self.num_frames:
            raise ValueError(f"num_gemma_frames={self.num_gemma_frames}: expected 1 to {self.num_frames}, the clip's")

    def shown(self, frames: Sequence[Image.Image]) -> tuple[Image.Image, ...]:
        """Return the frames of a clip that Gemma sees."""
        last = len(frames) - 1
        places = [last] if self.num_gemma_frames == 1 else np.linspace(0, last, self.num_gemma_frames)
        return tuple(frames[round(place)] for place in places)


@dataclass(frozen=True)
class VideoClip:
    """The frames of a video that the models see."""

    frames: tuple[Image.Image, ...]
    """1 + 4j frames in time order for the world model; the last is the current one."""
    shown: tuple[Image.Image, ...]
    """Frames for Gemma; the last is the current one."""
    note: str = ""
    """What was left out or is missing, in sentences; empty: nothing."""


def is_video(source: Any) -> bool:
    """Return whether `source` is a video and no single picture: by the name of a file, its bytes, or its axes.

    A list is none: it may hold several pictures.
    """
    if isinstance(source, str | Path) and Path(source).suffix.lower() in VIDEO_SUFFIXES:
        return True
    if hasattr(source, "get_frames_played_at"):
        return True
    if isinstance(source, Mapping):
        source = picture_of(source)
    return is_film(_head_of(source)) or is_animation(source)


def _head_of(source: Any) -> bytes:
    """Return the first bytes of a file or of its content; nothing of another object, or of no file."""
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            return bytes(source[:12])
        if isinstance(source, str | Path) and Path(source).is_file():
            with Path(source).open("rb") as stream:
                return stream.read(12)
    except (OSError, ValueError):
        pass  # `open_video` says why
    return b""


def open_video(
    source: Any, frame_rate_hz: float | None = None, limits: VideoLimits | None = None
) -> AbstractContextManager[Video]:
    """Open a video of any form; a file stays open for the time of the `with` block.

    Args:
        source: path or content of a file (MP4, MOV, WebM, MKV, AVI, GIF, animated WebP or PNG), a list of pictures,
            uint8 array (F, H, W, 3), tensor (F, 3, H, W), a torchcodec VideoDecoder, as columns of `datasets.Video`
            hold them, or their form without decoding, {"path": ..., "bytes": ...}.
        frame_rate_hz: frames per second of an array or a list; None: unknown, and all of them count.
        limits: largest video.

    Raises:
        VideoError: for anything else, a damaged file, or a video beyond the limits.
        MissingImageError: for a path without a file.
    """
    limits = VideoLimits() if limits is None else limits
    source = picture_of(source)
    if isinstance(source, str | Path | bytes | bytearray | memoryview | Image.Image):
        return open_file(source, limits)
    if hasattr(source, "get_frames_played_at"):
        return nullcontext(_Decoder(source, limits))
    is_frames = isinstance(source, list | tuple) or (isinstance(source, np.ndarray | Tensor) and source.ndim == 4)
    if not is_frames or len(source) == 0:
        given = "no frames" if is_frames else f"a {type(source).__name__}"
        raise VideoError(
            f"a video given as {given}: expected a file, a list of pictures in time order, an array of shape"
            " (F, H, W, 3), or a tensor (F, 3, H, W)"
        )
    return nullcontext(_Frames(source, frame_rate_hz, limits))


def read_clip(
    source: Any,
    rule: ClipRule | None = None,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    source_rate_hz: float | None = None,
    limits: VideoLimits | None = None,
) -> VideoClip:
    """Read the clip of a video.

    Args:
        source: as `open_video`.
        rule: frame rate and number of frames; None: the defaults.
        start_s: no frame before this time, seconds from the first frame.
        end_s: no frame after this time; None: the end of the video.
        source_rate_hz: as `frame_rate_hz` of `open_video`.
        limits: largest video.

    Raises:
        VideoError: as `open_video`, and for a part of the video without a frame, or an end after that of the video.
    """
    rule = ClipRule() if rule is None else rule
    with open_video(source, source_rate_hz, limits) as video:
        try:
            indices, note = clip_indices(video, rule, start_s, end_s)
        except VideoError as error:
            file = picture_of(source)
            raise VideoError(f"{shown_path(str(file))}: {error}" if isinstance(file, str | Path) else error) from None
        frames = tuple(video.pictures(indices))
    return VideoClip(frames, rule.shown(frames), note)


def video_of(
    source: Any,
    rule: ClipRule,
    name: str,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    source_rate_hz: float | None = None,
) -> VideoClip:
    """Read the clip of a record's video.

    Args:
        source: as `open_video`; None: the record has no video.
        rule: the frames that the models see.
        name: of the record, for messages.
        start_s: as `read_clip`.
        end_s: as `read_clip`.
        source_rate_hz: as `frame_rate_hz` of `open_video`.

    Raises:
        RecordError: missing video, or unreadable video (damaged, of an unknown format, or a part without a frame).
    """
    if source is None:
        raise RecordError("missing video", f"{name}: no video")
    try:
        return read_clip(source, rule, start_s=start_s, end_s=end_s, source_rate_hz=source_rate_hz)
    except MissingImageError as error:
        raise RecordError("missing video", f"{name}: {error}") from error
    except ImageError as error:
        raise RecordError("unreadable video", f"{name}: {error}") from error


def clip_indices(
    video: Video, rule: ClipRule, start_s: float = 0.0, end_s: float | None = None
) -> tuple[list[int], str]:
    """Choose the frames of a clip by the rule, and say in sentences how the clip differs from the video.

    Raises:
        VideoError: for a part of the video without a frame, or an end after that of the video.
    """
    _check_times(start_s, end_s)
    if video.times_s is None:
        if start_s or end_s is not None:
            raise VideoError("frames without times: a start or an end needs their frame rate")
        count, unit = video.num_frames, "frames"
        chosen = list(range(max(0, count - rule.num_frames), count))
    else:
        chosen, count, unit = _sampled(video.times_s, rule, start_s, end_s)
    if count == 1:
        unit = unit.replace("frames", "frame", 1)
    num_missing = rule.num_frames - count
    if num_missing > 0:
        note = f"The video has {count} {unit}, and the clip {rule.num_frames}: the first is repeated."
        return [chosen[0]] * num_missing + chosen, note
    last = "last" if rule.num_frames == 1 else f"last {rule.num_frames}"
    return chosen, f"The models see the {last} of {count:,} {unit}." if num_missing < 0 else ""


def shown_at(times_s: Float[np.ndarray, " M"], moments_s: Float[np.ndarray, " N"], period_s: float) -> list[int]:
    """Return the frame that a viewer sees at each moment: the last one that has come by then.

    Args:
        times_s: of the frames, ascending.
        moments_s: to look at.
        period_s: time between two moments. A frame that comes later by less than a quarter of it, and of the usual time
            between two frames, counts, since files round their times.
    """
    own_period_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else period_s
    places = np.searchsorted(times_s, moments_s + LATE_SHARE * min(period_s, own_period_s), side="right") - 1
    return np.maximum(places, 0).tolist()


def frames_at(video: Video, moments_s: Float[np.ndarray, " N"], period_s: float) -> list[Image.Image]:
    """Decode the frames that a viewer sees at some moments, as upright RGB pictures.

    Args:
        video: opened, with times; it lasts from 0 to `video.times_s[-1]` seconds, the time of its last frame.
        moments_s: to look at, ascending, seconds from the first frame. After the end, the last frame stays.
        period_s: time between two moments, as `shown_at`.

    Raises:
        VideoError: for frames without times, or descending moments.
    """
    if video.times_s is None:
        raise VideoError("frames without times: give their frame rate")
    if (np.diff(moments_s) < 0).any():
        raise VideoError("moments that go back in time: expected ascending ones")
    return video.pictures(shown_at(video.times_s, moments_s, period_s))


def check_end(role: str, time_s: float, times_s: Float[np.ndarray, " M"]) -> None:
    """Refuse a time after the end of a video; a single frame may stay for any time.

    Args:
        role: its name, for the message.
        time_s: seconds from the first frame.
        times_s: times of the frames.

    Raises:
        VideoError: if the last frame would stay for more than `LATE_END_S`, and longer than every other frame.
    """
    if len(times_s) > 1 and time_s > times_s[-1] + max(LATE_END_S, np.diff(times_s).max()) + 1e-6:
        raise VideoError(f"{role}={time_s:g} s: {_length(times_s)}; give a time within it")


def _length(times_s: Float[np.ndarray, " M"]) -> str:
    """Say how long a video is, for messages."""
    last_s = float(times_s[-1])
    return f"the video has {last_s:.3g} s" if last_s < 100 else f"the video has {last_s:.0f} s"


def _sampled(
    times_s: Float[np.ndarray, " M"], rule: ClipRule, start_s: float, end_s: float | None
) -> tuple[list[int], int, str]:
    """Return the last frames at the rate of the rule, at most as many as it has, the number of all, and their name."""
    period = 1 / rule.frame_rate_hz
    if end_s is not None:
        check_end("end", end_s, times_s)
    last = len(times_s) - 1 if end_s is None else int(np.searchsorted(times_s, end_s + 1e-6, side="right")) - 1
    first = int(np.searchsorted(times_s, start_s - 1e-6))
    if first > last:
        until = "its end" if end_s is None else f"{end_s:g} s"
        raise VideoError(f"no frame between {start_s:g} s and {until}: {_length(times_s)}")
    # The last frames alone decide: elsewhere, a video of a variable rate may be faster or slower.
    steps = np.diff(times_s[max(first, last + 1 - max(2, rule.num_frames)) : last + 1])
    if steps.size and (steps > period * (1 + LATE_SHARE)).all():
        rate_hz = 1 / float(np.median(steps))
        slow = f"frames at {rate_hz:.3g} a second (the world model expects {rule.frame_rate_hz:g})"
        return list(range(max(first, last + 1 - rule.num_frames), last + 1)), last + 1 - first, slow
    count = int((times_s[last] - times_s[first]) * rule.frame_rate_hz + LATE_SHARE) + 1
    moments = times_s[last] - period * np.arange(min(count, rule.num_frames))[::-1]
    start = max(first, int(np.searchsorted(times_s, moments[0])) - 1)
    chosen = [start + index for index in shown_at(times_s[start : last + 1], moments, period)]
    return chosen, count, f"frames at {rule.frame_rate_hz:g} a second"


def _check_times(start_s: float, end_s: float | None) -> None:
    if not start_s >= 0:
        raise VideoError(f"start={start_s}: expected 0 or more seconds")
    if end_s is not None and not end_s >= start_s:
        raise VideoError(f"end={end_s}: expected {start_s:g} s, the start, or more")


class _Frames:
    """Frames that are decoded already."""

    def __init__(self, frames: Any, frame_rate_hz: float | None, limits: VideoLimits) -> None:
        self.frames, self.limits, self.num_frames = frames, limits, len(frames)
        if frame_rate_hz is not None and not _MIN_RATE_HZ <= frame_rate_hz <= _MAX_RATE_HZ:
            raise VideoError(
                f"frame_rate={frame_rate_hz}: expected {_MIN_RATE_HZ:f} to {_MAX_RATE_HZ:,.0f} frames a second"
            )
        self.times_s = None if frame_rate_hz is None else np.arange(len(frames)) / frame_rate_hz

    def pictures(self, indices: Sequence[int]) -> list[Image.Image]:
        frames = [self.frames[index] for index in indices]
        return [smaller(picture, self.limits.max_side_px) for picture in to_clip(frames)]


class _Decoder:
    """A torchcodec VideoDecoder, or an object of its interface.

    It does not tell the times of its frames, except of those that it decodes. A video of a variable rate therefore
    counts as one of its average rate, whose frames are those that a viewer sees at these times.
    """

    def __init__(self, decoder: Any, limits: VideoLimits) -> None:
        facts = decoder.metadata
        self.decoder, self.limits, self.num_frames = decoder, limits, int(facts.num_frames or 0)
        self._check = LimitCheck(limits, "a decoder")
        if not self.num_frames or not facts.average_fps:
            raise VideoError("a decoder of a video without frames, or without a frame rate")
        self._check.size(facts.width or 0, facts.height or 0)
        self._check.length(self.num_frames, self.num_frames / float(facts.average_fps))
        self._start_s = float(facts.begin_stream_seconds or 0.0)
        self._period_s = 1 / float(facts.average_fps)
        self.times_s = np.arange(self.num_frames) * self._period_s

    def pictures(self, indices: Sequence[int]) -> list[Image.Image]:
        moments_s = self._start_s + (np.asarray(indices) + LATE_SHARE) * self._period_s
        with one_line("a decoder", "its video may be damaged"):
            batch = self.decoder.get_frames_played_at(seconds=moments_s.tolist()).data
        if batch.shape[1] != 3 and batch.shape[-1] == 3:
            batch = batch.permute(0, 3, 1, 2)  # NHWC
        return [smaller(picture, self.limits.max_side_px) for picture in to_clip(batch)]
