"""Preview of the training data: samples as the model gets them, their lengths, and the bad records."""

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, takewhile
from typing import Any

from tqdm import tqdm

from theworld.config import BlinkData, DataSettings, FutureData, SpatialRGPTData
from theworld.config.commands import DEFAULT_SHOWN, PreviewSettings
from theworld.constants import IGNORE_INDEX, WORLD_TOKENS
from theworld.datasets.collator import Collator
from theworld.datasets.errors import LeftOut
from theworld.datasets.label_view import spans
from theworld.datasets.public import future_sets
from theworld.datasets.sample import Sample, Samples, SampleStream
from theworld.datasets.samplers import refuse_overlong
from theworld.modeling.factory import open_processor
from theworld.report.preview_page import Lengths, Preview, Shown
from theworld.training.dataloading import open_data, outcome_of, read


def look(config: PreviewSettings) -> Preview:
    """Draw records with the run's seed, and read them as training does.

    Raises:
        ValueError: for data that cannot be opened, or if none of the records gives a sample.
    """
    processor = open_processor(config.model)
    sees_future = processor.enable_world and processor.world_settings.sees_future
    config = replace(config, data=_with_a_split(config.data))
    samples = open_data(config, processor, config.num_drawn(), config.objective == "imitation" or sees_future)
    collator = Collator(processor, supervise=True, show_slots=config.objective == "imitation")
    lengths: list[Lengths] = []
    parts: list[str] = []
    shown: list[Shown] = []
    left_out: list[LeftOut] = []
    num_read = 0
    for sample in tqdm(_outcomes(samples, config, collator), desc="reading", unit="record"):
        num_read += 1
        if isinstance(sample, LeftOut):
            left_out.append(sample)
            continue
        batch = collator([sample])
        lengths.append(_lengths(batch, processor))
        parts.append(str(sample.fields.get("part", "")))
        if len(shown) < (DEFAULT_SHOWN if config.num_shown is None else config.num_shown):
            row = spans(batch["input_ids"][0], batch["labels"][0], processor.tokenizer)
            shown.append(Shown(sample, row, lengths[-1]))
    if not lengths:
        raise ValueError(f"data: none of {num_read:,} records gives a sample; the first: {left_out[0].message}")
    num_samples = None if isinstance(samples, SampleStream) else len(samples)
    return Preview(config, num_samples, num_read, lengths, parts, shown, left_out)


def _with_a_split(data: DataSettings) -> DataSettings:
    """Return settings that read the validation split, for a benchmark without a training split."""
    has_none = isinstance(data, BlinkData | SpatialRGPTData)
    if isinstance(data, FutureData):
        has_none = "train" not in future_sets.SPLITS[data.dataset]
    if has_none and data.train_split == "train":
        return replace(data, train_split="validation", validation_split="test")
    return data


def _outcomes(
    samples: Samples | SampleStream, config: PreviewSettings, collator: Collator
) -> Iterator[Sample | LeftOut]:
    """Yield records drawn with the run's seed; of a stream the first ones of its first epoch."""
    if not isinstance(samples, SampleStream):
        size = len(samples)
        for index in random.Random(config.seed).sample(range(size), min(size, config.num_read)):
            yield read(samples, index)
        return
    refuse = partial(refuse_overlong, collator=collator, max_length=config.max_length) if config.max_length else None
    epoch = takewhile(lambda drawn: drawn.position["epoch"] == 0, samples.read(config.seed, 0, 1))
    arrived = (drawn for drawn in epoch if not drawn.num_absent)  # the others were lost before any reading
    yield from (outcome_of(drawn, refuse) for drawn in islice(arrived, config.num_read))


def _lengths(batch: dict[str, Any], processor: Any) -> Lengths:
    """Count the tokens of a batch of one sample by kind."""
    ids = batch["input_ids"][0]
    image = int((ids == processor.tokenizer.image_token_id).sum())
    placeholders = processor.tokenizer.convert_tokens_to_ids(list(WORLD_TOKENS)) if processor.enable_world else []
    world = sum(int((ids == token_id).sum()) for token_id in placeholders)
    return Lengths(world, image, len(ids) - world - image, int((batch["labels"] != IGNORE_INDEX).sum()))
