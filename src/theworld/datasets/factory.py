"""Dataset factory: open the samples of the data set that the settings name."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast, get_args

from theworld.config import (
    BlinkData,
    DataCompData,
    DataSettings,
    ForesightData,
    ForesightSplitName,
    FutureData,
    HFData,
    LlavaData,
    MixturePart,
    OpenSpatialData,
    OwnData,
    RegisteredData,
    SpatialRGPTData,
    SplitName,
    TrainingConfig,
    VideoData,
    VsrData,
)
from theworld.config.data_base import NO_SHIFT, Shift
from theworld.datasets.held_out import HeldOut
from theworld.datasets.public import future_sets
from theworld.datasets.sample import Samples, SampleStream
from theworld.datasets.video import ClipRule

NUM_SCENES: Final[dict[ForesightSplitName, int]] = {
    "train": 20_000,
    "train-seen": 20_000,
    **dict.fromkeys(("validation", "test", "shift-seen", "shift-unseen", "composition"), 1_000),
}
"""Scenes of Foresight, if the settings give no number."""

_SPLITS: Final[dict[str, Mapping[str, Any]]] = {
    **future_sets.SPLITS,
    "blink": {"validation": "val", "test": "test"},
    "spatial-rgpt": {"validation": "val"},
    "vsr": {"train": "train", "validation": "dev", "test": "test"},
    "llava": {"train": "train", "validation": "validation"},
    "open-spatial": {"train": "train", "validation": "validation"},
    "hf": {"train": "train", "validation": "validation", "test": "test"},
    "own": {"train": "train", "validation": "validation", "test": "test"},
}
"""Names of our splits in each public data set."""


_ASKED: Final[Mapping[str, Any]] = {"alignment": "end", "alignment-states": "states", "alignment-facts": "facts"}
"""Questions of alignment by the name that the settings give them."""


def open_samples(
    settings: DataSettings,
    split: ForesightSplitName,
    size: int | None,
    with_future: bool = False,
    rule: ClipRule | None = None,
) -> Samples:
    """Open the samples of a split.

    Args:
        settings: the data set and its options.
        split: train, validation, test, or one of the further tests of varied scenes.
        size: number of scenes of Foresight, or of items of a benchmark; None: all, or `NUM_SCENES`.
        with_future: whether samples carry the true future, for the arm `true-future`.
        rule: the frames of a video that the model sees; None: the defaults.

    Raises:
        ValueError: for a split that the data set does not have, files that cannot be read, or a folder of drawn samples
            that holds others.
    """
    if isinstance(settings, ForesightData):
        return _foresight(settings, split, NUM_SCENES[split] if size is None else size, with_future)
    if isinstance(settings, RegisteredData):
        from theworld.datasets.custom import open_registered

        if split not in get_args(SplitName):
            raise ValueError(f"dataset {settings.name!r} has no split {split!r}: only varied scenes have")
        return open_registered(settings, cast(SplitName, split), size, rule)
    if isinstance(settings, VideoData):
        from theworld.datasets.video_source import open_video_data

        if split not in get_args(SplitName):
            raise ValueError(f"dataset 'video' has no split {split!r}: only varied scenes have")
        return open_video_data(settings, cast(SplitName, split), size, with_future, rule or ClipRule())
    if with_future:
        raise ValueError(f"dataset {settings.dataset!r} shows no future, which the tap 'true-future' reads")
    if isinstance(settings, DataCompData):
        raise ValueError("dataset 'datacomp' is a stream: train on it alone; it can be neither mixed nor evaluated")
    names = _SPLITS[settings.dataset]
    if split not in names:
        raise ValueError(f"dataset {settings.dataset!r} has no split {split!r}: expected {' or '.join(names)}")
    if isinstance(settings, BlinkData | SpatialRGPTData | VsrData):
        return _benchmark(settings, names[split], size)
    rule = ClipRule() if rule is None else rule
    if isinstance(settings, FutureData):
        return future_sets.open_choices(settings, names[split], size, rule)
    return _conversations(settings, names[split], size, rule)


def describe(settings: DataSettings) -> str:
    """Return a data set's name and source for a reader; of a local source only the last part of its path."""
    if isinstance(settings, ForesightData):
        return "Foresight (simulated scenes)"
    source = getattr(settings, "source", None)
    if not source:
        return name_of(settings)
    return f"{name_of(settings)} ({Path(source).name if Path(source).exists() else source})"


