"""Strict settings: a JSON or YAML file, the command line over it, then every type and rule checked at once."""

import dataclasses
import difflib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypedDict, TypeVar, get_args, get_origin, get_type_hints

import tyro
import yaml
from pydantic import TypeAdapter, ValidationError
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from theworld.constants import TOKEN
from theworld.files import write_whole

Settings = TypeVar("Settings")

MAX_FILE_BYTES = 1_000_000
"""A settings file is written by a person: a larger one is a mistaken path."""

_SECRET = re.compile(r"(^|_)(token|password|passwd|secret|credentials?|(api|access|private)_?key)($|_)")


_NO_SECRETS = "secrets never go into settings; they come from the environment (HF_TOKEN)"


class SettingsError(ValueError):
    """Settings that cannot be used; one line per problem: where, what was given, what was expected."""


def load(
    cls: type[Settings], path: Path | None = None, overrides: Sequence[str] = (), *, positional: bool = False
) -> Settings:
    """Settings of a file with command-line overrides.

    The file and the overrides are joined first and checked once: a rule between two settings holds for what is run,
    whichever of the two each came from.

    Args:
        cls: a dataclass with a docstring under each field; strict if it is a pydantic dataclass with `STRICT`.
        path: JSON (.json) or YAML 1.2 (.yaml, .yml); None: the defaults.
        overrides: command-line arguments, such as `["--optim.learning-rate", "3e-4"]`.
        positional: fields without a default are given by position, without their flag.

    Raises:
        SettingsError: with every problem found.
    """
    in_file = {} if path is None else read_mapping(Path(path))
    given = _read_flags(cls, overrides, positional)
    joined = _joined(in_file, given)
    if places := list(_tokens(joined)):
        raise SettingsError("\n".join(f"{place}: holds a token; {_NO_SECRETS}" for place in places))
    try:
        # Strict types let a path or a tuple in only as JSON: https://docs.pydantic.dev/latest/concepts/strict_mode/
        return TypeAdapter(cls).validate_json(json.dumps(joined, default=str))
    except ValidationError as error:
        problems = _problems(cls, error, path, given, positional)
    raise SettingsError("\n".join(problems))


def save(settings: Any, path: Path) -> None:
    """Write settings, defaults included, as JSON that `load` reads back to an equal value."""
    write_whole(Path(path), TypeAdapter(type(settings)).dump_json(settings, indent=2) + b"\n")


def show_help(cls: type, program: str, description: str, *, positional: bool = False) -> None:
    """Show each flag of `cls` with its type, meaning and default on standard output."""
    config = (tyro.conf.PositionalRequiredArgs, tyro.conf.PositionalMetavarFromFieldName) if positional else ()
    try:
        tyro.cli(cls, prog=program, description=description, args=["--help"], config=config)
    except SystemExit:  # how tyro ends after its help
        return


