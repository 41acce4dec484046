"""Where samples come from, by the name that the settings give."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from theworld.config import DataSettings, SplitName
    from theworld.datasets.sample import Samples


def open_samples(settings: "DataSettings", split: "SplitName", size: int, with_future: bool = False) -> "Samples":
    """The first `size` samples of a split.

    Args:
        with_future: whether samples carry what really happened, for the arm `true-future`.

    Raises:
        ValueError: for a split that the data set does not have.
    """
    from theworld.foresight import ForesightDataset

    return ForesightDataset(
        split,
        size,
        image_size_px=settings.image_size_px,
        questions=settings.questions,
        with_future=with_future,
    )
