"""Collection of the answers to all items in one file of predictions, by one process or by several."""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from PIL import Image
from tqdm import tqdm

from theworld.datasets.images import to_image
from theworld.datasets.sample import Sample, Samples
from theworld.datasets.samplers import grouped
from theworld.environment import check_launcher
from theworld.evaluation.generation import FAILURES, BatchAnswerer
from theworld.evaluation.predictions import (
    PredictionWriter,
    RunIdentity,
    identity_path,
    parts_folder,
    parts_of,
    read_predictions,
    write_predictions,
)

_T = TypeVar("_T")
_END: Any = object()
_NUM_AHEAD: Final = 2
_FILES: Final = (str, Path, bytes, Image.Image)  # PIL, too, opens a file without decoding it

_LONGEST_WAIT: Final = timedelta(days=1)
"""Longest time that a process waits for the others: one may still imagine, or answer its last batches."""


@dataclass(frozen=True)
class _Item:
    """An item in its batch."""

    shape: Hashable
    sample: Sample | None
    """None: it has an answer."""


def joined_processes() -> PartialState:
    """Return the state of this process among those of its launcher; without a launcher, of one process.

    Raises:
        ValueError: for variables of a launcher that hold no numbers.
    """
    check_launcher()
    return PartialState(cpu=not torch.cuda.is_available(), timeout=_LONGEST_WAIT)


def collect(
    answerer: BatchAnswerer, samples: Samples, path: Path, identity: RunIdentity, *, title: str, batch_size: int
) -> None:
    """Answer the samples that a file of predictions lacks; then the file has a row per sample, in their order.

    Under a launcher every process calls this, and answers its share of the batches. The batches depend only on the
    samples and `batch_size`: rows are those of one process, but for their seconds. While several processes answer,
    each writes into a part of the file:

        predictions/ARM.jsonl            all rows, once every process is done
        predictions/parts/ARM/0.jsonl    rows of process 0; a later start, of any number of processes, takes them in

    Raises:
        ValueError: if the file has rows of other samples, or if no sample could be answered.
    """
    process = joined_processes()
    path.parent.mkdir(parents=True, exist_ok=True)
    if process.is_main_process:
        _take_in(path, identity)
    process.wait_for_everyone()
    if process.num_processes == 1:
        with PredictionWriter(path, identity) as writer:
            ids = answer_all(answerer, samples, writer, batch_size, title)
    else:
        ids = _answer_share(answerer, samples, path, identity, batch_size, title)
    process.wait_for_everyone()
    if process.is_main_process:
        _put_in_order(path, ids)
    process.wait_for_everyone()
    _check(path, ids)


def answer_all(
    answerer: BatchAnswerer, samples: Samples, writer: PredictionWriter, batch_size: int, title: str
) -> list[str]:
    """Answer the samples that the writer's file lacks, append them batch by batch, and return all sample ids.

    A batch is made of the same samples whether or not some have an answer, which changes its last digits.
    """
    done = writer.done()
    ids: list[str] = []
    answerer.model.eval()
    with tqdm(total=len(samples), desc=title, unit="item") as progress:
        for batch in ahead(grouped(_opened(samples, done, ids), batch_size, lambda item: item.shape)):
            missing = [item.sample for item in batch if item.sample is not None]
            if missing:
                writer.append(answerer(missing))
            progress.update(len(batch))
    return ids


def _opened(samples: Samples, done: frozenset[str], ids: list[str]) -> Iterator[_Item]:
    """Open the samples one after the other; add the ids of all to `ids`."""
    for index in range(len(samples)):
        sample = samples[index]
        ids.append(sample.id)
        yield _Item(sample.shape, None if sample.id in done else _decoded(sample))


def _decoded(sample: Sample) -> Sample:
    """Decode the files among a sample's pictures; one that cannot be read stays, and becomes an error of its item."""
    try:
        pictures = [to_image(picture) if isinstance(picture, _FILES) else picture for picture in sample.images]
    except FAILURES:
        return sample
    return replace(sample, images=tuple(pictures))


