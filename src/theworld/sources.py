"""Where samples come from, by the name that the settings give."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from theworld.config import DataSettings, SplitName
    from theworld.datasets.sample import Samples


def open_samples(settings: "DataSettings", split: "SplitName", size: int, with_future: bool = False) -> "Samples":
    """The samples of the first `size` scenes of a split.

    Args:
        settings: which data, and what is asked.
        split: train, validation or test.
        size: number of scenes.
        with_future: whether samples carry what really happened, for the arm `true-future`.

    Raises:
        ValueError: for a split that the data set does not have, or a folder of drawn samples that holds others.
    """
    from theworld.datasets.clips import ClipsAsImages
    from theworld.datasets.drawn import DrawnSamples
    from theworld.foresight.items import VERSION

    with_future = with_future or settings.questions == "readings"  # which are about true clips, whoever reads them
    samples = _foresight(settings, split, size, with_future)
    if settings.drawn_dir is not None:
        identity: dict[str, Any] = {**asdict(settings), "split": split, "size": size, "with_future": with_future}
        identity["version"] = VERSION
        for name in ("drawn_dir", "images", "num_train", "num_validation", "train_split", "validation_split"):
            identity.pop(name)
        name = f"{split}-{settings.questions}-{size}{'-future' * with_future}"
        samples = DrawnSamples(samples, settings.drawn_dir / name, identity)
    if settings.images == "clip":
        return ClipsAsImages(samples, of_slots=settings.questions == "readings")
    return samples


def _foresight(settings: "DataSettings", split: "SplitName", size: int, with_future: bool) -> "Samples":
    from theworld.foresight import ForesightAlignment, ForesightDataset, ForesightLabels

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
