"""When to ask the world, separate from the settings and the models that do: a margin, and the threshold it is under."""

import math
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field

from theworld.config.base import MOST

ALWAYS: Final = "always"
"""The threshold of a gate that always asks the world: JSON has no infinity, and null would be a missing value."""
AutoThreshold = Annotated[float, Field(ge=0, le=MOST)] | Literal["always"]
"""A `Threshold` in settings, whose numbers have bounds."""

Threshold: TypeAlias = float | Literal["always"]
"""Margin, nats, below which the world is asked; 0: never, "always": whatever the margin is."""


def lead_of(values: Iterable[float]) -> float:
    """Return the lead of the largest value over the second largest; infinity for a single one."""
    best = sorted(values, reverse=True)
    return best[0] - best[1] if len(best) > 1 else math.inf


def asks_world(margin: float | None, threshold: Threshold) -> bool:
    """Return True if the world is asked.

    Args:
        margin: of the answer without the world, nats; None: it has none, so nothing speaks for it.
        threshold: of the gate.
    """
    return margin is None or threshold == ALWAYS or margin < threshold


def threshold_of(saved: Threshold | None, given: Any = None) -> Threshold:
    """Return the threshold of a question: the given one, or else that of the checkpoint.

    Raises:
        ValueError: for neither, or a value that is no threshold.
    """
    value = saved if given is None else given
    if value is None:
        raise ValueError(
            "world='auto' needs a threshold, and the checkpoint has none: give auto_threshold, the margin in nats below"
            " which the world is asked; `theworld evaluate --arms world no-world-tokens` measures it"
        )
    check_threshold(value)
    return value


def check_threshold(value: Any) -> None:
    """Check a threshold that may come from a file or a caller.

    Raises:
        ValueError: for anything but a finite number of 0 or more, or "always".
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value != ALWAYS and not (is_number and 0 <= value < math.inf):
        raise ValueError(f"auto_threshold={value!r:.40}: expected a margin of 0 or more, nats, or {ALWAYS!r}")
