"""Figures: SVG plots for light and dark mode, and sheets of scenes."""

import base64
import html
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from theworld.report.html import DARK, LIGHT

# Placeholder colours for matplotlib; the style sheet of the SVG replaces them.
_STAND_INS: Final = {name: f"#0102{index:02x}" for index, name in enumerate(LIGHT, start=3)}
_WIDE_PX, _NARROW_PX = 680, 350
_NARROW_SCREEN_PX = 720
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.hashsalt": "theworld",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # for the size of labels; readers see the font of their system
    "font.size": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": _STAND_INS["line"],
    "axes.labelcolor": _STAND_INS["pale"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": _STAND_INS["line"],
    "grid.linewidth": 0.8,
    "text.color": _STAND_INS["ink"],
    "xtick.color": _STAND_INS["line"],
    "ytick.color": _STAND_INS["line"],
    "xtick.labelcolor": _STAND_INS["pale"],
    "ytick.labelcolor": _STAND_INS["pale"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class IntervalRow:
    """One line of an interval plot."""

    label: str
    value: float
    low: float
    high: float
    reference: float
    """Value to compare with on this line: the stronger baseline, or 0."""


def interval_plot(
    rows: Sequence[IntervalRow],
    axis_label: str,
    reference_label: str,
    alt: str,
    limits: tuple[float, float] | None = None,
) -> str:
    """Draw values with their intervals, one per line, and their reference values.

    Args:
        rows: the lines, at least one.
        axis_label: what the values are.
        reference_label: what the reference values are.
        alt: description of the picture.
        limits: ends of the axis; None: as far as the intervals go.

    Returns:
        An HTML `picture`: one drawing for wide screens, one for narrow ones.
    """
    wide, narrow = (_intervals(rows, axis_label, reference_label, width, limits) for width in (_WIDE_PX, _NARROW_PX))
    return (
        f'<picture><source media="(max-width: {_NARROW_SCREEN_PX}px)" srcset="{narrow.url}"'
        f' width="{narrow.width}" height="{narrow.height}">{_image(wide, alt)}</picture>'
    )


def curve_plot(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], shown: str, alt: str) -> str:
    """Draw one curve against the step, and the others pale behind it, on the same axes.

    Args:
        curves: name to steps and values.
        shown: name of the highlighted curve.
        alt: description of the picture.

    Returns:
        An HTML image.
    """
    with _settings():
        figure, axes = _canvas(300, 170)
        for name, (steps, values) in curves.items():
            front = name == shown
            axes.plot(
                steps,
                values,
                color=_STAND_INS["accent" if front else "faint"],
                linewidth=1.8 if front else 1.2,
                zorder=3 if front else 2,
                marker="o" if len(steps) == 1 else None,
                markersize=4,
            )
        axes.grid(axis="x", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.margins(x=0.02, y=0.08)
        return _image(_svg(figure), alt)


def histogram_plot(values: Sequence[int], axis_label: str, alt: str) -> str:
    """Draw a histogram; return an HTML image."""
    with _settings():
        figure, axes = _canvas(_WIDE_PX, 150)
        axes.hist(values, bins=min(40, len(set(values))), color=_STAND_INS["accent"], rwidth=0.92)
        axes.grid(axis="x", visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.set_xlabel(axis_label)
        return _image(_svg(figure), alt)


@dataclass(frozen=True)
class _Drawing:
    url: str
    width: int
    height: int


def _intervals(
    rows: Sequence[IntervalRow],
    axis_label: str,
    reference_label: str,
    width_px: int,
    limits: tuple[float, float] | None,
) -> _Drawing:
    with _settings():
        figure, axes = _canvas(width_px, 78 + 34 * len(rows))
        for place, row in enumerate(rows):
            axes.plot([row.reference] * 2, [place - 0.5, place + 0.5], color=_STAND_INS["pale"], linewidth=1.2)
            axes.plot([row.low, row.high], [place] * 2, color=_STAND_INS["accent"], linewidth=3, solid_capstyle="round")
            axes.plot([row.value], [place], color=_STAND_INS["accent"], marker="o", markersize=9)
        axes.set_yticks(range(len(rows)), [row.label for row in rows], color=_STAND_INS["ink"])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.06)
        if limits is not None:
            axes.set_xlim(*limits)
        axes.xaxis.set_major_locator(MaxNLocator(6 if width_px == _WIDE_PX else 4, steps=[1, 2, 5, 10]))
        axes.set_xlabel(axis_label)
        axes.annotate(
            reference_label,
            (rows[0].reference, 1),
            (0, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            color=_STAND_INS["pale"],
        )
        return _svg(figure)


@contextmanager
def _settings() -> Iterator[None]:
    """Use matplotlib's defaults with our colours, and ignore the user's settings file."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def _canvas(width_px: int, height_px: int) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_px / 72, height_px / 72), layout="constrained")  # an SVG has 72 units per inch
    return figure, figure.subplots()


def _svg(figure: Figure) -> _Drawing:
    stream = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    text = stream.getvalue()
    for name, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, f"var(--{name})")
    start = text.index(">", text.index("<svg")) + 1
    text = f"{text[:start]}<style>{_style()}</style>{text[start:]}"
    width, height = (math.ceil(72 * inches) for inches in figure.get_size_inches())
    return _Drawing(f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}", width, height)


def _style() -> str:
    light, dark = (";".join(f"--{name}:{value}" for name, value in colours.items()) for colours in (LIGHT, DARK))
    return (
        f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
        "text{font-family:system-ui,sans-serif!important}"
    )


def _image(drawing: _Drawing, alt: str) -> str:
    return f'<img src="{drawing.url}" width="{drawing.width}" height="{drawing.height}" alt="{html.escape(alt)}">'


_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 33, 38)
_PALE: Final = (118, 124, 134)
_RIGHT: Final = (24, 128, 68)
_WRONG: Final = (190, 50, 50)
_SHARES: Final = (1 / 8, 1 / 4, 1 / 2, 1)
"""Positions of the shown frames in a future, as shares of its length; most happens early."""


@dataclass(frozen=True)
class AskedScene:
    """One row of a sheet."""

    given: UInt8[np.ndarray, "H W 3"]
    """The current picture."""
    imagined: UInt8[np.ndarray, "F H W 3"]
    """Frames that the world imagined after it."""
    happened: UInt8[np.ndarray, "F H W 3"]
    """True frames after it."""
    question: str
    answer: str
    """The true answer."""
    with_world: str
    without_world: str


def draw_sheet(scenes: Sequence[AskedScene], path: Path, frame_rate_hz: float, side_px: int = 128) -> None:
    """Write a PNG with one row per scene; the same scenes give the same bytes.

    Args:
        scenes: at least one, with frames of any size.
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
    """Draw one scene.

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
    """Write both answers, green if right and red if wrong, and the true answer."""
    at = 0.0
    for name, reply in (("without the world", scene.without_world), ("with it", scene.with_world)):
        for text, colour in ((f"{name}: ", _PALE), (reply, _RIGHT if reply == scene.answer else _WRONG)):
            pen.text((at, middle), text, colour, font, anchor="lm")
            at += font.getlength(text)
        at += font.getlength("    ")
    pen.text((at, middle), f"true: {scene.answer}", _INK, font, anchor="lm")


def _at_side(picture: UInt8[np.ndarray, "H W 3"], side_px: int) -> Image.Image:
    return Image.fromarray(picture).resize((side_px, side_px), Image.Resampling.NEAREST)
