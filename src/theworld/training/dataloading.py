"""The path of a training row from its data set to the trainer, including the reason if a record gives no sample."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info
from transformers.trainer_utils import seed_worker

from theworld.config import DataCompData, TrainingConfig
from theworld.config.training import refuse_long_warmup
from theworld.datasets.collator import Collator
from theworld.datasets.errors import Cause, ImageError, LeftOut, MissingImageError, RecordError, VideoError
from theworld.datasets.factory import open_stream, open_training
from theworld.datasets.images import to_clip, to_image
from theworld.datasets.sample import Drawn, KnowsShapes, Position, Sample, Samples, SampleStream
from theworld.datasets.samplers import WithinLength, estimated_lengths, num_batches, num_in_runs, refuse_overlong

logger = logging.getLogger(__name__)

MAX_TRIED = 1_000
"""Records to try for a batch without a good one, before the batch is handed on empty."""
SOURCE: Final = "source"
"""Key of a collated batch for its `BatchSource`, which the trainer takes out."""


def open_data(config: TrainingConfig, processor: Any, num_samples: int, with_future: bool) -> Samples | SampleStream:
    """Open the training data of a run.

    Args:
        config: of the run.
        processor: counts the tokens of a sample where `max_length` is set.
        num_samples: samples that the run draws.
        with_future: True if the model is given the true future.

    Raises:
        ValueError: for data that cannot be opened.
    """
    if isinstance(config.data, DataCompData) and not config.mixture:
        return open_stream(config.data, config.data.train_split, with_future)
    samples = open_training(config, num_samples, with_future, getattr(processor, "clip_rule", None))
    if config.max_length is not None:
        samples = WithinLength(samples, Collator(processor, supervise=True), config.max_length)
    return samples


def steps_of_run(config: TrainingConfig, samples: Samples | SampleStream, num_processes: int) -> int:
    """Return the optimiser steps of a run: `num_steps`, or those of `num_epochs` passes over the samples.

    Raises:
        ValueError: for a warm-up that is longer.
    """
    if config.num_epochs is None:
        assert config.num_steps is not None  # the settings have one of both
        return config.num_steps
    assert not isinstance(samples, SampleStream)  # the settings refuse epochs of a stream
    batches = num_batches(samples, config.batch_size * num_processes, config.group_by_length)
    num_steps = config.num_epochs * max(1, -(-batches // config.gradient_accumulation_steps))
    refuse_long_warmup(config.optim.warmup_steps, num_steps)
    return num_steps


def check_shapes(samples: Samples | SampleStream, run_length: int, *, is_grouped: bool) -> None:
    """Check that the samples fill a batch, before anything is computed of them.

    Args:
        samples: the training data.
        run_length: samples of a forward pass on all devices together.
        is_grouped: True if batches have samples of similar length.

    Raises:
        ValueError: if no shape has enough samples for a batch.
    """
    counts = [len(samples)] if isinstance(samples, Samples) else []
    if isinstance(samples, KnowsShapes) and isinstance(samples, Samples):
        counts = list(Counter(samples.shape_of(index) for index in range(len(samples))).values())
    if len(counts) > 1 or (counts and is_grouped):
        num_in_runs(counts, run_length)


def make_feed(config: TrainingConfig, samples: Samples | SampleStream, collator: Collator) -> "MapFeed | StreamFeed":
    """Return the data set that the trainer's loader reads: batches of decoded samples."""
    if not isinstance(samples, SampleStream):
        return MapFeed(samples, estimated_lengths(samples, collator) if config.group_by_length else None)
    process = PartialState()
    refuse = None
    if config.max_length is not None:
        refuse = partial(refuse_overlong, collator=collator, max_length=config.max_length)
    return StreamFeed(
        samples,
        config.batch_size,
        config.seed,
        num_workers=config.num_workers,
        rank=process.process_index,
        num_processes=process.num_processes,
        refuse=refuse,
    )


@dataclass(frozen=True)
class FeedBatch:
    """The samples of a batch and the records that were left out of it."""

    samples: list[Sample]
    left_out: list[LeftOut]
    place: tuple[int, Position] | None = None
    """Worker that read the batch, and the position at which it continues; None: not a stream."""


