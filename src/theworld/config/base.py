"""Strict types, and settings whose fields depend on one of them."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import ArgsKwargs, PydanticCustomError, core_schema

from theworld.config.renamed import did_you_mean

STRICT: Final = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Configuration of every settings dataclass: no unknown names, no conversions, no NaN."""

STRICT_VARIANTS: Final[ConfigDict] = {**STRICT, "defer_build": True}
"""Configuration of a base class of variants: pydantic reads it once its subclasses exist."""

MOST: Final = 1_000_000_000
"""Largest number of steps, samples, tokens or bytes in settings; nothing real needs more."""

Count = Annotated[int, Field(ge=1, le=MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
BatchSize = Annotated[int, Field(ge=1, le=65_536)]
NumWorkers = Annotated[int, Field(ge=0, le=1_024)]
NumSlots = Annotated[int, Field(ge=0, le=1_024)]
"""Latent slots of a world feature."""
InferenceSteps = Annotated[int, Field(ge=2, le=MOST)]
"""Denoiser evaluations per imagined future, at least 2: the last updates nothing."""
SidePx = Annotated[int, Field(ge=16, le=16_384)]
"""Side of a picture, pixels."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""Seed of random numbers; NumPy's take 32 bits."""
Seconds = Annotated[float, Field(gt=0, le=10_000_000)]


def _checked_path(value: Any) -> Any:
    """Refuse an empty text as a path, which Python takes for the current folder, and what is no text."""
    if value == "":
        raise ValueError("empty; expected a path")
    if not isinstance(value, str | Path):
        raise PydanticCustomError("path_type", "Input should be a valid string")
    return value


# Lax: strict paths are read from JSON only.
PathSetting = Annotated[Path, Field(strict=False), BeforeValidator(_checked_path)]
"""Path; Python callers may give text."""

UNKNOWN_VARIANT: Final = "unknown_variant"
"""Type of pydantic's error for a tag that no variant has."""


class Variants:
    """Mixin for a base class of settings with one subclass for each value of a field, the tag.

    `Base(tag="b", ...)` makes an instance of the subclass whose tag is "b", and a field of the type `Base` takes all
    of them. Each subclass has the fields that it needs, and refuses those of the others. A settings file may hold
    fields of other subclasses at their defaults, because former versions saved them.
    """

    TAG: ClassVar[str]
    """Name of the field that selects the subclass."""
    ADDED: ClassVar[Mapping[str, Any]] = {}
    """Fields that are younger than the hashes of settings, and the values that earlier versions went by."""

    IS_LATER: ClassVar[bool] = False
    """True for a subclass that was added when hashes existed: those of the other subclasses leave its fields out."""

    def __new__(cls, *_args: Any, **values: Any) -> Self:
        """Make an instance of the subclass that the tag selects."""
        kinds = cls.variants()
        if not kinds:  # a subclass itself
            return object.__new__(cls)
        tag = values.get(cls.TAG, cls.default_tag(values))
        if tag not in list(kinds):
            raise ValueError(f"{cls.TAG}={tag!r}: expected {either(kinds)}{did_you_mean(tag, kinds)}")
        return object.__new__(kinds[tag])

    @classmethod
    def default_tag(cls, values: Mapping[str, Any]) -> str:  # a base may look at them
        """Return the tag of settings that do not give it."""
        return getattr(cls, cls.TAG)

    @classmethod
    def variants(cls) -> dict[str, type[Self]]:
        """Return the subclasses by their tags; none for a subclass itself."""
        return {getattr(kind, cls.TAG): kind for kind in cls.__subclasses__()}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the fields of all subclasses with their defaults; None for required ones."""
        values = {entry.name: entry.default for kind in cls.variants().values() for entry in _fields(kind)}
        return {name: None if value is MISSING else value for name, value in values.items()}

    def with_idle(self) -> dict[str, Any]:
        """Return the fields of all subclasses, those of the others at their defaults: hashes depend on this form."""
        base = self._base()
        first = {entry.name for kind in base.variants().values() if not kind.IS_LATER for entry in _fields(kind)}
        idle = {name: value for name, value in base.defaults().items() if name in first}
        own = {entry.name: getattr(self, entry.name) for entry in _fields(type(self))}
        added = {name for name, former in self.ADDED.items() if own.get(name, former) == former}
        return {name: value for name, value in {**idle, **own}.items() if name not in added}

    @classmethod
    def _base(cls) -> type["Variants"]:
        return next(kind for kind in cls.__mro__ if Variants in kind.__bases__)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validate the base class as a tagged union, and a subclass as the dataclass it is, with its own fields."""
        kinds = cls.variants()
        if not kinds:
            return core_schema.no_info_before_validator_function(cls._refuse_foreign, handler(source))
        return core_schema.tagged_union_schema(
            {tag: handler.generate_schema(kind) for tag, kind in kinds.items()},
            discriminator=cls._tag_of,
            custom_error_type=UNKNOWN_VARIANT,
            custom_error_message="Input should be {expected}",
            custom_error_context={"tag": cls.TAG, "expected": either(kinds)},
        )

    @classmethod
    def _tag_of(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            return data.get(cls.TAG, cls.default_tag(data))
        return getattr(data, cls.TAG, getattr(cls, cls.TAG))

    @classmethod
    def _refuse_foreign(cls, data: Any) -> Any:
        """Refuse fields of other subclasses, and drop those that a mapping holds at their defaults."""
        values = data.kwargs if isinstance(data, ArgsKwargs) else data
        if not isinstance(values, Mapping):
            return data
        base, tag = cls._base(), getattr(cls, cls.TAG)
        owners: dict[str, list[str]] = {}
        for owner, kind in base.variants().items():
            for entry in _fields(kind):
                owners.setdefault(entry.name, []).append(owner)
        foreign = [name for name in owners if name in values and tag not in owners[name]]
        if isinstance(data, Mapping):
            defaults = base.defaults()
            idle = [name for name in foreign if data[name] is None or _as_json(data[name]) == _as_json(defaults[name])]
            data = {name: value for name, value in data.items() if name not in idle}
            foreign = [name for name in foreign if name not in idle]
        if foreign:
            parts = [f"{name} is for {cls.TAG} {either(owners[name])}" for name in foreign]
            raise ValueError(f"{'; '.join(parts)}, not {tag!r}")
        return data


def _fields(cls: Any) -> Any:
    return fields(cls)


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def either(names: Any) -> str:
    """Return quoted names as a list in a sentence: `'a', 'b' or 'c'`."""
    *most, last = map(repr, names)
    return f"{', '.join(most)} or {last}" if most else last
