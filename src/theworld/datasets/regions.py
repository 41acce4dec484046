"""Regions of a picture: boxes and masks, drawn with the number that a text uses for them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw, ImageFont

from theworld.datasets.images import ImageError

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels; parts outside the picture are cut off."""

_COLOURS: Final = ((230, 25, 75), (0, 130, 200), (60, 180, 75), (245, 130, 48), (145, 30, 180), (0, 128, 128))
_TINT = 0.4
_LINE_SHARE = 0.004
_TEXT_SHARE = 0.035


def draw_regions(
    image: Image.Image, boxes: Sequence[Box], masks: Sequence[Bool[np.ndarray, "H W"]] | None = None
) -> Image.Image:
    """Mark each region n of a picture in its own colour, with the label `[n]`.

    Args:
        image: RGB.
        boxes: one per region.
        masks: of the same regions, tinted instead of boxes.

    Raises:
        ImageError: for unequal numbers of boxes and masks, or a box outside the picture.
    """
    if masks is not None and len(masks) != len(boxes):
        raise ImageError(f"{len(boxes)} boxes and {len(masks)} masks: expected one of each per region")
    marked = image.copy() if masks is None else _tinted(image, masks)
    longest = max(image.size)
    width = max(2, round(_LINE_SHARE * longest))
    font = ImageFont.load_default(max(10, round(_TEXT_SHARE * longest)))
    pen = ImageDraw.Draw(marked)
    clamped = [clamp(box, image.size) for box in boxes]
    if masks is None:
        for number, box in enumerate(clamped):
            pen.rectangle(box, outline=_colour(number), width=width)
    for number, box in enumerate(clamped):  # last: no line may cross a label
        _label(pen, f"[{number}]", (box[0] + width, box[1] + width), image.size, font, _colour(number))
    return marked


def clamp(box: Box, size: tuple[int, int]) -> Box:
    """Clamp a box to a picture of (width, height); it keeps at least one pixel of width and height.

    Raises:
        ImageError: if it is outside the picture, or its sides are in the wrong order.
    """
    left, top, right, bottom = map(float, box)
    width, height = map(float, size)
    if not (left <= right and top <= bottom) or right < 0 or bottom < 0 or left >= width or top >= height:
        raise ImageError(f"box {box}: expected left, top, right, bottom in a picture of {size[0]} x {size[1]} px")
    left, top = max(0.0, min(left, width - 2)), max(0.0, min(top, height - 2))
    return left, top, max(left + 1, min(right, width - 1)), max(top + 1, min(bottom, height - 1))


def decode_mask(rle: Mapping[str, Any]) -> Bool[np.ndarray, "H W"]:
    """Decode a mask from COCO's run-length code: {"size": [height, width], "counts": text or numbers}.

    Raises:
        ImageError: if it is not such a mask.
    """
    from pycocotools import mask as coco

    size, counts = rle.get("size"), rle.get("counts")
    if not (isinstance(size, Sequence) and len(size) == 2 and isinstance(counts, str | bytes | Sequence)):
        raise ImageError(f"a mask with the keys {', '.join(rle)}: expected size [height, width] and counts")
    height, width = map(int, size)
    packed: Any
    if isinstance(counts, str | bytes):
        packed = {"size": [height, width], "counts": counts.encode() if isinstance(counts, str) else counts}
    elif sum(counts) != height * width:
        raise ImageError(f"a mask of {sum(counts)} pixels in runs: expected {height} x {width}")
    else:
        unpacked: Any = {"size": [height, width], "counts": list(counts)}
        packed = coco.frPyObjects(unpacked, height, width)
    return coco.decode(packed).astype(bool)


def _tinted(image: Image.Image, masks: Sequence[np.ndarray]) -> Image.Image:
    pixels = np.asarray(image).astype(np.float32)
    for number, mask in enumerate(masks):
        pixels[mask] = (1 - _TINT) * pixels[mask] + _TINT * np.array(_colour(number), np.float32)
    return Image.fromarray(pixels.round().astype(np.uint8))


def _label(
    pen: ImageDraw.ImageDraw,
    text: str,
    place: tuple[float, float],
    size: tuple[int, int],
    font: Any,
    colour: tuple[int, int, int],
) -> None:
    """Write white letters on the region's colour, moved inside the picture if necessary."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    x = max(0.0, min(place[0], size[0] - (right - left) - 2))
    y = max(0.0, min(place[1], size[1] - (bottom - top) - 2))
    pen.rectangle((x, y, x + right - left + 2, y + bottom - top + 2), fill=colour)
    pen.text((x + 1 - left, y + 1 - top), text, font=font, fill="white")


def _colour(number: int) -> tuple[int, int, int]:
    return _COLOURS[number % len(_COLOURS)]
