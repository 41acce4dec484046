"""Limits of videos, and their errors; separate because films, animations and decoded frames share them."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from PIL import Image, UnidentifiedImageError

from theworld.datasets.errors import ImageError, MissingImageError, VideoError
from theworld.datasets.rgb import BROKEN

DAMAGE: Final = (OSError, ValueError, OverflowError, IndexError, EOFError, RuntimeError, MemoryError, struct.error)
"""Errors of PyAV and numpy for broken files. A TypeError or a KeyError would be a fault of ours."""
PICTURE_DAMAGE: Final = (*BROKEN, RuntimeError, MemoryError, Image.DecompressionBombError)
"""Those of Pillow."""


class VideoSizeError(VideoError):
    """A video of larger frames than allowed."""


class VideoLengthError(VideoError):
    """A video of more seconds, frames or pixels than allowed."""


class VideoTimeError(VideoError):
    """A video that takes too long to decode."""


@dataclass(frozen=True)
class VideoLimits:
    """Largest video that is read; each default is far above a usual one."""

    max_pixels: int = 36_000_000
    """Largest frame, pixels: 8K."""
    max_seconds: float = float("inf")
    """Longest video, seconds."""
    max_frames: int = 10_000_000
    """Most frames of a file."""
    max_animation_pixels: int = 10_000_000_000
    """Most pixels in all frames of a GIF, WebP or PNG, whose frames are decoded from the first on."""
    max_decode_seconds: float = 300.0
    """Longest time for reading a video."""
    max_side_px: int = 1792
    """Longest side of a frame that is kept, twice the input size of Gemma 3: a larger one is scaled down."""


class LimitCheck:
    """Comparison of a video with its limits; the clock starts here.

    Args:
        limits: largest video.
        name: of the video, for messages.
    """

    def __init__(self, limits: VideoLimits, name: str) -> None:
        self.limits, self.name = limits, name
        self._until = monotonic() + limits.max_decode_seconds

    def size(self, width: int, height: int) -> None:
        """Refuse frames that are too large."""
        if width * height > self.limits.max_pixels:
            raise VideoSizeError(
                f"{self.name}: frames of {width} x {height} px: expected at most {self.limits.max_pixels:,} pixels"
            )

    def length(self, num_frames: int, seconds: float) -> None:
        """Refuse a video that is too long or has too many frames."""
        if seconds > self.limits.max_seconds:
            raise VideoLengthError(f"{self.name}: a video of more than {self.limits.max_seconds:g} s: cut it")
        if num_frames > self.limits.max_frames:
            raise VideoLengthError(f"{self.name}: a video of more than {self.limits.max_frames:,} frames: cut it")

    def clock(self) -> None:
        """Refuse a video that takes too long."""
        if monotonic() > self._until:
            raise VideoTimeError(f"{self.name}: a video that takes too long to decode: send a smaller one")


@contextmanager
def one_line(
    name: str, expected: str, errors: tuple[type[Exception], ...] = DAMAGE, kind: str = "video"
) -> Iterator[None]:
    """Turn every error of the libraries for a damaged file into a VideoError.

    Args:
        name: of the video.
        expected: end of the message, perhaps with the remedy.
        errors: of the library, beside those of FFmpeg.
        kind: of the file.
    """
    from av.error import FFmpegError

    try:
        yield
    except (VideoError, MissingImageError):
        raise
    except ImageError as error:
        raise VideoError(f"{name}: {error}") from error
    except (FFmpegError, *errors) as error:
        reason = "of no known format"  # Pillow would name the stream of the file, an object of Python
        if not isinstance(error, UnidentifiedImageError):
            reason = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())[:200]
        raise VideoError(f"{name}: not a readable {kind} ({reason}): {expected}") from error


def smaller(picture: Image.Image, max_side_px: int) -> Image.Image:
    """Scale a picture down to a longest side; a smaller one is returned itself."""
    if max(picture.size) > max_side_px:
        picture = picture.copy()
        picture.thumbnail((max_side_px, max_side_px), Image.Resampling.BICUBIC)
    return picture