def open_items(
    settings: DataSettings, size: int | None, with_future: bool = False, rule: ClipRule | None = None
) -> Samples:
    """Open the samples to measure answers on; bad records of your own and of general data sets are left out.

    Args:
        settings: the data set and its options; its validation split is read.
        size: as for `open_samples`.
        with_future: as for `open_samples`.
        rule: as for `open_samples`.

    Raises:
        ValueError: as `open_samples`, or if there are no good records.
    """
    samples = open_samples(settings, settings.validation_split, size, with_future, rule)
    _check_labels(samples, settings)
    if not isinstance(settings, OwnData | LlavaData | HFData | VideoData):
        return samples
    from theworld.datasets.wrappers import WithoutBadRecords

    if not len(samples):
        raise ValueError(f"data.source={settings.source}: no samples in split {settings.validation_split!r}")
    return WithoutBadRecords(samples, f"{settings.source} ({settings.validation_split})")


def open_training(
    config: TrainingConfig, num_samples: int, with_future: bool = False, rule: ClipRule | None = None
) -> Samples:
    """Open the training samples of a run: those of its `data`, or of the parts of its `mixture`.

    Args:
        config: the run.
        num_samples: number of samples that the run draws, and so the length of a mixture.
        with_future: as for `open_samples`.
        rule: as for `open_samples`.

    Raises:
        ValueError: as `open_samples`, and if there are none.
    """
    if not config.mixture:
        samples = open_samples(config.data, config.data.train_split, config.data.num_train, with_future, rule)
        if not len(samples):
            raise ValueError(f"data: no samples in split {config.data.train_split!r}")
        if config.objective != "imitation":
            _check_labels(samples, config.data)
        return samples
    from theworld.datasets.mixture import Mixture

    parts = {
        name: open_samples(part.data, part.data.train_split, part.data.num_train, with_future, rule)
        for name, part in zip(part_names(config.mixture), config.mixture, strict=True)
    }
    if config.objective != "imitation":
        for samples, part in zip(parts.values(), config.mixture, strict=True):
            _check_labels(samples, part.data)
    return Mixture(parts, [part.weight for part in config.mixture], num_samples, config.seed)


def _check_labels(samples: Samples, settings: DataSettings) -> None:
    """Refuse videos without labels where answers are needed."""
    if not isinstance(settings, VideoData):
        return
    from theworld.datasets.video_windows import VideoWindows

    if isinstance(samples, VideoWindows):
        raise ValueError(
            f"data.source={settings.source}: videos without answers: train with --objective imitation, or give a file"
            " of rows with video, question and answer, or video and caption"
        )


def open_stream(settings: DataCompData, split: ForesightSplitName, with_future: bool = False) -> SampleStream:
    """Open the data set that is read as a stream, from its shards.

    Raises:
        ValueError: for another split than `train`, a future that it does not show, or a folder without shards.
    """
    if with_future:
        raise ValueError(f"dataset {settings.dataset!r} shows no future, which the tap 'true-future' reads")
    if split != "train":
        raise ValueError(f"dataset {settings.dataset!r} has no split {split!r}: expected train")
    from theworld.datasets.public.datacomp import DataCompDataset

    return DataCompDataset(
        settings.source,
        min_clip_score=settings.min_clip_score,
        min_side_px=settings.min_side_px,
        verify_sha256=settings.verify_sha256,
    )


def part_names(mixture: Sequence[MixturePart]) -> list[str]:
    """Return the names of the parts of a mixture."""
    return [f"{number}-{name_of(part.data)}" for number, part in enumerate(mixture)]


def name_of(data: DataSettings) -> str:
    """Return the name of a data set; for one of your own the name that it is registered under."""
    return data.name if isinstance(data, RegisteredData) else data.dataset


def _foresight(settings: ForesightData, split: ForesightSplitName, size: int, with_future: bool) -> Samples:
    """Simulated samples, kept in `drawn_dir` if there is one, and shown as `images` says."""
    from theworld.datasets.wrappers import ClipsAsImages

    aligns = settings.questions in _ASKED  # about true clips: their future is always part of the sample
    samples = _simulated(settings, split, size, with_future or aligns)
    if settings.drawn_dir is not None:
        samples = _kept(samples, settings, settings.drawn_dir, split, size, with_future or aligns)
    return ClipsAsImages(samples, of_slots=aligns) if settings.images == "clip" else samples


def _simulated(settings: ForesightData, split: ForesightSplitName, size: int, with_future: bool) -> Samples:
    from theworld.datasets.foresight import ForesightAlignment, ForesightDataset, ForesightLabels

    size_px, questions = settings.image_size_px, settings.questions
    common: dict[str, Any] = {"tasks": settings.tasks, "scenes": settings.scenes}
    common["first_scene"] = _first_scene(settings, split)
    if questions in _ASKED:
        return ForesightAlignment(split, size, size_px, asked=_ASKED[questions], **common)
    if questions == "labels":
        return ForesightLabels(split, size, size_px, with_future=with_future, **common)
    return ForesightDataset(
        split,
        size,
        size_px,
        questions,
        with_future=with_future,
        form=settings.form,
        wordings=settings.wordings,
        shift=_shift(settings, split),
        **common,
    )


