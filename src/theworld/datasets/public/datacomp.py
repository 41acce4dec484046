"""DataComp: web pictures and their alt texts, streamed from shards of img2dataset."""

import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import torch.distributed
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from theworld.datasets.errors import RecordError
from theworld.datasets.public.webdataset import ShardRecord, find_shards, lost_records, read_shard
from theworld.datasets.records import id_of, is_encodable, short
from theworld.datasets.rgb import BROKEN
from theworld.datasets.sample import Drawn, Position, Sample, question

CAPTION_QUESTION: Final = "Write a short caption for this picture."
"""Question for an alt text, which names a picture and rarely describes its details."""

MAX_CHARACTERS: Final = 2_000
"""Longest alt text; some in the pool have a million characters."""

_CLIP_SCORE = "clip_l14_similarity_score"


class DataCompDataset(IterableDataset):
    """Samples of a picture, a question for a caption, and its alt text as the answer.

    Iteration gives one epoch (`set_epoch`); each process and each worker of a loader gets its own shards, and
    `left_out` counts bad records. Training uses `read`, which can continue from a position.

    Args:
        source: folder with `shards/NUMBER.tar`, or with the tar files themselves; or with Parquet files whose column
            `jpg` holds the pictures.
        seed: seed of the orders.
        min_clip_score: lowest similarity of picture and text (CLIP L/14); skip records below it.
        min_side_px: shortest side of a picture as published, pixels; skip smaller ones.
        verify_sha256: whether pictures must have the published checksum. It covers the published bytes, so pictures of
            another size are not checked; for the others the shards must hold the original bytes (`skip_reencode`, no
            blurred faces).

    Raises:
        ValueError: without shards; on reading, for shards that lack a requested column, or without any sample.
    """

    def __init__(
        self,
        source: str | Path,
        seed: int = 0,
        *,
        min_clip_score: float | None = None,
        min_side_px: int | None = None,
        verify_sha256: bool = False,
    ) -> None:
        self.source = Path(source)
        self.shards = find_shards(self.source)
        self.files = tuple(self.shards)
        self.num_shards = len(self.shards)
        self.seed = seed
        self.epoch = 0
        self.min_clip_score = min_clip_score
        self.min_side_px = min_side_px
        self.verify_sha256 = verify_sha256
        self.left_out: Counter[str] = Counter()

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, counted from 0."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples of one epoch for this process and worker."""
        worker = get_worker_info()
        rank, num_ranks = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, num_ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
        part, num_parts = (
            (rank, num_ranks)
            if worker is None
            else (rank * worker.num_workers + worker.id, num_ranks * worker.num_workers)
        )
        self.left_out.clear()
        for drawn in self._epoch(self.seed, self.epoch, part, num_parts, 0, 0):
            if isinstance(drawn.outcome, RecordError):
                self.left_out[drawn.outcome.cause] += max(1, drawn.num_absent)
            else:
                yield drawn.outcome

    def read(self, seed: int, part: int, num_parts: int, position: Position | None = None) -> Iterator[Drawn]:
        """Read one of several parts, epoch after epoch; see `SampleStream`.

        Raises:
            ValueError: for more parts than shards, or after an epoch of the part without a sample.
        """
        if num_parts > self.num_shards:
            raise ValueError(
                f"{self.source}: {self.num_shards} shards cannot be read in {num_parts} parts: use fewer workers"
            )
        place = position or {"epoch": 0, "shard": 0, "at": 0}
        epoch, shard, at = place["epoch"], place["shard"], place["at"]
        while True:
            is_whole, num_samples, causes = (shard, at) == (0, 0), 0, Counter[str]()
            for drawn in self._epoch(seed, epoch, part, num_parts, shard, at):
                if isinstance(drawn.outcome, RecordError):
                    causes[drawn.outcome.cause] += max(1, drawn.num_absent)
                else:
                    num_samples += 1
                yield drawn
            if is_whole and not num_samples:
                raise ValueError(
                    f"{self.source}: no sample in an epoch (left out: {dict(causes)}, all others below min_clip_score="
                    f"{self.min_clip_score} or min_side_px={self.min_side_px}): ask for less, or look at the shards"
                )
            epoch, shard, at = epoch + 1, 0, 0

    def _epoch(self, seed: int, epoch: int, part: int, num_parts: int, first: int, at: int) -> Iterator[Drawn]:
        """The rest of an epoch, from a shard (its number within the part) and a position in it."""
        order = Random(f"{seed}/{epoch}").sample(self.shards, len(self.shards))[part::num_parts]
        for number, path in enumerate(order[first:], start=first):
            start = at if number == first else 0
            yield from self._shard(path, start, lambda end, number=number: {"epoch": epoch, "shard": number, "at": end})

    def _shard(self, path: Path, start: int, position: Any) -> Iterator[Drawn]:
        if start == 0:  # once per shard: after any sample it is greater
            for cause, count in lost_records(path).items():
                error = RecordError(cause, f"{path}: {count:,} records never arrived")
                yield Drawn(f"{path.name}: {cause}", error, position(0), num_absent=count)
        try:
            for record in read_shard(path, start):
                name = f"{path.name}/{record.key}"
                if _is_malformed(record) or self._is_chosen(record):
                    yield Drawn(name, self._sample(record, name), position(record.end))
        except RecordError as error:
            yield Drawn(path.name, error, position(path.stat().st_size))

    def _is_chosen(self, record: ShardRecord) -> bool:
        if self.min_clip_score is not None:
            score = record.facts.get(_CLIP_SCORE)
            if score is None:
                raise ValueError(
                    f"{self.source}: {record.key} has no {_CLIP_SCORE}: leave min_clip_score out, or fetch the shards"
                    " with the published columns kept"
                )
            if not score >= self.min_clip_score:
                return False
        return self.min_side_px is None or (_shorter_side(record) or self.min_side_px) >= self.min_side_px

    def _sample(self, record: ShardRecord, name: str) -> Sample | RecordError:
        if _is_malformed(record):
            return RecordError("malformed", f"{name}: its facts, text or picture are of another type, or not UTF-8")
        if record.picture is None or record.facts.get("status") not in (None, "success"):
            return RecordError("dead link", f"{name}: no picture ({_address(record)})")
        text = (record.text or "").strip()
        if not text:
            return RecordError("empty answer", f"{name}: no alt text")
        if len(text) > MAX_CHARACTERS:
            return RecordError("overlong", f"{name}: an alt text of {len(text):,} characters")
        if self.verify_sha256 and _is_as_published(record):
            expected = record.facts.get("sha256")
            if not expected:
                raise ValueError(f"{self.source}: {record.key} has no sha256: leave verify_sha256 out")
            if hashlib.sha256(record.picture).hexdigest() != expected:
                return RecordError("wrong checksum", f"{name}: its bytes are not those that were published")
        uid = record.facts.get("uid")
        fields = {"task": "caption", "uid": uid}
        return question(id_of(uid, name), [record.picture], CAPTION_QUESTION, text, fields=fields)


