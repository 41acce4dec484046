"""Pictures and clips for the page: decode uploaded files, or draw a scene of Foresight."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from theworld.config.data_base import NO_SHIFT, Shift
from theworld.config.serving import AppSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.films import VIDEO_FORMATS, is_film
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
from theworld.datasets.foresight.shifts import shifted_look, under_gravity
from theworld.datasets.rgb import BROKEN, without_metadata
from theworld.datasets.video import ClipRule
from theworld.datasets.video_limits import VideoLimits, smaller
from theworld.serving.media import FORMATS, clip_of, decode_picture
from theworld.serving.refusals import RequestError

LONGEST_SIDE_PX = 1792
"""Longest side of a stored picture: twice the input size of Gemma 3. A larger one is scaled down to limit memory."""

SHOWN_SIDE_PX = 896
"""Longest side of a picture on the page: twice its size there, for screens of double density."""


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


def read_scene(
    task: Task, index: int, side_px: int, most_frames: int, shift: Shift = NO_SHIFT, gravity: float = 1.0
) -> Clip:
    """Draw a scene of Foresight's test split.

    Args:
        task: the kind of scene.
        index: index of the scene, from 0.
        side_px: side of its pictures.
        most_frames: longest clip, 1 + 4j; a longer one keeps its last frames.
        shift: of camera and light.
        gravity: a factor of the scene's own; without an outcome under it, the question about the future is left out.

    Raises:
        ValueError: for an unknown task or a negative index.
    """
    item, has_outcome = under_gravity(make_item("test", index, task), gravity)
    look = shifted_look(item.scene, shift)
    frames = [Image.fromarray(frame) for frame in draw_clip(item.scene, item.poses, side_px, look)]
    num_given = item.scene.num_given_frames
    assert len(frames) == NUM_FRAMES
    about_future = (dynamic_question(item),) if has_outcome else ()
    return replace(
        _clip(frames[:num_given], num_given, "frames", most_frames),
        questions=(*about_future, *static_questions(item)),
        future=tuple(frames[num_given:]),
        num_world_steps=num_future_slots(task),
    )


def read_files(files: Sequence[bytes], limits: AppSettings, frame_rate_hz: float, most_frames: int) -> Clip:
    """Decode one picture, one animation or video, or the frames of a clip in time order.

    Args:
        files: contents of at least one file.
        limits: largest files.
        frame_rate_hz: frame rate of the world model, for animations and videos (`ClipRule`); several pictures are all
            used.
        most_frames: longest clip, 1 + 4j; a longer one keeps its last frames, and a shorter video repeats its first.

    Raises:
        RequestError: for another file than a picture or video, or one beyond the limits.
    """
    if not files:
        raise RequestError("no file: choose a picture, a video, or several pictures")
    if len(files) > limits.max_files:
        raise RequestError(f"{len(files)} files: expected at most {limits.max_files}")
    if len(files) > 1:
        pictures = [smaller(decode_picture(content, limits.max_image_pixels), LONGEST_SIDE_PX) for content in files]
        return _clip(pictures, len(pictures), "pictures", most_frames)
    kind = _kind_of(files[0])
    if kind == "picture":
        return Clip((smaller(decode_picture(files[0], limits.max_image_pixels), LONGEST_SIDE_PX),))
    if kind == "video" and not is_film(files[0]):
        expected = ", ".join(FORMATS)
        raise RequestError(
            f"not a readable picture or video: expected {expected}, {VIDEO_FORMATS}", code="invalid_image"
        )
    return _video(files[0], limits, ClipRule(frame_rate_hz, most_frames))


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


def _video(content: bytes, limits: AppSettings, rule: ClipRule) -> Clip:
    """Read the clip of an animation or a video."""
    largest = VideoLimits(
        max_pixels=limits.max_image_pixels,
        max_seconds=limits.max_video_seconds,
        max_decode_seconds=limits.max_seconds,
        max_side_px=LONGEST_SIDE_PX,
    )
    clip = clip_of(content, rule, largest)
    return Clip(clip.frames, clip.note)


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
