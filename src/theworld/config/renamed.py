"""Former and misspelt words of settings: former ones are accepted for one release, misspelt ones get a suggestion."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import wraps
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


def did_you_mean(word: Any, known: Iterable[str], setting: str = "") -> str:
    """Return the end of a message: the known word that is closest to a misspelt one; empty if none is close.

    Args:
        word: as given.
        known: possible words.
        setting: dotted name or flag; a misspelt former word of it leads to its word of today.
    """
    known = list(known)
    former = VALUES.get(setting.removeprefix("--").rpartition(".")[2], {})
    close = get_close_matches(word, [*known, *former], n=1) if isinstance(word, str) else []
    meant = former.get(close[0], close[0]) if close else None
    return f"; did you mean {meant}?" if meant in known else ""


def former_word(setting: str, value: str) -> str:
    """Return the word that a value had when hashes and folders were first named by it; those stay as they are."""
    return next((old for old, new in VALUES[setting].items() if new == value), value)


def accept_former(setting: str) -> BeforeValidator:
    """Return a validator that takes the former words of a setting, too."""
    return BeforeValidator(lambda value: current_word(setting, value))


def with_current_names(settings: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Replace former names of settings in a settings file.

    Args:
        settings: of the file.
        known: names of the settings that the file may have; a former name outside of them stays.

    Raises:
        ValueError: for a setting under both of its names.
    """
    former = {name: new for name, new in NAMES.items() if name in settings and new in known and name not in known}
    for name, new in former.items():
        if new in settings:
            raise ValueError(f"{name} is now {new}, and the file has both: keep {new}")
        _announce(name, f"{name} is now {new}")
    return {former.get(name, name): value for name, value in settings.items()}


def with_former_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved settings under the names that they had when hashes were first made of them."""
    former = {new: old for old, new in NAMES.items()}
    return {former.get(name, name): value for name, value in settings.items()}


def current_arguments(arguments: Mapping[str, Any], names: Mapping[str, str], function: str) -> dict[str, Any]:
    """Replace other names in the keyword arguments of a function.

    Args:
        arguments: of the call.
        names: former names, and their names today.
        function: name for messages.

    Raises:
        TypeError: for an argument under both of its names.
    """
    current = {name: value for name, value in arguments.items() if name not in names}
    for name, value in arguments.items():
        if name not in names:
            continue
        new = names[name]
        if new in current:
            raise TypeError(f"{function} got both {name} and {new}: {name} is now {new}, keep that")
        _announce(f"{function}.{name}", f"{function}: {name} is now {new}")
        current[new] = value
    return current


def accept_former_arguments(**names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator of `__init__` that takes former names of its keyword arguments, too.

    Args:
        names: former names, and their names today.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        title = function.__qualname__.partition(".")[0]

        @wraps(function)
        def call(*args: Any, **arguments: Any) -> None:
            function(*args, **current_arguments(arguments, names, title))

        return call

    return decorate


def with_current_flags(arguments: Sequence[str], choices: Mapping[str, Collection[str]]) -> list[str]:
    """Replace former names and words in command-line arguments; words after `--` stay.

    Args:
        arguments: of the command line.
        choices: by the dotted name of each setting, its possible words; none: any value.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    result: list[str] = []
    setting = ""
    for argument in arguments[:end]:
        if not argument.startswith("--"):
            result.append(_current_choice(setting, argument, choices))
            continue
        flag, equals, value = argument.partition("=")
        setting = flag.removeprefix("--").replace("-", "_")
        if (new := NAMES.get(setting)) in choices and setting not in choices:
            flag_now = f"--{new}".replace("_", "-")
            _announce(setting, f"{flag} is now {flag_now}")
            flag, setting = flag_now, str(new)
        result.append(f"{flag}={_current_choice(setting, value, choices)}" if equals else flag)
    return [*result, *arguments[end:]]


def _current_choice(setting: str, word: str, choices: Mapping[str, Collection[str]]) -> str:
    name = setting.rpartition(".")[2]
    if name not in VALUES or VALUES[name].get(word) not in choices.get(setting, ()):
        return word
    return str(current_word(name, word))


def _announce(setting: str, sentence: str, value: str = "") -> None:
    if (setting, value) not in _announced:
        _announced.add((setting, value))
        logger.warning("%s; the former word goes with the next release", sentence)
