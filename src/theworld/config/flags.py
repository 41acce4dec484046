"""Flags of the settings: their names, types, choices and help."""

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro

from theworld.config.base import Variants

EVERYWHERE = ("--help", "--json", "--verbose", "--debug")
"""Options that every command has; they are no settings."""


class Argument(NamedTuple):
    """A setting on the command line."""

    name: str
    """Its dotted path."""
    flags: tuple[str, ...]
    """None: you give it by position."""
    choices: tuple[str, ...] = ()
    """Its possible values; none: any value of its type."""
    is_path: bool = False
    is_switch: bool = False
    """Whether its flag takes no value."""
    takes_many: bool = False
    splits: bool = False
    """Whether it takes several numbers or choices, which commas may separate, too."""


def arguments(cls: type, positional: bool = False) -> list[Argument]:
    """Return every setting of `cls` that the command line takes, in the order of its help."""
    result = []
    for path, kind in leaves_of(cls).items():
        by_position = positional and (path in required(cls) or takes_the_rest(kind))
        names = [] if by_position else [flag_of(path)]
        if kind is bool:
            group, _, name = path.rpartition(".")
            names.append(flag_of(f"{group}.no_{name}" if group else f"no_{name}"))
        forms = list(_forms(kind))
        result.append(
            Argument(
                path,
                tuple(names),
                choices=tuple(dict.fromkeys(choice for form in forms for choice in _choices(form))),
                is_path=Path in forms,
                is_switch=kind is bool,
                takes_many=any(get_origin(form) is tuple for form in forms),
                splits=any(get_origin(form) is tuple for form in forms) and not {str, Path, bool} & {*forms},
            )
        )
    return result


def flags(cls: type, positional: bool = False) -> list[str]:
    """Return every flag of `cls`, in the order of its help."""
    return [flag for argument in arguments(cls, positional) for flag in argument.flags]


def flag_of(path: str) -> str:
    """Return the flag of a setting, given its dotted path."""
    return "--" + path.replace("_", "-")


def show_help(cls: type, program: str, description: str, *, positional: bool = False) -> None:
    """Print each flag of `cls` with its type, meaning and default."""
    config = (tyro.conf.PositionalRequiredArgs, tyro.conf.PositionalMetavarFromFieldName) if positional else ()
    try:
        tyro.cli(_with_all_fields(cls), prog=program, description=description, args=["--help"], config=config)
    except SystemExit:  # tyro ends its help this way
        return


def kinds_of(cls: Any) -> dict[str, Any]:
    """Return the fields of a dataclass with their types; of a base of variants, those of all its variants."""
    hints = get_type_hints(cls, include_extras=True)
    kinds = {entry.name: hints[entry.name] for entry in dataclasses.fields(cls)}
    base_names = set(kinds)
    for variant in variants_of(cls).values():
        for name, kind in kinds_of(variant).items():
            if name in base_names:
                kinds[name] = _with_choices_of(kinds[name], kind)
            else:
                plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
                kinds[name] = Union[kinds[name], plain] if name in kinds else plain  # noqa: UP007  # types, at run time
    return kinds


def _with_choices_of(kind: Any, other: Any) -> Any:
    """Return a type of choices with those of another one, too; any other type as it is."""
    if not get_origin(kind) is get_origin(other) is Literal:
        return kind
    return Literal[*dict.fromkeys((*get_args(kind), *get_args(other)))]


def variants_of(cls: Any) -> dict[str, Any]:
    """Return the variants of a settings class by their tags; none for all other classes."""
    return cls.variants() if issubclass(cls, Variants) else {}


def leaves_of(cls: Any) -> dict[str, Any]:
    """Return the dotted path and the type of every setting, groups after single ones, as in the help."""
    kinds = kinds_of(cls)
    groups = {name: kind for name, kind in kinds.items() if dataclasses.is_dataclass(kind)}
    leaves = {name: kind for name, kind in kinds.items() if name not in groups and not is_for_files(kind)}
    for name, kind in groups.items():
        leaves |= {f"{name}.{inner}": value for inner, value in leaves_of(kind).items()}
    return leaves


