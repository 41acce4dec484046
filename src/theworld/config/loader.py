"""Load settings: merge a JSON or YAML file with the command line, then check every type and rule at once."""

import dataclasses
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Final, TypedDict, TypeVar

import tyro
from pydantic import TypeAdapter, ValidationError

from theworld.config import prototype
from theworld.config.flags import (
    EVERYWHERE,
    arguments,
    flag_of,
    flags,
    is_for_files,
    kinds_of,
    required,
    takes_the_rest,
    variants_of,
)
from theworld.config.problems import NO_SECRETS, meant, problems, stranger
from theworld.config.renamed import with_current_flags, with_current_names
from theworld.config.strict_yaml import MAX_FILE_BYTES, SettingsError, read_mapping
from theworld.constants import TOKEN
from theworld.io import write_whole

__all__ = [
    "MAX_FILE_BYTES",
    "SettingsError",
    "load",
    "merged",
    "read_mapping",
    "save",
    "save_over_earlier",
]

Settings = TypeVar("Settings")

_MOST_CHARACTERS: Final = 500
"""Of a message about a flag."""


def load(
    cls: type[Settings],
    path: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    positional: bool = False,
    infer: Callable[[Mapping[str, Any]], dict[str, Any]] = dict,
) -> Settings:
    """Load the settings of a file with command-line overrides.

    The file and the overrides are merged first and checked once, so rules between settings hold for the result.

    Args:
        cls: a dataclass with a docstring under each field; strict if it is a pydantic dataclass with `STRICT`.
        path: JSON (.json) or YAML 1.2 (.yaml, .yml); None: the defaults.
        overrides: command-line arguments, such as `["--optim.learning-rate", "3e-4"]`.
        positional: whether fields without a default are positional arguments.
        infer: adds settings that follow from the given ones.

    Raises:
        SettingsError: with every problem.
    """
    in_file = {} if path is None else _read_file(cls, Path(path))
    choices = {argument.name: argument.choices for argument in arguments(cls, positional)}
    words = with_current_flags(_apart(cls, overrides, positional), choices)
    if empty := list(_empty_paths(cls, words, positional)):
        raise SettingsError("\n".join(f"{flag}: empty; expected a path" for flag in empty))
    on_line = _read_flags(cls, words, positional)
    joined = merged(in_file, on_line)
    if places := list(_tokens(joined)):
        raise SettingsError("\n".join(f"{place}: holds a token; {NO_SECRETS}" for place in places))
    whole = infer(joined)  # may name the data set that a flag belongs to
    if foreign := list(_foreign(cls, on_line, whole)):
        raise SettingsError("\n".join(foreign))
    try:
        # Strict types accept a path or a tuple only as JSON: https://docs.pydantic.dev/latest/concepts/strict_mode/
        return TypeAdapter(cls).validate_json(json.dumps(whole, default=str))
    except ValidationError as error:
        lines = problems(cls, error, file="" if path is None else f"{path}: ", on_line=on_line, positional=positional)
        if path is not None and prototype.is_of_prototype(in_file):
            lines.append(f"{path}: settings of the original prototype; `theworld config convert {path} NEW.yaml`")
    raise SettingsError("\n".join(lines))


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
    known = flags(cls, positional)
    if strangers := [name for name in _names_of_flags(words) if name.replace("_", "-") not in known]:
        raise SettingsError("\n".join(stranger(name, [*known, *EVERYWHERE]) for name in strangers))
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


def _names_of_flags(words: Sequence[str]) -> list[str]:
    """The flags among words; tyro would first complain of arguments that are missing. `-1e-3` is a value."""
    names = [word.partition("=")[0] for word in words[: words.index("--") if "--" in words else len(words)]]
    return [name for name in names if re.fullmatch(r"-(-[\w.-]*|[a-zA-Z][\w-]+)", name)]


def _unboxed(message: str) -> str:
    """The message in tyro's output, which has a title, a rule, the message, a rule and advice."""
    parts = re.split(r"^\s*-{3,}\s*$", message, flags=re.MULTILINE)
    text = " ".join(parts[min(1, len(parts) - 1)].split()).removeprefix("Error parsing ")
    text = text.partition(". Got errors:")[0]  # the errors of each member of a union
    choice = re.match(r"invalid choice '(.*?)' for argument '(.*?)'\. Expected one of \((.*)\)\.$", text)
    if len(text) > _MOST_CHARACTERS:  # a long value is in it
        text = f"{text[:_MOST_CHARACTERS]}…"
    return text if choice is None else text + meant(choice[1], choice[3], choice[2]).replace("; did", " Did")


def _empty_paths(cls: type, words: Sequence[str], positional: bool) -> Iterator[str]:
    """Flags of paths that are given an empty text, which Python takes for the current folder."""
    paths = {flag for argument in arguments(cls, positional) if argument.is_path for flag in argument.flags}
    end = list(words).index("--") if "--" in words else len(words)
    for before, word in itertools.pairwise(["", *words[:end]]):
        flag = (before if word == "" else word.removesuffix("=")).replace("_", "-")
        if flag in paths and (word == "" or word.endswith("=")):
            yield flag


def _foreign(cls: Any, on_line: Mapping[str, Any], joined: Mapping[str, Any], group: str = "") -> Iterator[str]:
    """Lines about flags of another variant.

    Files may hold such settings at their defaults, because former versions saved them.
    """
    kinds = variants_of(cls)
    tag = joined.get(cls.TAG, cls.default_tag(joined)) if kinds else None
    if tag in list(kinds):
        names = {name: {field.name for field in dataclasses.fields(kind)} for name, kind in kinds.items()}
        for name in (name for name, value in on_line.items() if value != {}):  # tyro makes each group, if only empty
            if name not in names[tag]:
                owners = " or ".join(repr(owner) for owner in kinds if name in names[owner])
                yield f"{flag_of(group + name)}: for {cls.TAG} {owners}, not {tag!r}"
    for name, kind in kinds_of(cls).items():
        inner = on_line.get(name)
        if dataclasses.is_dataclass(kind) and isinstance(inner, dict):
            within = joined.get(name)
            yield from _foreign(kind, inner, within if isinstance(within, dict) else {}, f"{group}{name}.")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with those of `over` in place of the same ones of `base`."""
    joined = dict(base)
    for name, value in over.items():
        if not isinstance(value, dict):
            joined[name] = value
        elif value:
            group = joined.get(name, {})
            joined[name] = merged(group, value) if isinstance(group, dict) else group
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
