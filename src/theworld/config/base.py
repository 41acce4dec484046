"""Strict types and the check for unused settings; separate because every settings module imports them."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from pydantic import ConfigDict

STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Configuration of every settings dataclass: no unknown names, no conversions, no NaN."""


def refuse_unused(settings: Any, chooser: str, used_by: Mapping[Any, Sequence[str]]) -> None:
    """Refuse settings that differ from their default but are not used.

    Args:
        settings: a dataclass instance.
        chooser: the name of the setting that decides which others are used.
        used_by: the names that each of its values uses; all other settings are always used.

    Raises:
        ValueError: with the names of unused settings, and those that are used.
    """
    choice = getattr(settings, chooser)
    defaults = {setting.name: setting.default for setting in fields(settings)}
    named = dict.fromkeys(name for names in used_by.values() for name in names)
    unused = [name for name in named if name not in used_by[choice] and getattr(settings, name) != defaults[name]]
    if unused:
        used = ", ".join(used_by[choice])
        raise ValueError(f"{', '.join(unused)}: not used when {chooser}={choice!r}; expected {used}")
