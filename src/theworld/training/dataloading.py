"""The training feed: samples on their way to the trainer, and why some records give none."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from transformers.trainer_utils import seed_worker

from theworld.datasets.errors import Cause, LeftOut, RecordError
from theworld.datasets.images import ImageError, MissingImageError, to_image
from theworld.datasets.sample import Sample, Samples
from theworld.datasets.streaming import Drawn, Position, SampleStream

logger = logging.getLogger(__name__)

MAX_TRIED = 1_000
"""Records that are tried for a batch of which none is good, before it is handed on empty."""


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


class StreamFeed(IterableDataset):
    """Batches of a stream, endlessly; records that give no sample are left out, and the next ones take their place.

    Every worker of every process reads a part of its own. A loader asks its workers in turn, so that the batches of a
    process follow from the places of its workers and from whose turn it is: that is what `state` keeps.

    Args:
        stream: what is read.
        batch_size: samples of a batch.
        seed: of the order.
        num_workers: of the loader; 0: the process itself reads.
        rank: this process.
        num_processes: processes that share the stream.
        refuse: gives a sample back, or raises the RecordError that leaves it out; None: all are used.

    Raises:
        ValueError: for more parts than the stream has shards.
    """

    def __init__(
        self,
        stream: SampleStream,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        rank: int = 0,
        num_processes: int = 1,
        refuse: Callable[[Sample], Sample] | None = None,
    ) -> None:
        self.stream = stream
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.rank = rank
        self.num_processes = num_processes
        self.refuse = refuse
        self.positions: dict[int, Position] = {}
        """Of each worker, where it was after its last batch that was trained on."""
        self.next_worker = 0
        """Whose batch is the next."""
        num_parts = self.num_parts * num_processes
        if num_parts > stream.num_shards:
            raise ValueError(
                f"num_workers={num_workers} in {num_processes} processes need {num_parts} shards, one each; there are"
                f" {stream.num_shards}: use fewer workers or processes"
            )

    @property
    def num_parts(self) -> int:
        """Parts that are read in this process."""
        return max(1, self.num_workers)

    def __iter__(self) -> Iterator[FeedBatch]:
        info = get_worker_info()
        worker = ((0 if info is None else info.id) + self.next_worker) % self.num_parts  # the next one is asked first
        part, num_parts = self.rank * self.num_parts + worker, self.num_processes * self.num_parts
        samples: list[Sample] = []
        left_out: list[LeftOut] = []
        for drawn in self.stream.read(self.seed, part, num_parts, self.positions.get(worker)):
            outcome = self._outcome(drawn)
            if isinstance(outcome, Sample):
                samples.append(outcome)
            else:
                left_out.append(outcome)
            if len(samples) == self.batch_size or (len(left_out) == MAX_TRIED and not samples):
                yield FeedBatch(samples, left_out, (worker, drawn.position))
                samples, left_out = [], []

    def _outcome(self, drawn: Drawn) -> Sample | LeftOut:
        if isinstance(drawn.outcome, RecordError):
            return LeftOut(drawn.record, drawn.outcome.cause, drawn.outcome.message, drawn.num_absent)
        try:
            sample = drawn.outcome if self.refuse is None else self.refuse(drawn.outcome)
        except RecordError as error:
            return LeftOut(drawn.record, error.cause, error.message)
        return prepared(sample, drawn.record)

    def loader(self, collate: Any) -> DataLoader:
        """What gives batches of tensors; the random numbers of training are left alone."""
        return DataLoader(
            self,
            batch_size=None,
            collate_fn=collate,
            num_workers=self.num_workers,
            worker_init_fn=partial(seed_worker, num_workers=self.num_workers, rank=self.rank),
            generator=torch.Generator().manual_seed(self.seed),
            pin_memory=torch.cuda.is_available(),
        )

    def noting(self, batches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same batches, without the places that they bring, which are noted."""
        for batch in batches:
            worker, self.positions[worker] = batch.pop("place")
            self.next_worker = (worker + 1) % self.num_parts
            yield batch

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of this process."""
        return {
            "num_processes": self.num_processes,
            "num_workers": self.num_workers,
            "next_worker": self.next_worker,
            "positions": {str(worker): dict(position) for worker, position in self.positions.items()},
        }

    @property
    def state_name(self) -> str:
        """The file of this process in a checkpoint."""
        return f"stream_{self.rank}.json"

    def take_up(self, checkpoint: Path) -> None:
        """Go on where a checkpoint was written, without reading anything anew.

        Raises:
            ValueError: if the stream was read by another number of processes or workers.
        """
        path = checkpoint / "stream_0.json"
        if not path.is_file():
            raise ValueError(f"{path} is missing: where its stream was read to cannot be told; use another checkpoint")
        state = json.loads(path.read_text())
        for name in ("num_processes", "num_workers"):
            if state[name] != getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)}, but the checkpoint's stream was read with {state[name]}: its places"
                    " belong to those; continue with as many"
                )
        state = json.loads((checkpoint / self.state_name).read_text())
        self.next_worker = state["next_worker"]
        self.positions = {int(worker): position for worker, position in state["positions"].items()}
