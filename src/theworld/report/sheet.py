"""A sheet of scenes: what was given, what the world imagined, what happened, the question and the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 33, 38)
_PALE: Final = (118, 124, 134)
_RIGHT: Final = (24, 128, 68)
_WRONG: Final = (190, 50, 50)
_SHARES: Final = (1 / 8, 1 / 4, 1 / 2, 1)
"""Which frames of a future are shown, as shares of it: most happens early."""


@dataclass(frozen=True)
class AskedScene:
    """One row of a sheet."""

    given: UInt8[np.ndarray, "H W 3"]
    """The current picture."""
    imagined: UInt8[np.ndarray, "F H W 3"]
    """What the world imagined after it."""
    happened: UInt8[np.ndarray, "F H W 3"]
    """What really came after it."""
    question: str
    answer: str
    """The true one."""
    with_world: str
    without_world: str


def draw_sheet(scenes: Sequence[AskedScene], path: Path, frame_rate_hz: float, side_px: int = 128) -> None:
    """Write a PNG with one scene below the other, the same bytes for the same scenes.

    Args:
        scenes: at least one; frames of any size, drawn at `side_px`.
        path: where the PNG goes.
        frame_rate_hz: frames per second of both futures.
        side_px: side of each frame, pixels.

    Raises:
        ValueError: without scenes.
    """
    if not scenes:
        raise ValueError("no scenes: a sheet shows one at least")
    rows = [_row(scene, side_px, frame_rate_hz) for scene in scenes]
    margin = side_px // 6
    width, height = max(row.width for row in rows), sum(row.height + margin for row in rows) + margin
    sheet = Image.new("RGB", (width + 2 * margin, height), _PAPER)
    top = margin
    for row in rows:
        sheet.paste(row, (margin, top))
        top += row.height + margin
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)


def _row(scene: AskedScene, side_px: int, frame_rate_hz: float) -> Image.Image:
    """One scene.

    question
    given      imagined  imagined  imagined  imagined
               happened  happened  happened  happened
               + 0.3 s   + 0.7 s   ...
    answers
    """
    text_px = max(12, side_px // 8)
    font, gap, line = ImageFont.load_default(text_px), side_px // 16, text_px * 7 // 4
    left = side_px + round(font.getlength("imagined")) + 3 * gap
    row = Image.new("RGB", (left + len(_SHARES) * (side_px + gap) - gap, 2 * side_px + gap + 3 * line), _PAPER)
    pen = ImageDraw.Draw(row)
    pen.text((0, line // 2), scene.question, _INK, font, anchor="lm")
    top = line + (side_px + gap) // 2
    row.paste(_at_side(scene.given, side_px), (0, top))
    pen.text((side_px // 2, top + side_px + line // 2), "given", _PALE, font, anchor="mm")
    for number, (name, frames) in enumerate((("imagined", scene.imagined), ("happened", scene.happened))):
        top = line + number * (side_px + gap)
        pen.text((left - gap, top + side_px // 2), name, _PALE, font, anchor="rm")
        for column, index in enumerate(round(share * len(frames)) - 1 for share in _SHARES):
            place = left + column * (side_px + gap)
            row.paste(_at_side(frames[index], side_px), (place, top))
            time = f"+ {(index + 1) / frame_rate_hz:.1f} s"
            pen.text((place + side_px // 2, line * 3 // 2 + 2 * side_px + gap), time, _PALE, font, anchor="mm")
    _write_answers(pen, scene, row.height - line // 2, font)
    return row


def _write_answers(pen: ImageDraw.ImageDraw, scene: AskedScene, middle: int, font: Any) -> None:
    """Both answers, green where they are right and red where they are not, and the true one."""
    at = 0.0
    for name, said in (("without the world", scene.without_world), ("with it", scene.with_world)):
        for text, colour in ((f"{name}: ", _PALE), (said, _RIGHT if said == scene.answer else _WRONG)):
            pen.text((at, middle), text, colour, font, anchor="lm")
            at += font.getlength(text)
        at += font.getlength("    ")
    pen.text((at, middle), f"true: {scene.answer}", _INK, font, anchor="lm")


def _at_side(picture: UInt8[np.ndarray, "H W 3"], side_px: int) -> Image.Image:
    return Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.NEAREST)
