"""Plots: intervals and curves as SVG pictures that follow the reader's light or dark mode."""

import base64
import html
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from theworld.report.style import DARK, LIGHT

# Colours that stand for a role while matplotlib draws; the SVG's own style sheet then gives them their real ones.
_STAND_INS: Final = {name: f"#0102{index:02x}" for index, name in enumerate(LIGHT, start=3)}
_WIDE_PX, _NARROW_PX = 680, 350
_NARROW_SCREEN_PX = 720
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.hashsalt": "theworld",
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # measures the labels; readers see their own system's font
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
    """What the value is held against on this line: the stronger baseline, or 0."""


def interval_plot(rows: Sequence[IntervalRow], axis_label: str, reference_label: str, alt: str) -> str:
    """Values with their intervals, one below the other, and a line of what to hold them against.

    Returns:
        An HTML `picture`: one drawing for wide screens, one for narrow ones.
    """
    wide, narrow = (_intervals(rows, axis_label, reference_label, width) for width in (_WIDE_PX, _NARROW_PX))
    return (
        f'<picture><source media="(max-width: {_NARROW_SCREEN_PX}px)" srcset="{narrow.url}"'
        f' width="{narrow.width}" height="{narrow.height}">{_image(wide, alt)}</picture>'
    )


def curve_plot(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]], shown: str, alt: str) -> str:
    """One curve against the step, the others pale behind it, on axes that are the same for each of them.

    Args:
        curves: name to steps and values.
        shown: the name of the curve that stands out.
        alt: what the picture says, in words.

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
    """How often values lie where; an HTML image."""
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


def _intervals(rows: Sequence[IntervalRow], axis_label: str, reference_label: str, width_px: int) -> _Drawing:
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
    """matplotlib as it comes, whatever the user's own settings file says, and our colours."""
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
