"""Strict JSON and YAML 1.2: no duplicate keys, no guessed types, and the place of a fault in each message."""

import json
import re
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError

from theworld.io import unique_names

MAX_FILE_BYTES = 1_000_000
"""Largest settings file; people write them, so a larger file is a wrong path."""


class SettingsError(ValueError):
    """Settings that cannot be used; one line per problem: the place, the value given, the value expected."""


def read_mapping(path: Path, with_comments: bool = False) -> dict[str, Any]:
    """Read the mapping in a JSON or YAML file strictly, without checking its values.

    Args:
        path: of the file.
        with_comments: whether JSON may have comments and trailing commas, which settings files may not.

    Raises:
        SettingsError: no such file, not a file, too large, not UTF-8, another suffix, broken syntax, a duplicate key,
            or no mapping at the top level.
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
        content = readers[path.suffix](without_comments(text) if with_comments and path.suffix == ".json" else text)
    except RecursionError:
        raise SettingsError(f"{path}: nested too deeply") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SettingsError(f"{path}: {where}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: the top level is {shown(content)}; expected settings by name")
    return content


def _read_json(text: str) -> Any:
    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON; expected a finite number")

    try:
        return json.loads(text, object_pairs_hook=unique_names, parse_constant=refuse)
    except json.JSONDecodeError as error:
        if (plain := without_comments(text)) == text or not _is_json(plain):
            raise
        raise ValueError(
            f"line {error.lineno}: JSON has no comments and no comma before a closing bracket; use YAML (.yaml), or"
            " remove them (`theworld config convert` reads a file of the prototype that has them)"
        ) from error


def without_comments(text: str) -> str:
    """Blank out the comments of a JSON text, and the commas before a closing bracket; lines keep their numbers."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith('"') else re.sub(r"[^\n]", " ", match[0])

    for pattern in (r"//[^\n]*|/\*.*?\*/", r",(?=\s*[}\]])"):
        text = re.sub(rf'"(?:\\.|[^"\\])*"|{pattern}', blank, text, flags=re.DOTALL)
    return text


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2 plain values, where `1e-4` is a number and `no` a string; no duplicate keys."""

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


# Plain values as in https://yaml.org/spec/1.2.2/#103-core-schema, without octal and hexadecimal integers. Words
# that version 1.1 reads as booleans are refused, because their writer probably means one.
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


def shown(value: Any) -> str:
    """Return a value for a message: short, and without the content of a mapping, which may hold a secret."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "a list"
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
