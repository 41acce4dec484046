"""Where samples come from, by the name that the settings give."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from theworld.config import DataSettings, MixturePart, SplitName, TrainingConfig
    from theworld.datasets.sample import Samples
    from theworld.datasets.streaming import SampleStream

NUM_SCENES: Final = {"train": 20_000, "validation": 1_000, "test": 1_000}
"""Scenes of Foresight, where none are counted."""


def open_samples(
    settings: "DataSettings", split: "SplitName", size: int | None, with_future: bool = False
) -> "Samples":
    """The samples of a split.

    Args:
        settings: which data, and what is asked.
        split: train, validation or test.
        size: number of scenes of Foresight, or of items of a benchmark; None: all, or `NUM_SCENES`.
        with_future: whether samples carry what really happened, for the arm `true-future`.

    Raises:
        ValueError: for a split that the data set does not have, files that cannot be had, or a folder of drawn samples
            that holds others.
    """
    if settings.dataset != "foresight":
        if with_future:
            raise ValueError(f"dataset {settings.dataset!r} shows no future, which the tap 'true-future' reads")
        return _public(settings, split, size)
    from theworld.datasets.disk_cache import DrawnSamples
    from theworld.datasets.foresight.items import VERSION
    from theworld.datasets.wrappers import ClipsAsImages

    size = NUM_SCENES[split] if size is None else size
    with_future = with_future or settings.questions == "readings"  # which are about true clips, whoever reads them
    samples = _foresight(settings, split, size, with_future)
    if settings.drawn_dir is not None:
        names = ("dataset", "questions", "tasks", "form", "image_size_px")
        identity: dict[str, Any] = {name: asdict(settings)[name] for name in names}
        identity |= {"split": split, "size": size, "with_future": with_future, "version": VERSION}
        name = f"{split}-{settings.questions}-{size}{'-future' * with_future}"
        samples = DrawnSamples(samples, settings.drawn_dir / name, identity)
    if settings.images == "clip":
        return ClipsAsImages(samples, of_slots=settings.questions == "readings")
    return samples


def open_training(config: "TrainingConfig", num_samples: int, with_future: bool = False) -> "Samples":
    """The samples that a run learns from: those of its `data`, or of the parts of its `mixture`.

    Args:
        config: the run.
        num_samples: how many it draws, which is how long a mixture is.
        with_future: as for `open_samples`.

    Raises:
        ValueError: as `open_samples`, and if there are none.
    """
    if not config.mixture:
        samples = open_samples(config.data, config.data.train_split, config.data.num_train, with_future)
        if not len(samples):
            raise ValueError(f"data: no samples in split {config.data.train_split!r}")
        return samples
    from theworld.datasets.mixture import Mixture

    parts = {
        name: open_samples(part.data, part.data.train_split, part.data.num_train, with_future)
        for name, part in zip(part_names(config.mixture), config.mixture, strict=True)
    }
    return Mixture(parts, [part.weight for part in config.mixture], num_samples, config.seed)


def open_stream(settings: "DataSettings", split: "SplitName", with_future: bool = False) -> "SampleStream":
    """The data set that is read as a stream, from its shards.

    Raises:
        ValueError: for another split than `train`, a future that it does not show, or a folder without shards.
    """
    if with_future:
        raise ValueError(f"dataset {settings.dataset!r} shows no future, which the tap 'true-future' reads")
    if split != "train":
        raise ValueError(f"dataset {settings.dataset!r} has no split {split!r}: expected train")
    from theworld.datasets.public.datacomp import DataCompDataset

    assert settings.source is not None  # the settings of datacomp are refused without it
    return DataCompDataset(
        settings.source,
        min_clip_score=settings.min_clip_score,
        min_side_px=settings.min_side_px,
        verify_sha256=settings.verify_sha256,
    )


def part_names(mixture: "Sequence[MixturePart]") -> list[str]:
    """What the parts of a mixture are called."""
    return [f"{number}-{part.data.dataset}" for number, part in enumerate(mixture)]


def _foresight(settings: "DataSettings", split: "SplitName", size: int, with_future: bool) -> "Samples":
    from theworld.datasets.foresight import ForesightAlignment, ForesightDataset, ForesightLabels

    size_px = settings.image_size_px
    if settings.questions == "readings":
        return ForesightAlignment(split, size, size_px, tasks=settings.tasks)
    if settings.questions == "labels":
        return ForesightLabels(split, size, size_px, tasks=settings.tasks, with_future=with_future)
    return ForesightDataset(
        split,
        size,
        size_px,
        settings.questions,
        with_future=with_future,
        tasks=settings.tasks,
        form=settings.form,
    )


def _public(settings: "DataSettings", split: "SplitName", size: int | None) -> "Samples":
    if settings.dataset == "datacomp":
        raise ValueError("dataset 'datacomp' is a stream: it is trained on by itself, neither mixed nor asked")
    names = _SPLITS[settings.dataset]
    if split not in names:
        raise ValueError(f"dataset {settings.dataset!r} has no split {split!r}: expected {' or '.join(names)}")
    opened = _conversations if settings.dataset in ("llava", "open-spatial", "hf") else _benchmark
    return opened(settings, names[split], size)


def _benchmark(settings: "DataSettings", split: Any, size: int | None) -> "Samples":
    from theworld.datasets.public import blink, spatial_rgpt, vsr

    given: dict[str, Any] = {"size": size, "revision": settings.revision}
    if settings.dataset == "blink":
        tasks = settings.subsets or blink.TASKS
        return blink.BlinkDataset(settings.source or blink.REPOSITORY, split, tasks, **given)
    if settings.dataset == "spatial-rgpt":
        source = settings.source or spatial_rgpt.REPOSITORY
        return spatial_rgpt.SpatialRGPTBenchDataset(source, image_dir=settings.image_dir, marks=settings.marks, **given)
    assert settings.image_dir is not None  # the settings of vsr are refused without it
    subset: Any = (settings.subsets or ("zeroshot",))[0]
    return vsr.VsrDataset(settings.source, split, subset, image_dir=settings.image_dir, **given)


def _conversations(settings: "DataSettings", split: Any, size: int | None) -> "Samples":
    """Data sets to train on, which are published without a validation split, or may be."""
    if settings.dataset == "open-spatial":
        from theworld.datasets.public.open_spatial import REPOSITORY, SpatialRGPTDataset

        assert settings.image_dir is not None  # the settings of open-spatial are refused without it
        return SpatialRGPTDataset(
            settings.source or REPOSITORY,
            image_dir=settings.image_dir,
            marks=settings.marks,
            part=split,
            size=size,
            index_dir=settings.index_dir,
            revision=settings.revision,
        )
    assert settings.source is not None  # the settings of the others are refused without it
    if settings.dataset == "llava":
        from theworld.datasets.public.llava import LlavaDataset

        place: dict[str, Any] = {"image_dir": settings.image_dir, "index_dir": settings.index_dir}
        return LlavaDataset(Path(settings.source), part=split, size=size, **place)
    from theworld.datasets.public.hf import open_hf

    return open_hf(
        settings.source,
        split,
        config_name=settings.config_name,
        revision=settings.revision,
        size=size,
        image_key=settings.image_column,
        question_key=settings.question_column,
        answer_key=settings.answer_column,
        conversation_key=settings.conversation_column,
        id_key=settings.id_column,
    )


_SPLITS: Final[dict[str, dict[str, Any]]] = {
    "blink": {"validation": "val", "test": "test"},
    "spatial-rgpt": {"validation": "val"},
    "vsr": {"train": "train", "validation": "dev", "test": "test"},
    "llava": {"train": "train", "validation": "validation"},
    "open-spatial": {"train": "train", "validation": "validation"},
    "hf": {"train": "train", "validation": "validation", "test": "test"},
}
"""What each public data set calls our splits."""
