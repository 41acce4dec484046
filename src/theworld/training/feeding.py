"""The training feed: samples on their way to the trainer, and why some records give none."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from theworld.datasets.images import ImageError, MissingImageError, to_image
from theworld.datasets.records import Cause, RecordError
from theworld.datasets.sample import Sample, Samples
from theworld.datasets.streams import Position

logger = logging.getLogger(__name__)

MAX_TRIED = 1_000
"""Records that are tried for a batch of which none is good, before it is handed on empty."""


@dataclass(frozen=True)
class LeftOut:
    """A record that gave no sample."""

    record: int | str
    """Its index in the data set, or its name where there are no indices."""
    cause: Cause
    """What records are counted by."""
    message: str
    """What is wrong with it."""
    num_absent: int = 0
    """Not 0: it stands for so many records that were lost before, of which none was read."""


@dataclass(frozen=True)
class FeedBatch:
    """The samples of a batch, and what was left out on the way to them."""

    samples: list[Sample]
    left_out: list[LeftOut]
    place: tuple[int, Position] | None = None
    """Of a stream: which worker read it, and where that goes on after it."""


class MapFeed(Dataset):
    """What torch's loader asks of a map-style data set: the samples of a batch, pictures decoded.

    A record that gives no sample makes its batch smaller. A batch that would be empty takes the records that follow
    its last one until one is good: which samples a batch holds depends on its indices alone.
    """

    def __init__(self, samples: Samples, lengths: np.ndarray | None = None) -> None:
        self.samples = samples
        self.lengths = lengths
        """Length of each sample, by which batches are grouped; None: they are not."""
        shape_of = getattr(samples, "shape_of", None)
        self.shapes = None if shape_of is None else [shape_of(index) for index in range(len(samples))]
        """Shape of each sample where the data set knows it without reading the sample; None: all have one."""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, indices: Sequence[int]) -> FeedBatch:
        """The batch of these indices; without samples if none of `MAX_TRIED` records was good."""
        found = [read(self.samples, index) for index in indices]
        following = _following(indices[-1], len(self.samples))
        while not any(isinstance(one, Sample) for one in found) and len(found) < MAX_TRIED:
            index = next(following, None)
            if index is None:
                break
            found.append(read(self.samples, index))
        return FeedBatch(
            [one for one in found if isinstance(one, Sample)], [one for one in found if isinstance(one, LeftOut)]
        )


def _following(index: int, length: int) -> Iterator[int]:
    """The other indices of a data set, from the next one on and around its end."""
    return ((index + step) % length for step in range(1, length))


def read(samples: Samples, index: int) -> Sample | LeftOut:
    """The sample of an index, its pictures decoded, or why there is none."""
    try:
        sample = samples[index]
    except RecordError as error:
        return LeftOut(index, error.cause, error.message)
    except ImageError as error:  # of a reader that looks at its pictures
        return LeftOut(index, _cause(error), str(error))
    return prepared(sample, index)


def prepared(sample: Sample, record: int | str) -> Sample | LeftOut:
    """A sample to train on, with pictures in the place of paths and bytes, or why it is none.

    Args:
        sample: as its reader gives it.
        record: what it is listed by if it is left out.
    """
    if not (sample.answer or "").strip():
        return LeftOut(record, "empty answer", f"sample {sample.id!r} has no answer to learn")
    try:
        return replace(
            sample,
            images=tuple(to_image(image) for image in sample.images),
            clips=None if sample.clips is None else tuple(_decoded(clip) for clip in sample.clips),
            future=None if sample.future is None else tuple(_decoded(clip) for clip in sample.future),
        )
    except ImageError as error:
        return LeftOut(record, _cause(error), f"sample {sample.id!r}: {error}")


def good_samples(samples: Samples) -> Iterator[Sample]:
    """Every sample that a run can learn from, in order; the log says how many records gave none."""
    causes: Counter[str] = Counter()
    for index in range(len(samples)):
        found = read(samples, index)
        if isinstance(found, Sample):
            yield found
        else:
            causes[found.cause] += 1
    if causes:
        counts = ", ".join(f"{count:,} {cause}" for cause, count in causes.most_common())
        logger.warning("of %d records these gave no sample: %s", len(samples), counts)


def _decoded(clip: Any) -> Any:
    """A clip without paths and bytes; arrays of frames are pixels already, and stay."""
    return clip if isinstance(clip, np.ndarray | Tensor) else [to_image(frame) for frame in clip]


def _cause(error: ImageError) -> Cause:
    return "missing picture" if isinstance(error, MissingImageError) else "unreadable picture"
