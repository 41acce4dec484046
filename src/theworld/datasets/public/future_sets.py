"""Benchmarks about the future, by name: their items, of which no picture is read, and the samples of settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from theworld.config import FutureData
from theworld.datasets.public import (
    futurebench,
    intphys2,
    mvp,
    openworldqa,
    physbench,
    sat,
    vpct,
    vrqabench,
)
from theworld.datasets.public.choice_items import ChoiceItem, ChoiceSamples

if TYPE_CHECKING:
    from theworld.datasets.video import ClipRule


@dataclass(frozen=True)
class Options:
    """Options of a reader beside its source; a reader uses those that it has."""

    split: str
    """The authors' name of the split."""
    subsets: tuple[str, ...] = ()
    video_dir: Path | None = None
    revision: str | None = None


def _read_mvp(source: str | None, options: Options) -> list[ChoiceItem]:
    folder = options.video_dir or Path()  # saved replies are scored without videos
    return mvp.read(source, options.split, folder, options.subsets, options.revision)


def _read_intphys2(source: str | None, options: Options) -> list[ChoiceItem]:
    unknown = [name for name in options.subsets if name not in intphys2.SUBSETS]
    if unknown:
        raise ValueError(f"data.subsets={unknown[0]}: expected {' or '.join(intphys2.SUBSETS)}")
    subset = options.split if options.split == "HeldOut" else next(iter(options.subsets), "Main")
    return intphys2.read(source or "", subset)


_READERS: Final[Mapping[str, Callable[[str | None, Options], list[ChoiceItem]]]] = {
    "vpct": lambda source, options: vpct.read(source, options.revision),
    "futurebench": lambda source, _: futurebench.read(source or ""),
    "openworldqa": lambda source, options: openworldqa.read(source or "", options.split),
    "vrqabench": lambda source, options: vrqabench.read(source or "", options.split),
    "sat": lambda source, options: sat.read(source, options.revision),
    "physbench": lambda source, options: physbench.read(source or "", options.split),
    "mvp": _read_mvp,
    "intphys2": _read_intphys2,
}

SPLITS: Final[Mapping[str, Mapping[str, str]]] = {
    "vpct": {"validation": "test", "test": "test"},
    "futurebench": {"validation": "test", "test": "test"},
    "openworldqa": {"train": "train", "validation": "test", "test": "test"},
    "vrqabench": {"train": "train", "validation": "test", "test": "test"},
    "sat": {"validation": "test", "test": "test"},
    "physbench": {"validation": "val", "test": "test"},
    "mvp": {"validation": "mini", "test": "full"},
    "intphys2": {"validation": "Main", "test": "HeldOut"},
}
"""The authors' names of our splits. Most sets have one labelled split: it is read under both names."""


def read_items(name: str, source: str | None, options: Options) -> list[ChoiceItem]:
    """Read the items of a benchmark.

    Raises:
        ValueError: as its reader.
    """
    return _READERS[name](source, options)


def open_choices(settings: FutureData, split: str, size: int | None, rule: "ClipRule") -> ChoiceSamples:
    """Open the samples of settings.

    Args:
        settings: the benchmark and its options.
        split: the authors' name of the split.
        size: number of items, from the first; None: all.
        rule: frames of a video that the models see.

    Raises:
        ValueError: as the reader of the benchmark.
    """
    given: dict[str, Any] = {key: getattr(settings, key) for key in vars(settings)}
    options = Options(split, given.get("subsets", ()), given.get("video_dir"), given.get("revision"))
    return ChoiceSamples(
        read_items(settings.dataset, settings.source, options),
        rule,
        size,
        option_order=given.get("option_order", "stored"),
        num_orders=given.get("num_option_orders", 1),
        num_video_frames=given.get("num_video_frames"),
    )