def flags(cls: type, positional: bool = False) -> list[str]:
    """Every flag of `cls`, in the order of its fields."""
    names = []
    for path, kind in _leaves(cls).items():
        if positional and (path in _required(cls) or _is_rest(kind)):
            continue
        names.append(_flag(path))
        if kind is bool:
            group, _, name = path.rpartition(".")
            names.append(_flag(f"{group}.no_{name}" if group else f"no_{name}"))
    return names


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file, read strictly; its values are not checked yet.

    Raises:
        SettingsError: no such file, not a file, too large, not UTF-8, another suffix, broken syntax, a key given
            twice, or anything but a mapping at the top.
    """
    readers = {".json": _read_json, ".yaml": _read_yaml, ".yml": _read_yaml}
    if path.suffix not in readers:
        raise SettingsError(f"{path}: suffix {path.suffix!r}; a settings file ends in {', '.join(readers)}")
    if not path.exists():
        raise SettingsError(f"{path}: no such file")
    if not path.is_file():
        raise SettingsError(f"{path}: not a file; expected a settings file")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise SettingsError(f"{path}: {size} bytes; a settings file has at most {MAX_FILE_BYTES}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: not UTF-8 text, from byte {error.start} on") from None
    if not text.strip():
        raise SettingsError(f"{path}: the file is empty")
    try:
        content = readers[path.suffix](text)
    except RecursionError:
        raise SettingsError(f"{path}: nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SettingsError(f"{path}: {where}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: the top level is {_shown(content)}; expected settings by name")
    return content


def _read_json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise ValueError(f"{name!r} is given twice; keep one")
            found[name] = value
        return found

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON; expected a finite number")

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse)


class _StrictLoader(yaml.SafeLoader):
    """YAML as its version 1.2 reads plain values, where `1e-4` is a number and `no` a string; nothing twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            problem = "an alias; write the value out"
            raise ComposerError(None, None, problem, self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a name must be plain text", key.start_mark)
            if key.value in seen:
                problem = f"{key.value!r} is given twice; keep one"
                raise ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _refuse_word(_loader: _StrictLoader, node: yaml.ScalarNode) -> NoReturn:
    raise ConstructorError(None, None, f"{node.value!r}: write true or false, or quote the text", node.start_mark)


# Plain values after https://yaml.org/spec/1.2.2/#103-core-schema, less octal and hexadecimal integers. Words that
# version 1.1 took for booleans are refused: whoever writes them means one.
_StrictLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("word", r"(?i:yes|no|on|off)", list("yYnNoO")),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first)
_CORE = ("null", "bool", "int", "float", "str", "seq", "map")
_StrictLoader.yaml_constructors = {
    tag: construct
    for tag, construct in yaml.SafeLoader.yaml_constructors.items()
    if tag is None or tag.rpartition(":")[2] in _CORE
}
_StrictLoader.add_constructor("tag:yaml.org,2002:word", _refuse_word)


def _read_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_StrictLoader)


def _read_flags(cls: type, arguments: Sequence[str], positional: bool) -> dict[str, Any]:
    """The settings that the command line names, nested as in `cls`; nothing else."""
    last = next((name for name, kind in _kinds(cls).items() if _is_rest(kind)), None)
    if last is not None and "--" in arguments:
        end = list(arguments).index("--")
        return {**_read_flags(cls, arguments[:end], positional), last: list(arguments[end + 1 :])}
    if not arguments:
        return {}
    said = io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            given, unknown = tyro.cli(
                _all_optional(cls, positional), args=list(arguments), return_unknown_args=True, add_help=False
            )
    except SystemExit:  # how tyro ends after its message
        raise SettingsError(_unboxed(said.getvalue())) from None
    if not unknown:
        return given
    strangers = [argument.partition("=")[0] for argument in unknown if argument.startswith("--")]
    if strangers:
        raise SettingsError("\n".join(_stranger(name, flags(cls, positional)) for name in strangers))
    rest = "" if positional else "; a settings file comes before the flags"
    raise SettingsError(f"{' '.join(unknown)!r} belongs to no flag{rest}")


def _all_optional(cls: type, positional: bool) -> Any:
    """A TypedDict with the fields of a dataclass, none of them required: what is not given is absent."""
    kinds: dict[str, Any] = {}
    for name, kind in _kinds(cls).items():
        if _is_for_files(kind) or _is_rest(kind):
            continue
        if dataclasses.is_dataclass(kind):
            kinds[name] = _all_optional(kind, positional=False)  # pyright: ignore[reportArgumentType]
        elif positional and name in _required(cls):
            kinds[name] = Annotated[kind, tyro.conf.Positional]
        else:
            kinds[name] = kind
    make: Any = TypedDict
    return make(cls.__name__, kinds, total=False)


def _unboxed(message: str) -> str:
    """The message itself, out of what tyro says: a title, a rule, the message, a rule, advice."""
    parts = re.split(r"^\s*-{3,}\s*$", message, flags=re.MULTILINE)
    text = " ".join(parts[min(1, len(parts) - 1)].split()).removeprefix("Error parsing ")
    return text.partition(". Got errors:")[0]  # what each form of a union had to say


