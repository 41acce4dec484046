"""Pictures and videos of API requests: the files in data URLs, checked and decoded."""

import base64
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, NamedTuple

from PIL import Image

from theworld.config.serving import ServeSettings
from theworld.datasets.errors import ImageError
from theworld.datasets.films import VIDEO_FORMATS, is_film
from theworld.datasets.images import to_image
from theworld.datasets.rgb import BROKEN, ImageSizeError, decode, without_metadata
from theworld.datasets.video import ClipRule, VideoClip, read_clip
from theworld.datasets.video_limits import VideoLengthError, VideoLimits, VideoSizeError, VideoTimeError
from theworld.serving.refusals import RequestError

Kind = Literal["image", "video"]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""Accepted picture formats; Pillow knows many more, and some of them start other programs."""

_DATA_URLS: Final = {
    kind: re.compile(rf"data:({types}|application/octet-stream)?(;[a-z0-9=.+_\"-]+)*;base64", re.IGNORECASE)
    for kind, types in (("image", "image/[a-z0-9.+-]+"), ("video", "(image|video)/[a-z0-9.+-]+"))
}
_EXAMPLES: Final = {"image": "data:image/png;base64,...", "video": "data:video/mp4;base64,..."}
_NOUNS: Final = {"image": "picture", "video": "video"}

_ANIMATIONS: Final = (b"GIF8", b"RIFF", b"\x89PNG")
"""Starts of the files of GIF, WebP and PNG, which may be animations."""
_LONGEST_HEAD = 200
"""Characters of a data URL before its comma."""

_WHITE_SPACE = b" \t\r\n\f\v"
_ALPHABET = bytes.maketrans(b"-_", b"+/")
"""The URL-safe alphabet of base64 in the usual one."""


def from_base64(text: str) -> bytes:
    """Decode base64 in the usual or the URL-safe alphabet, with or without padding and line breaks.

    Raises:
        ValueError: for other text.
    """
    content = text.encode("ascii").translate(_ALPHABET, _WHITE_SPACE)
    return base64.b64decode(content + b"=" * (-len(content) % 4), validate=True)


class MediaFile(NamedTuple):
    """The file of a picture or a video, not decoded."""

    kind: Kind
    content: bytes


def data_of(kind: Kind, url: str, limits: ServeSettings) -> bytes:
    """Return the file of a picture or a video in a data URL; it is not decoded.

    Raises:
        RequestError: for an address, a path, another kind of data, or a file of too many bytes.
    """
    noun = _NOUNS[kind]
    head, comma, _ = url[:_LONGEST_HEAD].partition(",")
    if kind == "image" and head.lower().startswith("data:video/"):
        raise RequestError(
            f"image_url {_start_of(url)}: a video; send it as a part of type video_url", code="unsupported_image_url"
        )
    if not comma or _DATA_URLS[kind].fullmatch(head) is None:
        raise RequestError(
            f"{kind}_url {_start_of(url)}: only data URLs are taken, {_EXAMPLES[kind]}; this server opens no"
            f" addresses and no files: read the {noun} where you are and send its bytes",
            code=f"unsupported_{kind}_url",
        )
    try:
        content = from_base64(url[len(head) + 1 :])
    except ValueError as error:
        raise RequestError(f"{kind}_url {_start_of(url)}: not base64 ({error})", code=f"invalid_{kind}") from None
    most = limits.max_image_bytes if kind == "image" else limits.max_video_bytes
    if len(content) > most:
        raise RequestError(
            f"a {noun} of {len(content):,} bytes: expected at most {most:,}; send it smaller", code=f"{kind}_too_large"
        )
    return content


def check_header(content: bytes, max_pixels: int) -> None:
    """Refuse a file that does not begin as a picture, or whose header names too many pixels; nothing is decoded.

    Raises:
        RequestError: as `decode_picture` does.
    """
    with _refusing(max_pixels), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is stricter
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size
        except BROKEN:
            if without_metadata(content) is None:
                raise
            return  # its metadata is damaged; `decode_picture` reads it without them
        if width * height > max_pixels:
            raise ImageSizeError(f"a picture of {width} x {height} px: expected at most {max_pixels:,} pixels")


def decode_picture(content: bytes, max_pixels: int) -> Image.Image:
    """Decode the picture in a file: upright, RGB; the first frame of an animation.

    Args:
        content: bytes of the file.
        max_pixels: largest picture.

    Raises:
        RequestError: for another file than a picture, or a picture beyond the limit.
    """
    with _refusing(max_pixels), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is stricter
        return to_image(decode(content, FORMATS, max_pixels))


def check_video_header(content: bytes) -> None:
    """Refuse a file that does not begin as a video or an animation; nothing is decoded.

    Raises:
        RequestError: for another file.
    """
    if not is_film(content[:12]) and not content.startswith(_ANIMATIONS):
        raise RequestError(
            f"not a readable video: expected {VIDEO_FORMATS}, or an animation (GIF, WebP, PNG)", code="invalid_video"
        )


def decode_video(content: bytes, rule: ClipRule, settings: ServeSettings) -> VideoClip:
    """Decode the clip of a video file or an animation.

    Args:
        content: bytes of the file.
        rule: the frames that the model sees.
        settings: largest video.

    Raises:
        RequestError: for a file that is no video, is damaged, or is beyond the limits.
    """
    limits = VideoLimits(
        max_pixels=settings.max_video_pixels,
        max_seconds=settings.max_video_seconds,
        max_frames=settings.max_video_frames,
        max_decode_seconds=settings.max_video_decode_seconds,
    )
    return clip_of(content, rule, limits)


def clip_of(content: bytes, rule: ClipRule, limits: VideoLimits) -> VideoClip:
    """Decode the clip of a video file or an animation, within any limits; the API and the page refuse alike.

    Raises:
        RequestError: as `decode_video`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels is stricter
            return read_clip(content, rule, limits=limits)
    except ImageError as error:
        reason = str(error).removeprefix(f"{len(content):,} bytes: ")  # whoever sent the video knows which it is
        if isinstance(error, VideoSizeError):
            reason = f"{reason}; send it smaller"
        is_large = isinstance(error, VideoSizeError | VideoLengthError | VideoTimeError)
        raise RequestError(reason, code="video_too_large" if is_large else "invalid_video") from None


@contextmanager
def _refusing(max_pixels: int) -> Iterator[None]:
    """Turn the errors of a broken or large picture into a RequestError."""
    try:
        yield
    except ImageSizeError as error:
        raise RequestError(f"{error}; send it smaller", code="image_too_large") from None
    except ImageError as error:
        raise RequestError(str(error), code="invalid_image") from None
    except Image.DecompressionBombError:  # Pillow's own limit, before it opens a file
        most = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        raise RequestError(
            f"a picture of too many pixels: expected at most {most:,}; send it smaller", code="image_too_large"
        ) from None
    except BROKEN as error:
        raise RequestError(
            f"not a readable picture ({type(error).__name__}): expected {', '.join(FORMATS)}", code="invalid_image"
        ) from None


def _start_of(url: str) -> str:
    """Return the start of a URL, for messages."""
    return repr(url if len(url) <= 60 else f"{url[:57]}...")
