"""register_dataset: your own data sets, under a name in settings, checkpoints and predictions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from theworld.config import DataSettings, SplitName
from theworld.config.data import RegisteredData
from theworld.config.registered import REGISTERED_DATA
from theworld.datasets.errors import ImageError, RecordError
from theworld.datasets.sample import KnowsLengths, KnowsShapes, Sample, Samples
from theworld.datasets.video import ClipRule
from theworld.datasets.wrappers import TheWorldDataset
from theworld.io import fingerprint

Opener: TypeAlias = Callable[[RegisteredData, SplitName], Any]
"""Returns a split: `Samples`, or a list of records as `TheWorldDataset` takes them; None: no such split."""

_Open = TypeVar("_Open", bound=Opener)
_OPENERS: dict[str, Opener] = {}
_GIVEN: Final = "theworld.given:"
"""Beginning of the module name of openers that `given` makes."""


def register_dataset(
    name: str, identity: Callable[[RegisteredData], Mapping[str, Any]] | None = None
) -> Callable[[_Open], _Open]:
    """Decorate a function that opens your samples, to use them as `data.dataset: registered` with this `data.name`.

        @register_dataset("discs")
        def discs(settings: RegisteredData, split: SplitName) -> Samples: ...

    If you register the same function again (you reload its module, you run a cell twice), it replaces the first.

    Args:
        name: of the data set.
        identity: returns JSON-like values that identify everything that the samples depend on besides settings: a
            version of your code, the size of a file. Runs and predictions save their hash, and refuse other data; None:
            the name alone.

    Raises:
        ValueError: for the name of another function.
    """

    def register(opener: _Open) -> _Open:
        other = _OPENERS.get(name)
        if other is not None and _place(other) != _place(opener):
            raise ValueError(f"{name!r} is already the name of {_place(other)}: choose another")
        _OPENERS[name] = opener
        REGISTERED_DATA[name] = lambda settings: fingerprint({"name": name, **(identity(settings) if identity else {})})
        return opener

    return register


def given(data: DataSettings, samples: Any, validation: Any = None, *, validates: bool = False) -> RegisteredData:
    """Register samples that a program holds, and return settings that name them by their class.

    Args:
        data: settings whose splits and sizes apply.
        samples: training samples, or with `validates` the ones to measure on.
        validation: samples to measure on while training; None: there are none.
        validates: True for an evaluation.

    Raises:
        ValueError: for something else than samples.
    """
    parts = {data.validation_split: validation, data.train_split: None if validates else samples}
    if validates:
        parts[data.validation_split] = samples
    opened = {split: _as_samples(part, split) for split, part in parts.items() if part is not None}
    name = type(samples).__name__

    def opener(settings: RegisteredData, split: SplitName) -> Any:
        return parts.get(split)  # records become samples when the model, and so the rule of its clips, is known

    opener.__module__, opener.__qualname__ = _GIVEN, name
    sizes = {split: len(part) for split, part in opened.items()}
    register_dataset(name, lambda settings: sizes)(opener)
    return RegisteredData(
        name=name,
        train_split=data.train_split,
        num_train=data.num_train,
        validation_split=data.validation_split,
        num_validation=data.num_validation,
    )


def open_registered(
    settings: RegisteredData, split: SplitName, size: int | None, rule: ClipRule | None = None
) -> Samples:
    """Open the samples of a registered data set.

    Args:
        settings: name the data set.
        split: to open.
        size: number of samples, from the first; None: all.
        rule: the frames of a video that the model sees, for a list of records; None: the defaults.

    Raises:
        ValueError: for a split that it does not have, or if its function returns something else than samples.
    """
    opened = _OPENERS[settings.name](settings, split)
    if opened is None:
        raise ValueError(f"data set {settings.name!r} has no split {split!r}")
    samples = _as_samples(opened, settings.name, rule)
    return samples if size is None or size >= len(samples) else _First(samples, size)


def _as_samples(value: Any, name: str, rule: ClipRule | None = None) -> Samples:
    """Return samples as they are, and make some of a list of records."""
    if isinstance(value, Sequence) and value and all(isinstance(record, Mapping) for record in value):
        return TheWorldDataset(value, rule)
    if hasattr(value, "column_names"):
        raise ValueError(f"data {name!r}: a table of the library datasets; name its columns with HFDatasetWrapper")
    if not isinstance(value, Samples):
        raise ValueError(
            f"data {name!r}: given {type(value).__name__}; expected Samples (with a length and an index), or a list of"
            " records of image, text and label"
        )
    try:
        first = value[0] if len(value) else None
    except (RecordError, ImageError):  # a bad record, which the run lists
        first = None
    if first is not None and not isinstance(first, Sample):
        raise ValueError(
            f"data {name!r}: the first item is of type {type(first).__name__}; expected theworld.datasets.Sample, as"
            " TheWorldDataset makes it of image, text and label"
        )
    return value


class _First:
    """The first samples of a data set; shapes and lengths that it knows without reading samples stay known."""

    def __init__(self, samples: Samples, size: int) -> None:
        self.samples, self.size = samples, size
        if isinstance(samples, KnowsShapes):
            self.shape_of = samples.shape_of
        if isinstance(samples, KnowsLengths):
            self.text_length_of, self.num_images_of = samples.text_length_of, samples.num_images_of

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int, /) -> Sample:
        if index >= self.size:
            raise IndexError(index)
        return self.samples[index]


def _place(opener: Any) -> str:
    return f"{opener.__module__}.{opener.__qualname__}"
