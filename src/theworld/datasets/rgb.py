"""Conversion of opened pictures to RGB: every mode of Pillow, orientation, transparency, damaged metadata."""

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from PIL import ExifTags, Image

from theworld.datasets.errors import ImageError

BROKEN = (OSError, SyntaxError, ValueError, IndexError, TypeError, KeyError, EOFError, OverflowError, struct.error)
"""Errors of Pillow for broken bytes. When it opens a file, Pillow turns some of them into SyntaxError, but not when it
decodes or goes to the next frame."""

# Damaged metadata cost no pixel (`decode`), and a run would print a line for each such picture.
warnings.filterwarnings("ignore", "Corrupt EXIF data|Possibly corrupt EXIF|Truncated File Read", UserWarning)

_DEEP: Final = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_CONVERTED: Final = ("1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "RGBA", "RGBa", "LA", "La", "PA")
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition that sets a picture upright, by EXIF orientation; 1 and other values: none."""
_HOLDS_ORIENTATION: Final = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS: Final = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
"""Chunks that decide the pixels; only the last may be dropped."""
_JPEG_APP: Final = range(0xE1, 0xF0)
_JPEG_COMMENT: Final = 0xFE
_JPEG_ADOBE: Final = 0xEE
_JPEG_SCAN: Final = 0xDA


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a picture to RGB; an RGB picture without a transparent colour is returned itself.

    | mode                    | rule                                                                        |
    |-------------------------|-----------------------------------------------------------------------------|
    | RGB                     | unchanged                                                                   |
    | 1, L                    | grey; 1 gives 0 and 255                                                     |
    | P                       | colours of the palette                                                      |
    | RGBX                    | the fourth channel is dropped                                               |
    | CMYK, YCbCr, LAB, HSV   | Pillow's conversion                                                         |
    | RGBA, LA, PA            | composited on white, so that colours under alpha 0 do not show              |
    | RGBa, La                | the same, after division by alpha                                           |
    | 1, L, P, RGB and I;16   | composited on white if the file names transparent colours (PNG, GIF)        |
    | I;16, I;16L/B/N         | grey: value >> 8, so 65535 becomes 255                                      |
    | I                       | the same; ImageError if a value lies outside 0..65535                       |
    | F                       | grey: 255 * value, rounded; ImageError if a value lies outside [0, 1]       |
    | any other               | ImageError                                                                  |

    Raises:
        ImageError: as the table says.
    """
    transparent = image.info.get("transparency")
    if image.mode == "RGB" and transparent is None:
        return image
    if image.mode in _DEEP:
        return _composited(*_from_deep(image, transparent))
    if image.mode == "F":
        return _from_float(image)
    if image.mode != "RGB" and image.mode not in _CONVERTED:
        raise ImageError(f"a picture of mode {image.mode}: expected RGB, or a mode that Pillow converts to RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    try:
        with_alpha = image.convert("RGBA") if image.mode != "La" else image.convert("LA").convert("RGBA")
    except BROKEN:  # transparent colours of a wrong form
        plain = image.copy()
        plain.info.pop("transparency", None)
        return plain.convert("RGB")
    return _composited(with_alpha.convert("RGB"), with_alpha.getchannel("A"))


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture by its EXIF orientation; without one it is returned itself. Unreadable EXIF counts as none."""
    try:
        method = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (*BROKEN, AttributeError, AssertionError, RecursionError):
        method = None
    if method is None:
        return image
    turned = image.transpose(method)
    for name in _HOLDS_ORIENTATION:  # nobody turns it again
        turned.info.pop(name, None)
    return turned


def decode(source: Path | bytes, formats: tuple[str, ...] | None = None, max_pixels: int | None = None) -> Image.Image:
    """Decode a picture file: upright, RGB; the first frame of an animation.

    If its metadata (EXIF, colour profile, text) is damaged, a PNG or JPEG is read without them.

    Args:
        source: path or content.
        formats: accepted formats, as Pillow names them; None: all.
        max_pixels: largest picture; None: Pillow's limit.

    Raises:
        ImageError: for a picture beyond `max_pixels` (ImageSizeError), or of values without a rule.
        OSError, ValueError and the others of BROKEN: for a broken file.
    """
    try:
        return _decode(source if isinstance(source, Path) else io.BytesIO(source), formats, max_pixels)
    except ImageError:
        raise
    except BROKEN:
        content = without_metadata(source.read_bytes() if isinstance(source, Path) else source)
        if content is None:
            raise
        return _decode(io.BytesIO(content), formats, max_pixels)


class ImageSizeError(ImageError):
    """A picture of more pixels than allowed."""


def _decode(file: Path | io.BytesIO, formats: tuple[str, ...] | None, max_pixels: int | None) -> Image.Image:
    with Image.open(file, formats=formats) as image:
        width, height = image.size  # from the header: nothing is decoded yet
        if max_pixels is not None and width * height > max_pixels:
            raise ImageSizeError(f"a picture of {width} x {height} px: expected at most {max_pixels:,} pixels")
        image.load()
        picture = to_rgb(upright(image))
        picture = picture.copy() if picture is image else picture  # the file closes
    for name in _HOLDS_ORIENTATION:  # it is upright, and damaged EXIF is not read again
        picture.info.pop(name, None)
    return picture


def without_metadata(content: bytes) -> bytes | None:
    """Return a PNG or JPEG file without the parts that leave its pixels alone; None: nothing to drop."""
    if content.startswith(_PNG):
        kept = _png_pixels(content)
    elif content.startswith(b"\xff\xd8"):
        kept = _jpeg_pixels(content)
    else:
        return None
    return kept if len(kept) < len(content) else None


def _png_pixels(content: bytes) -> bytes:
    parts, place = [_PNG], len(_PNG)
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        end = place + 12 + length
        name, chunk = content[place + 4 : place + 8], content[place:end]
        if name in _PNG_PIXELS and not (name == b"eXIf" and chunk[-4:] != struct.pack(">I", zlib.crc32(chunk[4:-4]))):
            parts.append(chunk)
        place = end
    return b"".join(parts)


def _jpeg_pixels(content: bytes) -> bytes:
    """Drop application data and comments before the first scan; Adobe's segment names the colour space and stays."""
    parts, place = [content[:2]], 2
    while place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != _JPEG_SCAN:
        marker = content[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        (length,) = struct.unpack_from(">H", content, place + 2)
        end = place + 2 + max(length, 2)
        is_metadata = (marker in _JPEG_APP and marker != _JPEG_ADOBE) or marker == _JPEG_COMMENT
        if not is_metadata:
            parts.append(content[place:end])
        place = end
    return b"".join([*parts, content[place:]])


def _composited(picture: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is None:
        return picture
    on_white = Image.new("RGB", picture.size, "white")
    on_white.paste(picture, mask=alpha)
    return on_white


def _grey(levels: np.ndarray) -> Image.Image:
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


def _from_deep(image: Image.Image, transparent: object) -> tuple[Image.Image, Image.Image | None]:
    """Convert integers to grey, and return the alpha of the transparent value, if any."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65_535:
        raise ImageError(
            f"a picture of mode {image.mode} with values in [{low}, {high}]: expected 0..65535; scale it first"
        )
    is_clear = values == transparent if isinstance(transparent, int) else None
    alpha = None if is_clear is None else Image.fromarray(np.where(is_clear, 0, 255).astype(np.uint8))
    return _grey(values >> 8), alpha


def _from_float(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 1.0):  # also catches NaN
        raise ImageError(f"a float picture with values in [{low:.3g}, {high:.3g}]: expected [0, 1]; scale it first")
    return _grey((values * 255).round())
