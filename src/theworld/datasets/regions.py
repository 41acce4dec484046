"""Regions of a picture: boxes and masks, drawn with the number that a text uses for them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw, ImageFont

from theworld.datasets.errors import ImageError
from theworld.datasets.records import short

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels; parts outside the picture are cut off."""

MAX_MASK_PIXELS: Final = 178_956_970
"""Largest mask: as large as the largest picture that Pillow opens."""

_COLOURS: Final = ((230, 25, 75), (0, 130, 200), (60, 180, 75), (245, 130, 48), (145, 30, 180), (0, 128, 128))
_TINT = 0.4
_CODES = (str, bytes, list, tuple)
_MOST_SHIFT = 35
"""Bits before the last group of a number: longer ones are larger than any picture."""
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


def as_box(values: Any) -> Box:
    """Convert the four numbers of a box.

    Raises:
        ImageError: for any other value.
    """
    if isinstance(values, Sequence) and not isinstance(values, str | bytes) and len(values) == 4:
        numbers = [_number(value) for value in values]
        if None not in numbers:
            left, top, right, bottom = (float(value or 0) for value in numbers)
            return left, top, right, bottom
        raise ImageError(f"a box {short(values)}: expected four finite numbers, pixels")
    given = f"of {len(values)} numbers" if isinstance(values, list | tuple) else short(values)
    raise ImageError(f"a box {given}: expected left, top, right, bottom in pixels")


def decode_mask(rle: Any, size: tuple[int, int] | None = None) -> Bool[np.ndarray, "H W"]:
    """Decode a mask from COCO's run-length code: {"size": [height, width], "counts": text or numbers}.

    Args:
        rle: the code.
        size: expected height and width; None: any up to `MAX_MASK_PIXELS`.

    Raises:
        ImageError: if it is not such a mask: its runs must have exactly height x width pixels.
    """
    if not isinstance(rle, Mapping):
        raise ImageError(f"a mask {short(rle)}: expected a run-length code with size and counts")
    given, counts = rle.get("size"), rle.get("counts")
    sides = [_whole(side) for side in given] if isinstance(given, list | tuple) else []
    if len(sides) != 2 or any(side is None or side < 1 for side in sides) or not isinstance(counts, _CODES):
        keys = ", ".join(short(key) for key in list(rle)[:9])
        raise ImageError(f"a mask with the keys {keys}: expected size [height, width] and counts")
    height, width = (int(side or 0) for side in sides)
    if size is not None and (height, width) != size:
        raise ImageError(f"a mask of {short(width)} x {short(height)} px on a picture of {size[1]} x {size[0]}")
    if height * width > MAX_MASK_PIXELS:
        raise ImageError(f"a mask of {short(width)} x {short(height)} px: expected at most {MAX_MASK_PIXELS:,} pixels")
    runs = _runs_of_text(counts) if isinstance(counts, str | bytes) else _runs_of_numbers(counts)
    if sum(runs) != height * width:
        raise ImageError(f"a mask of {short(sum(runs))} pixels in runs: expected {height} x {width}")
    is_on = np.arange(len(runs)) % 2 == 1  # the first run is off
    return np.repeat(is_on, runs).reshape(width, height).T  # column by column


def _runs_of_numbers(counts: Sequence[Any]) -> list[int]:
    runs = []
    for count in counts:
        run = _whole(count)
        if run is None or run < 0:
            raise ImageError(f"a mask with the run {short(count)}: expected whole numbers from 0 on")
        runs.append(run)
    return runs


def _runs_of_text(counts: str | bytes) -> list[int]:
    """Read COCO's text: per number groups of 5 bits, low ones first; from the fourth on, differences to two before."""
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode("utf-8", "replace") if isinstance(counts, str) else counts:
        group = code - 48
        if not 0 <= group < 64 or shift > _MOST_SHIFT:
            raise ImageError(f"a mask with the counts {short(counts)}: not COCO's text form of run lengths")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:  # more groups of this number
            continue
        if group & 0x10:  # negative
            value -= 1 << shift
        run = value + (runs[-2] if len(runs) > 2 else 0)
        if run < 0:
            raise ImageError(f"a mask with the counts {short(counts)}: a run is negative")
        runs.append(run)
        value = shift = 0
    if shift:
        raise ImageError(f"a mask with the counts {short(counts)}: cut off within a number")
    return runs


def _whole(value: Any) -> int | None:
    """Return a whole number; None: another value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, int | np.integer) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    """Return a finite number; None: another value."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


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
