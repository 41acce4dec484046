"""Problems of settings: one line for each refused value, and settings classes that state theirs that way."""

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, TypeVar, dataclass_transform, get_args

import pydantic.dataclasses
from pydantic import ConfigDict, ValidationError

from theworld.config import prototype
from theworld.config.base import UNKNOWN_VARIANT
from theworld.config.flags import flag_of, kinds_of, leaves_of, required, variants_of
from theworld.config.renamed import did_you_mean
from theworld.config.strict_yaml import SettingsError, shown

Class = TypeVar("Class", bound=type)

_SECRET = re.compile(r"(^|_)(token|password|passwd|secret|credentials?|(api|access|private)_?key)($|_)")


NO_SECRETS = "secrets never go into settings; they come from the environment (HF_TOKEN)"


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(dataclasses.field,))
def dataclass(*, config: ConfigDict, frozen: bool = True, kw_only: bool = True) -> Callable[[Class], Class]:
    """Make a pydantic dataclass whose constructor refuses values in one line each.

    Args:
        config, frozen, kw_only: as for `pydantic.dataclasses.dataclass`.
    """

    def make(cls: Class) -> Class:
        made: Any = pydantic.dataclasses.dataclass(cls, config=config, frozen=frozen, kw_only=kw_only)  # pyright: ignore[reportCallIssue, reportArgumentType]
        construct = made.__init__

        @wraps(construct)
        def init(self: Any, *args: Any, **values: Any) -> None:
            try:
                construct(self, *args, **values)
            except ValidationError as error:
                lines = problems(made, error, is_call=True)
                raise SettingsError("\n".join(f"{made.__name__}: {line}" for line in lines)) from error

        made.__init__ = init
        return made

    return make


def problems(
    cls: type,
    error: ValidationError,
    *,
    file: str = "",
    on_line: Mapping[str, Any] | None = None,
    positional: bool = False,
    is_call: bool = False,
) -> list[str]:
    """Return one line per refused setting; the several types of a union make one line.

    Args:
        cls: class of the settings.
        error: refuses their values.
        file: start of a line about a value in a file: the file's name, a colon and a space.
        on_line: settings on the command line.
        positional: True if fields without a default are positional arguments.
        is_call: True for the arguments of the class itself.
    """
    on_line = on_line or {}
    lines: list[str] = []
    forms: dict[tuple[str, str], list[str]] = {}
    errors = error.errors(include_url=False)
    for problem in errors:
        kind, value = problem["type"], problem["input"]
        if any(other["loc"][:-1] == problem["loc"] != other["loc"] for other in errors):
            continue  # a fault inside a tuple makes the tuple too short as well
        if kind == "unexpected_keyword_argument":
            *group, name = problem["loc"]
            dotted = ".".join(filter(None, (_dotted(cls, group), str(name))))
            lines.append(stranger(dotted, list(leaves_of(cls)), file))
            continue
        dotted = _dotted(cls, problem["loc"])
        if kind == UNKNOWN_VARIANT:
            tag = problem.get("ctx", {})["tag"]
            dotted, value = ".".join(filter(None, (dotted, tag))), value[tag]
        if _names(on_line, dotted):
            name = re.sub(r"\.\d+", "", dotted)
            where = f"{name.upper() if positional and name in required(cls) else flag_of(name)}: "
        else:
            where = file + (f"{dotted}: " if dotted else "")
        if kind == "missing":
            lines.append(f"{where}missing; give {dotted if is_call else _remedy(cls, dotted, positional)}")
        elif kind == "value_error":
            lines.append(f"{where}{problem['msg'].removeprefix('Value error, ')}")
        elif kind == "json_invalid":  # the JSON is ours: only the text inside can be at fault
            lines.append(f"{file}text that is not UTF-8")
        else:
            form = re.sub("^(Input|Tuple|List|String) | after validation", "", problem["msg"])
            form = re.sub(r"an object|a dictionary or an instance of \w+", "settings by name", form)
            form += meant(value, problem.get("ctx", {}).get("expected", ""), dotted)
            forms.setdefault((where, shown(value)), []).append(form)
    for (where, value), (first, *others) in forms.items():
        alternatives = "".join(f" or {form.removeprefix('should be ')}" for form in others)
        lines.append(f"{where}given {value}; {first}{alternatives}")
    return lines


def _remedy(cls: type, dotted: str, positional: bool) -> str:
    """Name a missing setting as the user can give it: by position, by its flag, or, inside a list, in the file."""
    if positional and dotted in required(cls):
        return dotted.upper()
    return f"{dotted} in the file" if re.search(r"\.\d+\.", dotted) else flag_of(dotted)


def _dotted(cls: Any, location: Sequence[int | str]) -> str:
    """Path of a setting, without the marks that pydantic adds for the members of a union."""
    names = []
    for part in location:
        if isinstance(part, str):
            if not dataclasses.is_dataclass(cls):
                break
            if part in variants_of(cls):
                cls = variants_of(cls)[part]
                continue
            if part not in kinds_of(cls):
                break
            cls = kinds_of(cls)[part]
        else:
            cls = next(filter(dataclasses.is_dataclass, get_args(cls)), cls)  # an item of a list of groups
        names.append(str(part))
    return ".".join(names)


def _names(values: Any, dotted: str) -> bool:
    """Return True if the command line sets this setting."""
    for part in dotted.split("."):
        if isinstance(values, tuple):
            return True
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return not isinstance(values, dict)


def meant(word: Any, choices: str, name: str) -> str:
    """Return the end of a message: the closest of the quoted choices; empty if none is close.

    Args:
        word: as given.
        choices: in quotes.
        name: dotted name or flag of the setting.
    """
    return did_you_mean(word, [choice for choice in re.findall(r"'([^']*)'", choices) if choice != "None"], name)


def stranger(name: str, known: Sequence[str], where: str = "") -> str:
    """Return the line about an unknown setting: the closest known one, or the reason why secrets are none."""
    is_secret = _SECRET.search(re.sub(r"[^a-z]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()))
    if is_secret and not difflib.get_close_matches(name, known, n=1, cutoff=0.9):
        return f"{where}{name}: {NO_SECRETS}"
    if (remedy := prototype.hint(name, known)) is not None:
        return f"{where}{name}: unknown setting; {remedy}"
    close = difflib.get_close_matches(name, known, n=1)
    if not close:  # the right name in the wrong group, or in none
        last = name.lstrip("-").rpartition(".")[2]
        close = [other for other in known if other.lstrip("-").rpartition(".")[2] == last]
    return f"{where}{name}: unknown setting; " + (f"did you mean {close[0]}?" if close else "see --help for all")
