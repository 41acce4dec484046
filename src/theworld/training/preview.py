"""What a run would be trained on: samples as the model is given them, their lengths, and records that give none."""

import logging
import random
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

from theworld.config.commands import PreviewSettings
from theworld.constants import IGNORE_INDEX, WORLD_TOKENS
from theworld.datasets.collator import Collator
from theworld.datasets.errors import LeftOut
from theworld.datasets.factory import open_training
from theworld.datasets.label_view import spans
from theworld.datasets.sample import Sample, Samples
from theworld.datasets.samplers import WithinLength
from theworld.modeling.factory import open_processor
from theworld.report.preview_page import Lengths, Preview, Shown
from theworld.training.dataloading import read

logger = logging.getLogger(__name__)


def look(config: PreviewSettings) -> Preview:
    """Read records drawn with the run's seed, as training reads them.

    Raises:
        ValueError: for data that cannot be had, or of which no record that was read gives a sample.
    """
    processor = open_processor(config.model)
    sees_future = processor.enable_world and processor.world_settings.sees_future
    if config.data.dataset == "datacomp" and not config.mixture:
        raise ValueError(
            "dataset='datacomp' is a stream: no records can be drawn from it by index; preview another data set"
        )
    num_drawn = config.num_steps * config.batch_size * config.gradient_accumulation_steps
    samples = open_training(config, num_drawn, config.objective == "imitation" or sees_future)
    collator = Collator(processor, supervise=True)
    if config.max_length is not None:
        samples = WithinLength(samples, collator, config.max_length)
    lengths: list[Lengths] = []
    parts: list[str] = []
    shown: list[Shown] = []
    left_out: list[LeftOut] = []
    indices = _drawn(samples, config)
    for record in tqdm(_records(samples, indices), desc="reading", unit="record", total=len(indices)):
        if isinstance(record, LeftOut):
            left_out.append(record)
            continue
        batch = collator([record])
        lengths.append(_lengths(batch, processor))
        parts.append(str(record.fields.get("part", "")))
        if len(shown) < config.num_shown:
            row = spans(batch["input_ids"][0], batch["labels"][0], processor.tokenizer)
            shown.append(Shown(record, row, lengths[-1]))
    if not lengths:
        raise ValueError(f"data: none of {len(indices):,} records gives a sample; the first: {left_out[0].message}")
    return Preview(config, len(samples), len(indices), lengths, parts, shown, left_out)


def _drawn(samples: Samples, config: PreviewSettings) -> list[int]:
    size = len(samples)
    return random.Random(config.seed).sample(range(size), min(size, config.num_read))


def _records(samples: Samples, indices: list[int]) -> Iterator[Sample | LeftOut]:
    return (read(samples, index) for index in indices)


def _lengths(batch: dict[str, Any], processor: Any) -> Lengths:
    ids = batch["input_ids"][0]
    image = int((ids == processor.tokenizer.image_token_id).sum())
    placeholders = processor.tokenizer.convert_tokens_to_ids(list(WORLD_TOKENS)) if processor.enable_world else []
    world = sum(int((ids == token_id).sum()) for token_id in placeholders)
    return Lengths(world, image, len(ids) - world - image, int((batch["labels"] != IGNORE_INDEX).sum()))
