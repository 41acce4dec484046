"""Pictures and clips for the page: decode uploaded files, or draw a scene of Foresight."""

import io
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from time import monotonic

import av
import numpy as np
from av.error import FFmpegError
from PIL import Image, ImageSequence

from theworld.config.serving import AppSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.foresight import (
    NUM_FRAMES,
    Question,
    Task,
    draw_clip,
    dynamic_question,
    make_item,
    static_questions,
)
from theworld.datasets.foresight.scene import num_future_slots
from theworld.datasets.images import to_image
from theworld.datasets.rgb import BROKEN, without_metadata
from theworld.serving.media import FORMATS, decode_picture
from theworld.serving.refusals import RequestError

LONGEST_SIDE_PX = 1792
"""Longest side of a stored picture: twice the input size of Gemma 3. A larger one is scaled down to limit memory."""

SHOWN_SIDE_PX = 896
"""Longest side of a picture on the page: twice its size there, for screens of double density."""

_VIDEOS = "MP4, WebM, MOV, MKV or AVI"
_ALONE = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi", "protocol_whitelist": "none"}
"""Options of FFmpeg: some formats are lists of addresses and paths, which FFmpeg would otherwise open."""


@dataclass(frozen=True)
class Clip:
    """A picture or clip to ask about."""

    frames: tuple[Image.Image, ...]
    """1 + 4j frames in time order for the world model; Gemma sees the last, current one."""
    note: str = ""
    """Sentence about dropped frames; empty: all are used."""
    questions: tuple[Question, ...] = ()
    """Scenes only: questions with known answers; the first is about the future."""
    future: tuple[Image.Image, ...] = ()
    """Scenes only: the true frames after the given ones."""
    num_world_steps: int | None = None
    """Scenes only: K of the question about the future, latent slots."""

    @property
    def current(self) -> Image.Image:
        """The last frame, which Gemma sees."""
        return self.frames[-1]

    @property
    def num_bytes(self) -> int:
        """Memory of the frames."""
        return sum(3 * frame.width * frame.height for frame in (*self.frames, *self.future))


def read_scene(task: Task, index: int, side_px: int, most_frames: int) -> Clip:
    """Draw a scene of Foresight's test split.

    Args:
        task: the kind of scene.
        index: index of the scene, from 0.
        side_px: side of its pictures.
        most_frames: longest clip, 1 + 4j; a longer one keeps its last frames.

    Raises:
        ValueError: for an unknown task or a negative index.
    """
    item = make_item("test", index, task)
    frames = [Image.fromarray(frame) for frame in draw_clip(item.scene, item.poses, side_px)]
    num_given = item.scene.num_given_frames
    assert len(frames) == NUM_FRAMES
    return replace(
        _clip(frames[:num_given], num_given, "frames", most_frames),
        questions=(dynamic_question(item), *static_questions(item)),
        future=tuple(frames[num_given:]),
        num_world_steps=num_future_slots(task),
    )


def read_files(files: Sequence[bytes], limits: AppSettings, frame_rate_hz: float, most_frames: int) -> Clip:
    """Decode one picture, one animation or video, or the frames of a clip in time order.

    Args:
        files: contents of at least one file.
        limits: largest files.
        frame_rate_hz: frame rate of the world model, for animations and videos; several pictures are all used.
        most_frames: longest clip, 1 + 4j; a longer one keeps its last frames.

    Raises:
        RequestError: for another file than a picture or video, or one beyond the limits.
    """
    if not files:
        raise RequestError("no file: choose a picture, a video, or several pictures")
    if len(files) > limits.max_files:
        raise RequestError(f"{len(files)} files: expected at most {limits.max_files}")
    if len(files) > 1:
        pictures = [_smaller(decode_picture(content, limits.max_image_pixels)) for content in files]
        return _clip(pictures, len(pictures), "pictures", most_frames)
    kind = _kind_of(files[0])
    if kind == "picture":
        return Clip((_smaller(decode_picture(files[0], limits.max_image_pixels)),))
    timed = _animation(files[0], limits) if kind == "animation" else _video(files[0], limits)
    kept, num_sampled = deque[Image.Image](maxlen=most_frames), 0
    for frame in _sampled(timed, frame_rate_hz, limits):
        kept.append(_smaller(frame))
        num_sampled += 1
    if not kept:
        raise RequestError(f"a video without a frame: expected {_VIDEOS}")
    return _clip(list(kept), num_sampled, f"frames at {frame_rate_hz:g} a second", most_frames)


def _clip(frames: list[Image.Image], num_sent: int, unit: str, most_frames: int) -> Clip:
    """Return the last 1 + 4j frames, at most `most_frames`."""
    length = min(len(frames), most_frames)
    length -= (length - 1) % TEMPORAL_STRIDE
    last = "last" if length == 1 else f"last {length}"
    note = f"The models see the {last} of {num_sent} {unit}." if length < num_sent else ""
    return Clip(tuple(frames[-length:]), note)


