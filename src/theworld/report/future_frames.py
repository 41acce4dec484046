"""Pictures of an imagined future beside the true one: frames of an animation, and a contact sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from theworld.constants import TEMPORAL_STRIDE

_HEIGHT_PX: Final = 256
_GAP_PX: Final = 8
_LINE_PX: Final = 26
_TEXT_PX: Final = 15
_PAPER, _INK, _PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class Future:
    """An imagined future, and the true one as far as it is known."""

    given: UInt8[np.ndarray, "G S S 3"]
    """The given frames, the current one last."""
    imagined: UInt8[np.ndarray, "F S S 3"]
    """Frames that the world model imagines after them."""
    true: UInt8[np.ndarray, "F2 S S 3"]
    """Frames that followed; at most as many, perhaps none."""
    period_s: float
    """Time between two frames."""
    aspect: float = 1.0
    """Width of the video as a multiple of its height: the world model sees it as a square."""


def side_by_side(future: Future) -> UInt8[np.ndarray, "N H W 3"]:
    """Return the frames of an animation with even sides: the given frames, then what follows.

    true                imagined            a title over each
    [ frame ]           [ frame ]           without a true future, imagined alone
    """
    font = ImageFont.load_default(_TEXT_PX)
    columns = [("true", future.true), ("imagined", future.imagined)] if len(future.true) else []
    columns = columns or [("imagined", future.imagined)]
    width = _width(future)
    size = len(columns) * (width + _GAP_PX) - _GAP_PX, _HEIGHT_PX + _LINE_PX
    pages = []
    num_given = len(future.given)
    for number in range(num_given + len(future.imagined)):
        page = Image.new("RGB", (size[0] + size[0] % 2, size[1] + size[1] % 2), _PAPER)
        pen = ImageDraw.Draw(page)
        for column, (name, frames) in enumerate(columns):
            left, place = column * (width + _GAP_PX), number - num_given
            text = f"{name} {_time(place + 1, future)}" if place >= 0 else f"given {_time(place + 1, future)}"
            if place >= 0 and place >= len(frames):
                text = f"{name}: the video ends"
                place = len(frames) - 1
            frame = future.given[number] if place < 0 else frames[place]
            page.paste(_at_size(frame, width), (left, _LINE_PX))
            pen.text((left + 4, _LINE_PX // 2), text, _INK if number >= num_given else _PALE, font, anchor="lm")
        pages.append(np.asarray(page))
    return np.stack(pages)


def contact_sheet(future: Future, notes: Sequence[str] = ()) -> Image.Image:
    """Return a sheet of the last frame of each slot.

                    now       + 0.67 s   + 1.33 s
        true        [given]   [ frame ]  [ frame ]
        imagined              [ frame ]  [ frame ]
                              note       note

    Args:
        future: as given.
        notes: a line under each slot, such as its error; none: no such line.
    """
    font, width = ImageFont.load_default(_TEXT_PX), _width(future)
    rows: list[tuple[str, Any]] = [("true", future.true)] if len(future.true) else []
    rows.append(("imagined", future.imagined))
    num_slots = len(future.imagined) // TEMPORAL_STRIDE
    left = round(font.getlength("imagined")) + 2 * _GAP_PX
    height = _LINE_PX + len(rows) * (_HEIGHT_PX + _GAP_PX) + (_LINE_PX if notes else 0)
    sheet = Image.new("RGB", (left + (1 + num_slots) * (width + _GAP_PX), height), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for slot in range(num_slots + 1):
        x = left + slot * (width + _GAP_PX)
        title = "now" if slot == 0 else _time(slot * TEMPORAL_STRIDE, future)
        pen.text((x + width // 2, _LINE_PX // 2), title, _INK, font, anchor="mm")
        if notes and 0 < slot <= len(notes):
            pen.text((x + width // 2, height - _LINE_PX // 2), notes[slot - 1], _PALE, font, anchor="mm")
    for row, (name, frames) in enumerate(rows):
        top = _LINE_PX + row * (_HEIGHT_PX + _GAP_PX)
        pen.text((left - _GAP_PX, top + _HEIGHT_PX // 2), name, _INK, font, anchor="rm")
        last = [future.given[-1]] if row == 0 else [None]
        shown = [*last, *frames[TEMPORAL_STRIDE - 1 :: TEMPORAL_STRIDE]]
        for column, frame in enumerate(shown):
            if frame is not None:
                sheet.paste(_at_size(frame, width), (left + column * (width + _GAP_PX), top))
    return sheet


def _width(future: Future) -> int:
    return max(16, round(_HEIGHT_PX * min(future.aspect, 4.0)))


def _time(num_frames: int, future: Future) -> str:
    return f"{num_frames * future.period_s:+.2f} s"


def _at_size(frame: UInt8[np.ndarray, "S S 3"], width: int) -> Image.Image:
    return Image.fromarray(frame).resize((width, _HEIGHT_PX), Image.Resampling.BICUBIC)
