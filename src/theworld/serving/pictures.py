"""Pictures of a request: data URLs and nothing else, within limits that are checked before a pixel is decoded."""

import base64
import binascii
import io
import re
import warnings

from PIL import Image, ImageOps

from theworld.config.serving import ServeSettings
from theworld.datasets.images import BROKEN, ImageError, to_image
from theworld.serving.errors import RequestError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What is decoded; Pillow knows many more, and some of them start other programs."""

_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]+)?(;[a-z0-9=.+-]+)*;base64,", re.IGNORECASE)


def read_picture(url: str, limits: ServeSettings) -> Image.Image:
    """The picture in a data URL, upright, RGB; of an animation the first frame.

    Raises:
        RequestError: for an address or a path, for what is no picture, and for one beyond the limits.
    """
    head = _DATA_URL.match(url)
    if head is None:
        raise RequestError(
            f"image_url {_shown(url)}: only data URLs are taken, data:image/png;base64,...; this server opens no"
            " addresses and no files: read the picture where you are and send its bytes",
            code="unsupported_image_url",
        )
    num_bytes = (len(url) - head.end()) * 3 // 4
    if num_bytes > limits.max_image_bytes:
        raise RequestError(
            f"a picture of {num_bytes:,} bytes: expected at most {limits.max_image_bytes:,}; send it smaller",
            code="image_too_large",
        )
    try:
        content = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"image_url {_shown(url)}: not base64 ({error})", code="invalid_image") from None
    return decode_picture(content, limits.max_image_pixels)


def decode_picture(content: bytes, max_pixels: int) -> Image.Image:
    """The picture in the bytes of a file, upright, RGB; of an animation the first frame.

    Raises:
        RequestError: for what is no picture, and for one beyond the limit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is the stricter one
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                width, height = image.size  # of the header: nothing is decoded yet
                if width * height > max_pixels:
                    raise RequestError(
                        f"a picture of {width} x {height} px: expected at most {max_pixels:,} pixels; send it smaller",
                        code="image_too_large",
                    )
                return to_image(ImageOps.exif_transpose(image))
    except (ImageError, RequestError) as error:
        raise error if isinstance(error, RequestError) else RequestError(str(error), code="invalid_image") from None
    except Image.DecompressionBombError as error:
        raise RequestError(f"a picture of too many pixels ({error})", code="image_too_large") from None
    except BROKEN as error:
        raise RequestError(
            f"not a readable picture ({type(error).__name__}): expected {', '.join(FORMATS)}", code="invalid_image"
        ) from None


def _shown(url: str) -> str:
    """The start of an address, for messages."""
    return repr(url if len(url) <= 60 else f"{url[:57]}...")
