"""What a visitor asks about: a picture or a short clip, from files that were sent, or a scene of Foresight."""

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
from theworld.datasets.images import BROKEN
from theworld.serving.inputs import FORMATS, decode_picture
from theworld.serving.protocol import RequestError

LONGEST_SIDE_PX = 1792
"""Larger pictures are kept smaller: twice what Gemma 3 sees of them, in memory that a visitor cannot choose."""

SHOWN_SIDE_PX = 896
"""Longest side of what a page shows of a picture: twice the room that it has there, for screens of double density."""

_VIDEOS = "MP4, WebM, MOV, MKV or AVI"
_ALONE = {"format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi", "protocol_whitelist": "none"}
"""FFmpeg knows formats that are lists of addresses and paths, and would open them."""


@dataclass(frozen=True)
class Given:
    """What is asked about."""

    frames: tuple[Image.Image, ...]
    """In time order, the current one last: 1 + 4j of them, which the world model sees; Gemma sees the last."""
    note: str = ""
    """What was left of what was sent, if not all of it."""
    questions: tuple[Question, ...] = ()
    """Questions whose answers are known, the one about the future first: of a scene."""
    future: tuple[Image.Image, ...] = ()
    """What really happens after the frames: of a scene."""
    num_world_steps: int | None = None
    """How far the question about the future looks ahead, latent slots: of a scene."""

    @property
    def current(self) -> Image.Image:
        """The picture that Gemma sees."""
        return self.frames[-1]


def read_scene(task: Task, index: int, side_px: int, most_frames: int) -> Given:
    """A scene of Foresight's test split.

    Args:
        task: the kind of scene.
        index: which of them.
        side_px: side of its pictures.
        most_frames: of a clip, 1 + 4j; the last ones count.

    Raises:
        ValueError: for an unknown task or a negative index.
    """
    item = make_item("test", index, task)
    frames = [Image.fromarray(frame) for frame in draw_clip(item.scene, item.poses, side_px)]
    given = item.scene.num_given_frames
    assert len(frames) == NUM_FRAMES
    return replace(
        _clip(frames[:given], given, "frames", most_frames),
        questions=(dynamic_question(item), *static_questions(item)),
        future=tuple(frames[given:]),
        num_world_steps=num_future_slots(task),
    )


def read_files(files: Sequence[bytes], limits: AppSettings, frame_rate_hz: float, most_frames: int) -> Given:
    """One picture, one animation or video, or the frames of a clip in time order.

    Args:
        files: contents, one at least.
        limits: what is too large.
        frame_rate_hz: at which the world model takes frames; frames sent as pictures are taken as they are.
        most_frames: of a clip, 1 + 4j; the last ones count.

    Raises:
        RequestError: for what is no picture or video, and for what is beyond the limits.
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
        return Given((_smaller(decode_picture(files[0], limits.max_image_pixels)),))
    timed = _animation(files[0], limits) if kind == "animation" else _video(files[0], limits)
    kept, num_sampled = deque[Image.Image](maxlen=most_frames), 0
    for frame in _sampled(timed, frame_rate_hz, limits):
        kept.append(_smaller(frame))
        num_sampled += 1
    if not kept:
        raise RequestError(f"a video without a frame: expected {_VIDEOS}")
    return _clip(list(kept), num_sampled, f"frames at {frame_rate_hz:g} a second", most_frames)


def _clip(frames: list[Image.Image], num_sent: int, what: str, most_frames: int) -> Given:
    """The last 1 + 4j frames, at most so many."""
    length = min(len(frames), most_frames)
    length -= (length - 1) % TEMPORAL_STRIDE
    last = "last is" if length == 1 else f"last {length} are"
    return Given(tuple(frames[-length:]), f"Of {num_sent} {what} the {last} looked at." if length < num_sent else "")


def _kind_of(content: bytes) -> str:
    """`picture`, `animation`, or `video`, which is whatever Pillow does not know; nothing is decoded yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return "animation" if getattr(image, "is_animated", False) else "picture"
    except Image.DecompressionBombError:
        return "picture"  # is refused as one
    except BROKEN:
        return "video"


_Timed = Iterable[tuple[float, Image.Image]]


def _animation(content: bytes, limits: AppSettings) -> _Timed:
    """Frames of a GIF, WebP or PNG with their times, seconds."""
    decode_picture(content, limits.max_image_pixels)  # refuses what no picture may be
    time_ms = 0.0
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            for frame in ImageSequence.Iterator(image):
                _check_size(frame.width, frame.height, limits)  # a later frame may be larger than the first
                yield time_ms / 1000, frame.convert("RGB")
                time_ms += float(frame.info.get("duration", 0)) or 100.0  # what browsers do with 0
    except (*BROKEN, Image.DecompressionBombError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError("not a readable animation: it may be cut short", code="invalid_image") from None


def _video(content: bytes, limits: AppSettings) -> _Timed:
    """Frames of a video with their times, seconds."""
    try:
        with av.open(io.BytesIO(content), "r", options=_ALONE) as container:
            if not container.streams.video:
                raise RequestError(f"a file without pictures: expected {', '.join(FORMATS)}, {_VIDEOS}")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise RequestError("a video of a codec that is not known here: send it as H.264", code="invalid_image")
            _check_size(stream.codec_context.width, stream.codec_context.height, limits)
            for frame in container.decode(stream):
                _check_size(frame.width, frame.height, limits)  # it may change on the way
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
    """Frames that are a world model's frame apart, the first included; a slower video's frames all count.

    Raises:
        RequestError: once it lasts too long, or takes too long to decode: its times may all be the same.
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
    """Frames as a page shows them: a strip of them, each at the size of the current one."""
    current = frames[-1].copy()
    current.thumbnail((SHOWN_SIDE_PX, SHOWN_SIDE_PX), Image.Resampling.BICUBIC)
    return strip([frame.resize(current.size, Image.Resampling.BICUBIC) for frame in frames])


def strip(frames: Sequence[Image.Image] | np.ndarray, side_px: int | None = None) -> bytes:
    """Frames side by side as a PNG; a page cuts them apart again. With a side, each is squashed to a square of it."""
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