def _is_malformed(record: ShardRecord) -> bool:
    """Return whether the texts or numbers of a record are of other types, or cannot be decoded."""
    facts = record.facts
    texts = [record.text, *(facts.get(name) for name in ("uid", "sha256", "status", "url"))]
    numbers = [facts.get(name) for name in (_CLIP_SCORE, "original_width", "original_height")]
    return (
        facts.get("status") == "malformed"
        or not all(isinstance(text, str | None) and is_encodable(text or "") for text in texts)
        or not all(isinstance(number, int | float | None) and not isinstance(number, bool) for number in numbers)
    )


def _address(record: ShardRecord) -> str:
    return short(record.facts["url"]) if record.facts.get("url") else "unknown address"


def _shorter_side(record: ShardRecord) -> int | None:
    """Shorter side as published, else as stored; None: unknown, and reading the picture raises the reason."""
    sides = [record.facts.get(name) for name in ("original_width", "original_height")]
    if all(isinstance(side, int) for side in sides):
        return min(side for side in sides if side is not None)
    size = _size(record.picture)
    return None if size is None else min(size)


def _is_as_published(record: ShardRecord) -> bool:
    """Return whether a picture has its published size; others were re-encoded."""
    published = record.facts.get("original_width"), record.facts.get("original_height")
    return None in published or published == _size(record.picture)


def _size(picture: bytes | None) -> tuple[int, int] | None:
    if picture is None:
        return None
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return image.size
    except (*BROKEN, Image.DecompressionBombError):
        return None