def required(cls: Any) -> set[str]:
    """Return the names of the fields without a default."""
    missing = dataclasses.MISSING
    return {
        entry.name for entry in dataclasses.fields(cls) if entry.default is missing and entry.default_factory is missing
    }


def is_for_files(kind: Any) -> bool:
    """Return whether a setting is a list of groups, such as the arms of a comparison: flags cannot name those."""
    inner = [part for part in get_args(kind) if get_origin(part) is tuple] or [kind]  # the tuple may be in an Annotated
    return get_origin(inner[0]) is tuple and any(dataclasses.is_dataclass(part) for part in get_args(inner[0]))


def takes_the_rest(kind: Any) -> bool:
    """Return whether a setting takes all words after `--`, as they are."""
    return tyro.conf.Positional in get_args(kind)


def _forms(kind: Any) -> Iterator[Any]:
    """The possible types of a value, those of a tuple's elements included."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _forms(get_args(kind)[0])
    elif origin is None or origin is Literal:
        yield kind
    else:
        if origin is tuple:
            yield kind
        for inner in get_args(kind):
            if inner is not Ellipsis:
                yield from _forms(inner)


def _choices(form: Any) -> tuple[str, ...]:
    if get_origin(form) is Literal:
        return tuple(map(str, get_args(form)))
    return {bool: ("True", "False"), NoneType: ("None",)}.get(form, ())


def _with_all_fields(cls: Any) -> Any:
    """A class for the help alone: every base of variants in it has the fields of all its variants."""
    if variants_of(cls):
        return _joined_variants(cls)
    fields = []
    for name, kind in kinds_of(cls).items():
        whole = _with_all_fields(kind) if dataclasses.is_dataclass(kind) else kind
        if whole is not kind:
            fields.append((name, whole, dataclasses.field(default_factory=whole)))
    if not fields:
        return cls
    return dataclasses.make_dataclass(cls.__name__, fields, bases=(cls,), frozen=True, kw_only=True)


def _joined_variants(cls: Any) -> Any:
    """A class with the fields of all variants; the help of a field names the variants that have it."""
    texts = {tag: _docstrings(kind) for tag, kind in variants_of(cls).items()}
    shared, defaults = _docstrings(cls), cls.defaults()
    usual = {entry.name: (entry.default, entry.default_factory) for entry in dataclasses.fields(cls)}
    fields = []
    for name, kind in kinds_of(cls).items():
        if name in usual:
            text, (value, factory) = shared[name], usual[name]
            default = dataclasses.field(default=value, default_factory=factory)
        else:
            text, default = _text_of(name, texts), defaults[name]
            kind = kind | None if default is None else kind
        kind = kind if dataclasses.is_dataclass(kind) else Annotated[kind, tyro.conf.arg(help=text)]
        fields.append((name, kind, default))
    # No subclass of `cls`, which would be another variant.
    return dataclasses.make_dataclass(
        cls.__name__, fields, namespace={"__doc__": cls.__doc__}, frozen=True, kw_only=True
    )


def _text_of(name: str, texts: dict[str, dict[str, str]]) -> str:
    """The help of a field: each of its texts once, after the tags of the variants that it is from."""
    tags: dict[str, list[str]] = {}
    for tag, docstrings in texts.items():
        if name in docstrings:
            tags.setdefault(docstrings[name], []).append(tag)
    return " ".join(f"[{', '.join(owners)}] {text}" for text, owners in tags.items())


def _docstrings(cls: type) -> dict[str, str]:
    """The docstring below each field that a class defines itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    class_ = tree.body[0]
    assert isinstance(class_, ast.ClassDef)
    texts = {}
    for entry, below in itertools.pairwise(class_.body):
        match entry, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(text))  # lines of a paragraph
    return texts
