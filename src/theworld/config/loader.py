"""Load settings: merge a JSON or YAML file with the command line, then check every type and rule at once."""

import dataclasses
import difflib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, TypedDict, TypeVar, get_args

import tyro
from pydantic import TypeAdapter, ValidationError

from theworld.config.base import UNKNOWN_VARIANT
from theworld.config.flags import (
    EVERYWHERE,
    arguments,
    flag_of,
    flags,
    is_for_files,
    kinds_of,
    leaves_of,
    required,
    takes_the_rest,
    variants_of,
)
from theworld.config.renamed import with_current_flags, with_current_names
from theworld.config.strict_yaml import MAX_FILE_BYTES, SettingsError, read_mapping, shown
from theworld.constants import TOKEN
from theworld.io import write_whole

__all__ = [
    "MAX_FILE_BYTES",
    "SettingsError",
    "load",
    "read_mapping",
    "save",
    "save_over_earlier",
]

Settings = TypeVar("Settings")

_SECRET = re.compile(r"(^|_)(token|password|passwd|secret|credentials?|(api|access|private)_?key)($|_)")


_NO_SECRETS = "secrets never go into settings; they come from the environment (HF_TOKEN)"


def load(
    cls: type[Settings], path: Path | None = None, overrides: Sequence[str] = (), *, positional: bool = False
) -> Settings:
    """Load the settings of a file with command-line overrides.

    The file and the overrides are merged first and checked once, so rules between settings hold for the result.

    Args:
        cls: a dataclass with a docstring under each field; strict if it is a pydantic dataclass with `STRICT`.
        path: JSON (.json) or YAML 1.2 (.yaml, .yml); None: the defaults.
        overrides: command-line arguments, such as `["--optim.learning-rate", "3e-4"]`.
        positional: whether fields without a default are positional arguments.

    Raises:
        SettingsError: with every problem.
    """
    in_file = {} if path is None else _read_file(cls, Path(path))
    choices = {argument.name: argument.choices for argument in arguments(cls, positional)}
    on_line = _read_flags(cls, with_current_flags(_apart(cls, overrides, positional), choices), positional)
    joined = _joined(in_file, on_line)
    if places := list(_tokens(joined)):
        raise SettingsError("\n".join(f"{place}: holds a token; {_NO_SECRETS}" for place in places))
    try:
        # Strict types accept a path or a tuple only as JSON: https://docs.pydantic.dev/latest/concepts/strict_mode/
        return TypeAdapter(cls).validate_json(json.dumps(joined, default=str))
    except ValidationError as error:
        problems = _problems(cls, error, path, on_line, positional)
    raise SettingsError("\n".join(problems))


def _read_file(cls: type, path: Path) -> dict[str, Any]:
    try:
        return with_current_names(read_mapping(path), kinds_of(cls))
    except SettingsError:
        raise
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from error


def save(settings: Any, path: Path) -> None:
    """Write settings as JSON, defaults included; `load` returns an equal value."""
    write_whole(Path(path), TypeAdapter(type(settings)).dump_json(settings, indent=2) + b"\n")


def save_over_earlier(settings: Any, path: Path) -> None:
    """Save settings over those of an earlier start of the same command.

    Raises:
        ValueError: if the file holds anything else: a model, the settings of another command.
    """
    if path.exists():
        try:
            load(type(settings), path)
        except ValueError as error:
            raise ValueError(
                f"{path} belongs to another run (it holds no {type(settings).__name__}); choose another folder with"
                " --output-dir"
            ) from error
    save(settings, path)


def _apart(cls: type, words: Sequence[str], positional: bool) -> list[str]:
    """Split `0,4` into `0 4` after flags of several numbers or choices; texts and paths may contain commas."""
    lists = {flag for argument in arguments(cls, positional) if argument.splits for flag in argument.flags}
    end = list(words).index("--") if "--" in words else len(words)
    result: list[str] = []
    flag = ""
    for word in words[:end]:
        name, equals, value = word.partition("=")
        if word.startswith("--"):
            flag = name
        if flag not in lists or (word.startswith("--") and not equals):
            result.append(word)
        elif equals and word.startswith("--"):
            result += [name, *filter(None, value.split(","))] if "," in value else [word]
        else:
            result += filter(None, word.split(",")) if "," in word else [word]
    return [*result, *words[end:]]