def ahead(items: Iterable[_T]) -> Iterator[_T]:
    """Yield items, in their order, while a thread makes the next two."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, "items") as pool:
        waiting = deque(pool.submit(next, iterator, _END) for _ in range(_NUM_AHEAD))
        try:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(pool.submit(next, iterator, _END))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)


def _answer_share(
    answerer: BatchAnswerer,
    samples: Samples,
    path: Path,
    identity: RunIdentity,
    batch_size: int,
    title: str,
) -> list[str]:
    """Answer this process's share of the batches that `path` lacks; return the ids of all samples."""
    process = joined_processes()
    number, count = process.process_index, process.num_processes
    done = frozenset(row.sample_id for row in read_predictions(path))
    ids, batches = _plan(samples, batch_size)
    lacking = [batch for batch in batches if any(ids[index] not in done for index in batch)]
    parts = parts_folder(path)
    parts.mkdir(parents=True, exist_ok=True)
    answerer.model.eval()
    mine = lacking[number::count]
    num_lacking = sum(ids[index] not in done for batch in mine for index in batch)
    with (
        PredictionWriter(parts / f"{number}.jsonl", identity) as writer,
        tqdm(total=num_lacking, desc=title, unit="item", disable=number > 0) as progress,
    ):
        opened = ([_decoded(samples[index]) for index in batch if ids[index] not in done] for batch in mine)
        for batch in ahead(opened):
            writer.append(answerer(batch))
            progress.update(len(batch))
    return ids


def _plan(samples: Samples, batch_size: int) -> tuple[list[str], list[list[int]]]:
    """Return the ids of all samples, and the batches of `answer_all`, as indices.

    Each process opens its share of the samples for it.
    """
    process = joined_processes()
    share = range(process.process_index, len(samples), process.num_processes)
    opened = ((index, samples[index]) for index in share)
    known = {
        index: (name, shape)
        for index, name, shape in gather_object([(index, sample.id, sample.shape) for index, sample in opened])
    }
    ids = [known[index][0] for index in range(len(samples))]
    return ids, list(grouped(range(len(samples)), batch_size, lambda index: known[index][1]))


def _take_in(path: Path, identity: RunIdentity) -> None:
    """Move the answers of interrupted processes into the file; error rows and torn lines are left out."""
    with PredictionWriter(path, identity) as writer:
        for part in parts_of(path):
            with PredictionWriter(part, identity):  # refuses another run, and drops torn lines
                pass
            done = writer.done()
            writer.append(row for row in read_predictions(part) if row.sample_id not in done)
    _remove_parts(path)


def _put_in_order(path: Path, ids: list[str]) -> None:
    """Write the rows of the file and of its parts in the order of the samples; rows of other samples come first."""
    rows = read_predictions(path)
    known = len(rows)
    for part in parts_of(path):
        rows += read_predictions(part)
    place = {name: index for index, name in enumerate(ids)}
    ordered = sorted(rows, key=lambda row: place.get(row.sample_id, -1))
    if known < len(rows) or ordered != rows:
        write_predictions(path, ordered)
    _remove_parts(path)


def _remove_parts(path: Path) -> None:
    """Remove parts whose rows are all in the file."""
    for part in parts_of(path):
        identity_path(part).unlink(missing_ok=True)
        part.unlink()
    parts = parts_folder(path)
    for folder in (parts, parts.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _check(path: Path, ids: list[str]) -> None:
    """Refuse rows of other samples, and a file without a single answer."""
    rows = read_predictions(path)
    foreign = sorted({row.sample_id for row in rows} - set(ids))
    if foreign:
        raise ValueError(
            f"{path} holds {len(foreign)} rows of other samples (the first: {foreign[0]!r}): it was made on other"
            " data; choose another output_dir, or remove the file and its .run.json"
        )
    if rows and all(row.error is not None for row in rows):
        raise ValueError(f"{path}: none of {len(rows)} items could be answered; the first error: {rows[0].error}")
