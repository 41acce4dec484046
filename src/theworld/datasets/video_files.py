"""Open files of video: films through PyAV, animations through Pillow."""

import io
import warnings
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence
from PIL.ImageFile import ImageFile

from theworld.datasets.errors import MissingImageError, VideoError
from theworld.datasets.films import VIDEO_FORMATS, Film, is_film, open_film
from theworld.datasets.images import existing_file, is_animation, shown_path, to_image
from theworld.datasets.video_ends import is_cut_gif
from theworld.datasets.video_limits import PICTURE_DAMAGE, LimitCheck, VideoLengthError, VideoLimits, one_line, smaller

_USUAL_DURATION_MS = 100.0
"""Duration of a frame that names none; browsers replace a duration of 0 in the same way."""


@contextmanager
def open_file(source: Any, limits: VideoLimits) -> Iterator["Film | Animation"]:
    """Open the path, the content or the opened picture of a video; see `open_video`."""
    if isinstance(source, Image.Image):
        yield _animation(source, limits, "a picture")
        return
    name = shown_path(str(source)) if isinstance(source, str | Path) else f"{len(source):,} bytes"
    with _stream(source, name) as stream:
        head = stream.read(12)
        stream.seek(0)
        if is_film(head):
            with open_film(stream, limits, name) as film:
                yield film
            return
        with _reading(name, f"expected {VIDEO_FORMATS}, GIF or animated WebP", "video"):
            image = Image.open(stream)
        with image:
            yield _animation(image, limits, name)


def _stream(source: Any, name: str) -> io.BytesIO | io.BufferedReader:
    """Open a file, or the content of one."""
    if not isinstance(source, str | Path):
        return io.BytesIO(source)
    path = existing_file(Path(source), str(source))
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise MissingImageError(f"{name}: no such file") from error
    except OSError as error:
        raise VideoError(f"{name}: cannot be opened ({error.strerror}): check its permissions") from error


@contextmanager
def _reading(name: str, expected: str, kind: str) -> Iterator[None]:
    """Read through Pillow: its errors become one line."""
    with one_line(name, expected, PICTURE_DAMAGE, kind), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the limits are stricter than those of Pillow, and damage is said once
        yield


def _animation(image: Image.Image, limits: VideoLimits, name: str) -> "Animation":
    with _reading(name, "it may be cut short", "animation"):
        return Animation(image, limits, name)


class Animation:
    """A GIF, or a WebP or PNG of several frames.

    Args:
        image: opened, at any frame.
        limits: largest video.
        name: of the file, for messages.
    """

    def __init__(self, image: Image.Image, limits: VideoLimits, name: str) -> None:
        self.image, self.limits, self.name = image, limits, name
        self._check = LimitCheck(limits, name)
        self._check.size(*image.size)
        if not is_animation(image):
            raise VideoError(f"{name}: one picture, and no video")
        stream = image.fp if isinstance(image, ImageFile) and image.format == "GIF" else None
        if stream is not None and is_cut_gif(stream, self._check):
            raise VideoError(f"{name}: cut short: its last part is missing")
        self._num_listed, (width, height) = int(getattr(image, "n_frames", 1)), image.size  # without decoding
        self._check.length(self._num_listed, 0.0)
        if self._num_listed * width * height > limits.max_animation_pixels:
            raise VideoLengthError(
                f"{name}: an animation of {self._num_listed:,} frames of {width} x {height} px: expected at most"
                f" {limits.max_animation_pixels:,} pixels in all; convert it to MP4"
            )
        starts_ms, end_ms = array("d"), 0.0
        for frame in self._frames():
            starts_ms.append(end_ms)
            self._check.length(len(starts_ms), end_ms / 1000)
            end_ms += float(frame.info.get("duration", 0)) or _USUAL_DURATION_MS
        self.times_s = np.asarray(starts_ms) / 1000
        self.num_frames = len(starts_ms)

    def pictures(self, indices: Sequence[int]) -> list[Image.Image]:
        """Decode the frames of these numbers."""
        wanted = set(indices)
        kept: dict[int, Image.Image] = {}
        with _reading(self.name, "it may be cut short", "animation"):
            for number, frame in enumerate(self._frames()):
                if number in wanted:
                    kept[number] = smaller(to_image(frame.copy()), self.limits.max_side_px)
                if len(kept) == len(wanted):
                    break
        return [kept[index] for index in indices]

    def _frames(self) -> Iterator[Image.Image]:
        if self.image.format == "PNG":  # Pillow goes back to the first frame from the last one only
            for number in range(self.image.tell() + 1, self._num_listed):
                self.image.seek(number)
        for frame in ImageSequence.Iterator(self.image):
            self._check.size(frame.width, frame.height)  # a later one may be larger than the first
            self._check.clock()
            if frame.format == "WEBP":
                frame.load()  # the duration is known after it
            yield frame