def _read_flags(cls: type, words: Sequence[str], positional: bool) -> dict[str, Any]:
    """The settings on the command line, nested as in `cls`, without defaults."""
    last = next((name for name, kind in kinds_of(cls).items() if takes_the_rest(kind)), None)
    if last is not None and "--" in words:
        end = list(words).index("--")
        return {**_read_flags(cls, words[:end], positional), last: list(words[end + 1 :])}
    if not words:
        return {}
    output = io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(output):
            values, unknown = tyro.cli(
                _all_optional(cls, positional), args=list(words), return_unknown_args=True, add_help=False
            )
    except SystemExit:  # tyro exits after its message
        raise SettingsError(_unboxed(output.getvalue())) from None
    if not unknown:
        return values
    strangers = [argument.partition("=")[0] for argument in unknown if argument.startswith("--")]
    if strangers:
        known = [*flags(cls, positional), *EVERYWHERE]
        raise SettingsError("\n".join(_stranger(name, known) for name in strangers))
    rest = "" if positional else "; a settings file comes before the flags"
    raise SettingsError(f"{' '.join(unknown)!r} belongs to no flag{rest}")


def _all_optional(cls: type, positional: bool) -> Any:
    """A TypedDict with the fields of a dataclass, all optional: flags that are not given leave no key."""
    kinds: dict[str, Any] = {}
    for name, kind in kinds_of(cls).items():
        if is_for_files(kind) or takes_the_rest(kind):
            continue
        if dataclasses.is_dataclass(kind):
            kinds[name] = _all_optional(kind, positional=False)  # pyright: ignore[reportArgumentType]
        elif positional and name in required(cls):
            kinds[name] = Annotated[kind, tyro.conf.Positional]
        else:
            kinds[name] = kind
    make: Any = TypedDict
    return make(cls.__name__, kinds, total=False)


def _unboxed(message: str) -> str:
    """The message in tyro's output, which has a title, a rule, the message, a rule and advice."""
    parts = re.split(r"^\s*-{3,}\s*$", message, flags=re.MULTILINE)
    text = " ".join(parts[min(1, len(parts) - 1)].split()).removeprefix("Error parsing ")
    text = text.partition(". Got errors:")[0]  # the errors of each member of a union
    choice = re.match(r"invalid choice '(.*?)' for .* Expected one of \((.*)\)\.$", text)
    return text if choice is None else text + _meant(choice[1], choice[2], " Did")


def _meant(word: Any, choices: str, lead: str) -> str:
    """Return the end of a message: the closest of the quoted choices; empty if none is close."""
    known = [choice for choice in re.findall(r"'([^']*)'", choices) if choice != "None"]
    close = difflib.get_close_matches(word, known, n=1) if isinstance(word, str) else []
    return f"{lead} you mean {close[0]}?" if close else ""


def _stranger(name: str, known: Sequence[str], where: str = "") -> str:
    if _SECRET.search(re.sub(r"[^a-z]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())):
        return f"{where}{name}: {_NO_SECRETS}"
    close = difflib.get_close_matches(name, known, n=1)
    if not close:  # the right name in the wrong group, or in none
        last = name.lstrip("-").rpartition(".")[2]
        close = [other for other in known if other.lstrip("-").rpartition(".")[2] == last]
    return f"{where}{name}: unknown setting; " + (f"did you mean {close[0]}?" if close else "see --help for all")


def _joined(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    joined = dict(base)
    for name, value in over.items():
        if not isinstance(value, dict):
            joined[name] = value
        elif value:
            group = joined.get(name, {})
            joined[name] = _joined(group, value) if isinstance(group, dict) else group
    return joined


def _tokens(content: Any, place: str = "") -> Iterator[str]:
    """Places of values that look like a token of the hub; never the values themselves."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _tokens(value, f"{place}.{name}" if place else str(name))
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _tokens(value, f"{place}.{number}")
    elif TOKEN.search(str(content)):
        yield place


def _problems(
    cls: type, error: ValidationError, path: Path | None, on_line: Mapping[str, Any], positional: bool
) -> list[str]:
    """One line per refused setting; the several types of a union make one line."""
    file = f"{path}: " if path is not None else ""
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
            lines.append(_stranger(dotted, list(leaves_of(cls)), file))
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
            lines.append(f"{where}missing; give {_remedy(cls, dotted, positional)}")
        elif kind == "value_error":
            lines.append(f"{where}{problem['msg'].removeprefix('Value error, ')}")
        elif kind == "json_invalid":  # the JSON is ours: only the text inside can be at fault
            lines.append(f"{file}text that is not UTF-8")
        else:
            form = re.sub("^(Input|Tuple|List|String) | after validation", "", problem["msg"])
            form = re.sub(r"is not a valid path for .*", "should be a valid string", form)
            form = re.sub(r"an object|a dictionary or an instance of \w+", "settings by name", form)
            form += _meant(value, problem.get("ctx", {}).get("expected", ""), "; did")
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