def _kind_of(content: bytes) -> str:
    """Return `picture`, `animation`, or, for a file unknown to Pillow, `video`; decode nothing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return "animation" if getattr(image, "is_animated", False) else "picture"
    except Image.DecompressionBombError:
        return "picture"  # decode_picture refuses it
    except BROKEN:
        return "video" if without_metadata(content) is None else "picture"  # a still one, if its metadata is damaged


_Timed = Iterable[tuple[float, Image.Image]]


def _animation(content: bytes, limits: AppSettings) -> _Timed:
    """Yield the frames of a GIF, WebP or PNG with their times, seconds."""
    decode_picture(content, limits.max_image_pixels)  # refuses broken and large files
    time_ms = 0.0
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            for frame in ImageSequence.Iterator(image):
                _check_size(frame.width, frame.height, limits)  # a later frame may be larger than the first
                yield time_ms / 1000, to_image(frame.copy())
                time_ms += float(frame.info.get("duration", 0)) or 100.0  # browsers replace 0 in the same way
    except (*BROKEN, Image.DecompressionBombError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError("not a readable animation: it may be cut short", code="invalid_image") from None


def _video(content: bytes, limits: AppSettings) -> _Timed:
    """Yield the frames of a video with their times, seconds."""
    try:
        with av.open(io.BytesIO(content), "r", options=_ALONE) as container:
            if not container.streams.video:
                raise RequestError(f"a file without pictures: expected {', '.join(FORMATS)}, {_VIDEOS}")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise RequestError("a video of an unknown codec: send it as H.264", code="invalid_image")
            _check_size(stream.codec_context.width, stream.codec_context.height, limits)
            for frame in container.decode(stream):
                _check_size(frame.width, frame.height, limits)  # the size can change within a video
                yield frame.time or 0.0, frame.to_image()
    except (FFmpegError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(
            f"not a readable picture or video: expected {', '.join(FORMATS)}, {_VIDEOS}", code="invalid_image"
        ) from None


def _check_size(width: int, height: int, limits: AppSettings) -> None:
    if width * height > limits.max_image_pixels:
        raise RequestError(
            f"frames of {width} x {height} px: expected at most {limits.max_image_pixels:,} pixels; send it smaller",
            code="image_too_large",
        )


def _sampled(timed: _Timed, frame_rate_hz: float, limits: AppSettings) -> Iterable[Image.Image]:
    """Sample frames at the frame rate of the world model, from the first on; a slower video keeps all its frames.

    Raises:
        RequestError: if the video is too long, or takes too long to decode: all its times can be equal.
    """
    start = due = None
    until = monotonic() + limits.max_seconds
    for time, frame in timed:
        start = time if start is None else start
        if time - start > limits.max_video_seconds:
            raise RequestError(f"a video of more than {limits.max_video_seconds:g} s: cut it", code="video_too_long")
        if monotonic() > until:
            raise RequestError("a video that takes too long to decode: send a smaller one", 504, "timeout")
        if due is None or time >= due - 1e-6:
            yield frame
            due = max(time if due is None else due, time - 1 / frame_rate_hz) + 1 / frame_rate_hz


def _smaller(picture: Image.Image) -> Image.Image:
    if max(picture.size) > LONGEST_SIDE_PX:
        picture = picture.copy()
        picture.thumbnail((LONGEST_SIDE_PX, LONGEST_SIDE_PX), Image.Resampling.BICUBIC)
    return picture


def shown(frames: Sequence[Image.Image]) -> bytes:
    """Return the frames for the page: a strip, each frame at the size of the current one."""
    current = frames[-1].copy()
    current.thumbnail((SHOWN_SIDE_PX, SHOWN_SIDE_PX), Image.Resampling.BICUBIC)
    return strip([frame.resize(current.size, Image.Resampling.BICUBIC) for frame in frames])


def strip(frames: Sequence[Image.Image] | np.ndarray, side_px: int | None = None) -> bytes:
    """Return the frames side by side as a PNG, which the page cuts apart; with `side_px`, resize each to a square."""
    pictures = [frame if isinstance(frame, Image.Image) else Image.fromarray(frame) for frame in frames]
    if side_px is not None:
        pictures = [picture.resize((side_px, side_px), Image.Resampling.BICUBIC) for picture in pictures]
    width, height = pictures[0].size
    whole = Image.new("RGB", (width * len(pictures), height))
    for number, picture in enumerate(pictures):
        whole.paste(picture, (number * width, 0))
    file = io.BytesIO()
    whole.save(file, "PNG")
    return file.getvalue()
