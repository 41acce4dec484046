"""Former words of settings: each is accepted for one release, and answered by one line that names the new word."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BeforeValidator

logger = logging.getLogger(__name__)

VALUES: Final[Mapping[str, Mapping[str, str]]] = {
    "answers": {"written": "generate", "weighed": "loglikelihood"},
    "questions": {"dynamic": "future", "static": "present", "readings": "alignment"},
}
"""By the name of a setting: its former values, and their names today."""

NAMES: Final[Mapping[str, str]] = {"budgets": "num_labels"}
"""Former names of settings, and their names today."""

_announced: set[tuple[str, str]] = set()


def current_word(setting: str, value: Any) -> Any:
    """Return the word of today for a value of a setting; announce a former word once per process."""
    new = VALUES[setting].get(value) if isinstance(value, str) else None
    if new is None:
        return value
    _announce(setting, f"{setting}={value!r} is now {new!r}", value)
    return new


def former_word(setting: str, value: str) -> str:
    """Return the word that a value had when hashes and folders were first named by it; those stay as they are."""
    return next((old for old, new in VALUES[setting].items() if new == value), value)


def accept_former(setting: str) -> BeforeValidator:
    """Return a validator that takes the former words of a setting, too."""
    return BeforeValidator(lambda value: current_word(setting, value))


def with_current_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Replace former names of settings in a settings file."""
    for name in NAMES.keys() & settings.keys():
        _announce(name, f"{name} is now {NAMES[name]}")
    return {NAMES.get(name, name): value for name, value in settings.items()}


def with_current_flags(arguments: Sequence[str]) -> list[str]:
    """Replace former names and words in command-line arguments."""
    result: list[str] = []
    setting = ""
    for argument in arguments:
        if not argument.startswith("--"):
            result.append(str(current_word(setting, argument)) if setting in VALUES else argument)
            continue
        flag, equals, value = argument.partition("=")
        group, dot, name = flag.removeprefix("--").rpartition(".")
        setting = name.replace("-", "_")
        if setting in NAMES:
            _announce(setting, f"{flag} is now --{group}{dot}{NAMES[setting].replace('_', '-')}")
            flag = f"--{group}{dot}{NAMES[setting].replace('_', '-')}"
        if equals and setting in VALUES:
            value = str(current_word(setting, value))
        result.append(f"{flag}{equals}{value}")
    return result


def _announce(setting: str, sentence: str, value: str = "") -> None:
    if (setting, value) not in _announced:
        _announced.add((setting, value))
        logger.warning("%s; the former word goes with the next release", sentence)