def _stranger(name: str, known: Sequence[str], where: str = "") -> str:
    if _SECRET.search(re.sub(r"[^a-z]+", "_", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())):
        return f"{where}{name}: {_NO_SECRETS}"
    close = difflib.get_close_matches(name, known, n=1)
    if not close:  # the right name in the wrong group, or in none
        last = name.lstrip("-").rpartition(".")[2]
        close = [one for one in known if one.lstrip("-").rpartition(".")[2] == last]
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
    """Where a value looks like a token of the hub; the value itself is never shown."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _tokens(value, f"{place}.{name}" if place else str(name))
    elif isinstance(content, list | tuple):
        for number, value in enumerate(content):
            yield from _tokens(value, f"{place}.{number}")
    elif TOKEN.search(str(content)):
        yield place


def _problems(
    cls: type, error: ValidationError, path: Path | None, given: Mapping[str, Any], positional: bool
) -> list[str]:
    """One line per setting that was refused; a type with several forms is one problem."""
    file = f"{path}: " if path is not None else ""
    lines: list[str] = []
    forms: dict[tuple[str, str], list[str]] = {}
    found = error.errors(include_url=False)
    for problem in found:
        if any(one["loc"][:-1] == problem["loc"] != one["loc"] for one in found):
            continue  # what is wrong inside a tuple makes the tuple too short as well
        dotted = _dotted(cls, problem["loc"])
        if _names(given, dotted):
            name = re.sub(r"\.\d+", "", dotted)
            where = f"{name.upper() if positional and name in _required(cls) else _flag(name)}: "
        else:
            where = file + (f"{dotted}: " if dotted else "")
        if problem["type"] == "unexpected_keyword_argument":
            name = ".".join(str(part) for part in problem["loc"])
            lines.append(_stranger(name, list(_leaves(cls)), file))
        elif problem["type"] == "missing":
            remedy = dotted.upper() if positional else _flag(dotted)
            lines.append(f"{where}missing; give {remedy}")
        elif problem["type"] == "value_error":
            lines.append(f"{where}{problem['msg'].removeprefix('Value error, ')}")
        elif problem["type"] == "json_invalid":  # the JSON is ours: only the text inside can be at fault
            lines.append(f"{file}text that is not UTF-8")
        else:
            form = re.sub("^(Input|Tuple|List|String) | after validation", "", problem["msg"])
            form = form.replace("an object", "settings by name")
            forms.setdefault((where, _shown(problem["input"])), []).append(form)
    for (where, shown), (first, *others) in forms.items():
        alternatives = "".join(f" or {form.removeprefix('should be ')}" for form in others)
        lines.append(f"{where}given {shown}; {first}{alternatives}")
    return lines


def _shown(value: Any) -> str:
    """A value in a message: short, and never the inside of a mapping, where a secret may stand."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        return "a list"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kinds(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(cls)}


def _required(cls: Any) -> set[str]:
    missing = dataclasses.MISSING
    return {
        entry.name for entry in dataclasses.fields(cls) if entry.default is missing and entry.default_factory is missing
    }


def _leaves(cls: Any) -> dict[str, Any]:
    """Dotted path and type of every setting."""
    leaves = {}
    for name, kind in _kinds(cls).items():
        if dataclasses.is_dataclass(kind):
            leaves |= {f"{name}.{inner}": value for inner, value in _leaves(kind).items()}
        elif not _is_for_files(kind):
            leaves[name] = kind
    return leaves


def _is_for_files(kind: Any) -> bool:
    """Whether a setting is a list of groups, such as the arms of a comparison: no flag can name those."""
    inner = [part for part in get_args(kind) if get_origin(part) is tuple] or [kind]  # inside an Annotated
    return get_origin(inner[0]) is tuple and any(dataclasses.is_dataclass(part) for part in get_args(inner[0]))


def _is_rest(kind: Any) -> bool:
    """Whether a setting takes what follows `--` on the command line, as it is."""
    return tyro.conf.Positional in get_args(kind)


def _dotted(cls: Any, location: Sequence[int | str]) -> str:
    """Path of a setting, without the marks that pydantic adds for the forms of a union."""
    names = []
    for part in location:
        if isinstance(part, str):
            if not dataclasses.is_dataclass(cls) or part not in _kinds(cls):
                break
            cls = _kinds(cls)[part]
        else:
            cls = next(filter(dataclasses.is_dataclass, get_args(cls)), cls)  # one of a list of groups
        names.append(str(part))
    return ".".join(names)


def _names(given: Any, dotted: str) -> bool:
    """Whether the command line names this setting."""
    for part in dotted.split("."):
        if isinstance(given, tuple):
            return True
        if not isinstance(given, dict) or part not in given:
            return False
        given = given[part]
    return not isinstance(given, dict)


def _flag(dotted: str) -> str:
    return "--" + dotted.replace("_", "-")