@dataclass(frozen=True)
class BatchSource:
    """The origin of a collated batch. It travels with the tensors, from a worker process to the trainer."""

    sample_ids: list[str]
    left_out: list[LeftOut]
    place: tuple[int, Position] | None = None
    """As in `FeedBatch`."""


class FeedCollator:
    """Collates the samples of a FeedBatch, and adds the batch's source under the key `SOURCE`."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __call__(self, batch: FeedBatch) -> dict[str, Any]:
        tensors = self.collator(batch.samples) if batch.samples else {}
        return {**tensors, SOURCE: BatchSource([sample.id for sample in batch.samples], batch.left_out, batch.place)}


class MapFeed(Dataset):
    """Batches of a map-style data set, pictures decoded.

    A record that gives no sample makes its batch smaller. A batch that would be empty takes the records after its
    last one until one is good: the samples of a batch depend on its indices alone.
    """

    def __init__(self, samples: Samples, lengths: np.ndarray | None = None) -> None:
        self.samples = samples
        self.lengths = lengths
        """Length of each sample, to group batches by; None: no grouping."""
        shape_of = getattr(samples, "shape_of", None)
        self.shapes = None if shape_of is None else [shape_of(index) for index in range(len(samples))]
        """Shape of each sample if the data set knows it without reading the sample; None: all have one shape."""

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, indices: Sequence[int]) -> FeedBatch:
        """Return the batch of these indices; it has no samples if none of `MAX_TRIED` records is good."""
        outcomes = [read(self.samples, index) for index in indices]
        for index in _following(indices[-1], len(self.samples)):
            if len(outcomes) >= MAX_TRIED or any(isinstance(outcome, Sample) for outcome in outcomes):
                break
            outcomes.append(read(self.samples, index))
        return FeedBatch(
            [outcome for outcome in outcomes if isinstance(outcome, Sample)],
            [outcome for outcome in outcomes if isinstance(outcome, LeftOut)],
        )


def _following(index: int, length: int) -> Iterator[int]:
    """Yield the other indices of a data set, from the next one on and around its end."""
    return ((index + step) % length for step in range(1, length))


def read(samples: Samples, index: int) -> Sample | LeftOut:
    """Read one sample and decode its pictures, or return the reason why the record gives none."""
    try:
        sample = samples[index]
    except RecordError as error:
        return LeftOut(index, error.cause, error.message)
    except ImageError as error:  # from a data set that opens its pictures itself
        return LeftOut(index, _cause(error), str(error))
    return decoded(sample, index)


def decoded(sample: Sample, record: int | str) -> Sample | LeftOut:
    """Replace the paths and bytes of a training sample by pictures, or return the reason why it cannot be used.

    Args:
        sample: as its data set gives it.
        record: name of the record in `bad_records.jsonl`.
    """
    if sample.is_labelled and not (sample.answer or "").strip():
        return LeftOut(record, "empty answer", f"sample {sample.id!r} has no answer to learn")
    try:
        return replace(
            sample,
            images=tuple(to_image(image) for image in sample.images),
            clips=None if sample.clips is None else tuple(_decoded_clip(clip) for clip in sample.clips),
            future=None if sample.future is None else tuple(_decoded_clip(clip) for clip in sample.future),
        )
    except ImageError as error:
        return LeftOut(record, _cause(error), f"sample {sample.id!r}: {error}")


def outcome_of(drawn: Drawn, refuse: Callable[[Sample], Sample] | None = None) -> Sample | LeftOut:
    """Decode the sample of a stream, or return the reason why its record gives none.

    Args:
        drawn: from the stream.
        refuse: raises a RecordError for a sample that the run does not use; None: it uses all.
    """
    if isinstance(drawn.outcome, RecordError):
        return LeftOut(drawn.record, drawn.outcome.cause, drawn.outcome.message, drawn.num_absent)
    try:
        sample = drawn.outcome if refuse is None else refuse(drawn.outcome)
    except RecordError as error:
        return LeftOut(drawn.record, error.cause, error.message)
    return decoded(sample, drawn.record)


def good_samples(samples: Samples) -> Iterator[Sample]:
    """Yield every sample that a run can learn from, in order; log how many records gave none."""
    causes: Counter[str] = Counter()
    for index in range(len(samples)):
        outcome = read(samples, index)
        if isinstance(outcome, Sample):
            yield outcome
        else:
            causes[outcome.cause] += 1
    if causes:
        counts = ", ".join(f"{count:,} {cause}" for cause, count in causes.most_common())
        logger.warning("of %d records these gave no sample: %s", len(samples), counts)


def _decoded_clip(clip: Any) -> Any:
    """Decode the paths and bytes of a clip; an array of frames holds pixels already and stays."""
    return clip if isinstance(clip, np.ndarray | Tensor) else to_clip(clip)


def _cause(error: ImageError) -> Cause:
    if isinstance(error, VideoError):
        return "unreadable video"
    return "missing picture" if isinstance(error, MissingImageError) else "unreadable picture"


class StreamFeed(IterableDataset):
    """Endless batches of a stream; the next records replace those that give no sample.

    Every worker of every process reads a part of its own. A loader asks its workers in turn, so the batches of a
    process follow from the positions of its workers and from the worker whose turn it is. `state` keeps both.

    Args:
        stream: the stream to read.
        batch_size: samples of a batch.
        seed: of the order.
        num_workers: of the loader; 0: the process itself reads.
        rank: index of this process.
        num_processes: processes that share the stream.
        refuse: returns a sample, or raises the RecordError that leaves it out; None: all are used.

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
        """Position of each worker after its last batch that was trained on."""
        self.next_worker = 0
        """The worker that gives the next batch."""
        num_parts = self.num_parts * num_processes
        if num_parts > stream.num_shards:
            raise ValueError(
                f"num_workers={num_workers} in {num_processes} processes need {num_parts} shards, one each; there are"
                f" {stream.num_shards}: use fewer workers or processes"
            )

    @property
    def num_parts(self) -> int:
        """Number of parts that this process reads."""
        return max(1, self.num_workers)

    def __iter__(self) -> Iterator[FeedBatch]:
        info = get_worker_info()
        # The loader asks its first worker first, so that worker reads the part whose turn it is.
        worker = ((0 if info is None else info.id) + self.next_worker) % self.num_parts
        part, num_parts = self.rank * self.num_parts + worker, self.num_processes * self.num_parts
        samples: list[Sample] = []
        left_out: list[LeftOut] = []
        for drawn in self.stream.read(self.seed, part, num_parts, self.positions.get(worker)):
            outcome = outcome_of(drawn, self.refuse)
            if isinstance(outcome, Sample):
                samples.append(outcome)
            else:
                left_out.append(outcome)
            if len(samples) == self.batch_size or (len(left_out) == MAX_TRIED and not samples):
                yield FeedBatch(samples, left_out, (worker, drawn.position))
                samples, left_out = [], []

    def loader(self, collate: Any) -> DataLoader:
        """Return a loader of collated batches; it leaves the random numbers of training alone."""
        return DataLoader(
            self,
            batch_size=None,
            collate_fn=collate,
            num_workers=self.num_workers,
            worker_init_fn=partial(seed_worker, num_workers=self.num_workers, rank=self.rank),
            generator=torch.Generator().manual_seed(self.seed),
            pin_memory=torch.cuda.is_available(),
        )

    def advance(self, place: tuple[int, Position]) -> None:
        """Note the place of a batch that the trainer takes."""
        worker, self.positions[worker] = place
        self.next_worker = (worker + 1) % self.num_parts

    def state(self) -> dict[str, Any]:
        """Return the state of this process for a checkpoint."""
        return {
            "num_processes": self.num_processes,
            "num_workers": self.num_workers,
            "next_worker": self.next_worker,
            "positions": {str(worker): dict(position) for worker, position in self.positions.items()},
        }

    @property
    def state_name(self) -> str:
        """File name of this process's state in a checkpoint."""
        return f"stream_{self.rank}.json"

    def load_state(self, checkpoint: Path) -> None:
        """Continue where a checkpoint was written, without reading any record again.

        Raises:
            ValueError: if another number of processes or workers read the stream.
        """
        path = checkpoint / "stream_0.json"
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: the position in the stream is unknown, so use another checkpoint of this run"
            )
        state = json.loads(path.read_text())
        for name in ("num_processes", "num_workers"):
            if state[name] != getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)}, but the checkpoint's stream was read with {state[name]}; continue"
                    f" with {name}={state[name]}"
                )
        state = json.loads((checkpoint / self.state_name).read_text())
        self.next_worker = state["next_worker"]
        self.positions = {int(worker): position for worker, position in state["positions"].items()}
