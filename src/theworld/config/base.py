"""Strict types and the check for unused settings; separate because every settings module imports them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from pydantic import ConfigDict

STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Configuration of every settings dataclass: no unknown names, no conversions, no NaN."""


def refuse_unused(settings: Any, chooser: str, used_by: Mapping[Any, Sequence[str]]) -> None:
    """Refuse settings that are given and play no part.

    Args:
        settings: a dataclass instance.
        chooser: the name of the setting that decides which others play a part.
        used_by: of each of its values, the names that play a part; other names than these always do.

    Raises:
        ValueError: with their names, and those that play a part.
    """
    choice = getattr(settings, chooser)
    usual = {one.name: one.default for one in fields(settings)}
    named = dict.fromkeys(name for names in used_by.values() for name in names)
    idle = [name for name in named if name not in used_by[choice] and getattr(settings, name) != usual[name]]
    if idle:
        raise ValueError(f"{', '.join(idle)}: of no use to {chooser}={choice!r}; expected {', '.join(used_by[choice])}")