def _first_scene(settings: ForesightData, split: ForesightSplitName) -> int:
    """Return the number of scenes to leave out, which are of the training split alone."""
    return settings.first_scene if split == settings.train_split else 0


def _shift(settings: ForesightData, split: ForesightSplitName) -> Shift:
    """Return the change of looks, which is for measurements: not of the training split."""
    return NO_SHIFT if split == settings.train_split else settings.shift


def _kept(
    samples: Samples, settings: ForesightData, folder: Path, split: ForesightSplitName, size: int, with_future: bool
) -> Samples:
    """The same samples, each drawn once and then read from a folder of its own."""
    from theworld.config.renamed import former_word
    from theworld.datasets.disk_cache import DrawnSamples
    from theworld.datasets.foresight.items import VARIED_VERSION, VERSION

    identity: dict[str, Any] = {
        "dataset": settings.dataset,
        "questions": former_word("questions", settings.questions),
        "tasks": settings.tasks,
        "form": settings.form,
        "image_size_px": settings.image_size_px,
        "split": split,
        "size": size,
        "with_future": with_future,
        "version": VERSION,
    }
    name = f"{split}-{former_word('questions', settings.questions)}-{size}"
    if settings.scenes == "varied":
        identity |= {"version": VARIED_VERSION, "scenes": settings.scenes, "wordings": settings.wordings}
        name = f"varied-{name}" if settings.wordings == "trained" else f"varied-{name}-{settings.wordings}"
    if (shift := _shift(settings, split)) != NO_SHIFT:
        identity["shift"] = asdict(shift)
        name += "-shift-" + "-".join(f"{value:g}" for value in asdict(shift).values())
    if first := _first_scene(settings, split):
        identity["first_scene"] = first
        name = f"{name}-from-{first}"
    return DrawnSamples(samples, folder / (f"{name}-future" if with_future else name), identity)


def _benchmark(settings: BlinkData | SpatialRGPTData | VsrData, split: Any, size: int | None) -> Samples:
    from theworld.datasets.public import blink, spatial_rgpt, vsr

    common: dict[str, Any] = {"size": size, "revision": settings.revision}
    if isinstance(settings, BlinkData):
        tasks = settings.subsets or blink.TASKS
        return blink.BlinkDataset(settings.source or blink.REPOSITORY, split, tasks, **common)
    if isinstance(settings, SpatialRGPTData):
        source = settings.source or spatial_rgpt.REPOSITORY
        return spatial_rgpt.SpatialRGPTBenchDataset(
            source, image_dir=settings.image_dir, marks=settings.marks, **common
        )
    subset: Any = settings.subsets[0] if settings.subsets else "zeroshot"
    return vsr.VsrDataset(settings.source, split, subset, image_dir=settings.image_dir, **common)


def _conversations(settings: DataSettings, split: Any, size: int | None, rule: ClipRule) -> Samples:
    """Data sets to train on; their authors publish no validation split, or may not."""
    if isinstance(settings, OpenSpatialData):
        from theworld.datasets.public.open_spatial import REPOSITORY, SpatialRGPTDataset

        return SpatialRGPTDataset(
            settings.source or REPOSITORY,
            image_dir=settings.image_dir,
            marks=settings.marks,
            part=split,
            size=size,
            index_dir=settings.index_dir,
            revision=settings.revision,
        )
    if isinstance(settings, OwnData):
        from theworld.datasets.own import OwnDataset

        return OwnDataset(
            settings.source,
            split,
            image_dir=settings.image_dir,
            keys=settings.keys,
            size=size,
            index_dir=settings.index_dir,
            held_out=HeldOut(share=settings.held_out_share),
            rule=rule,
        )
    assert isinstance(settings, LlavaData | HFData)
    held_out = HeldOut(settings.held_out_by, settings.held_out_share)
    if isinstance(settings, LlavaData):
        from theworld.datasets.public.llava import LlavaDataset

        folders: dict[str, Any] = {"image_dir": settings.image_dir, "index_dir": settings.index_dir}
        return LlavaDataset(Path(settings.source), part=split, size=size, held_out=held_out, rule=rule, **folders)
    from theworld.datasets.public.hf import open_hf

    return open_hf(
        settings.source,
        split,
        config_name=settings.config_name,
        revision=settings.revision,
        size=size,
        held_out=held_out,
        image_key=settings.image_column,
        video_key=settings.video_column,
        start_key=settings.start_column,
        end_key=settings.end_column,
        question_key=settings.question_column,
        answer_key=settings.answer_column,
        conversation_key=settings.conversation_column,
        id_key=settings.id_column,
        rule=rule,
    )
