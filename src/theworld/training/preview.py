"""Preview of the training data: samples as the model gets them, their lengths, and the bad records."""

import random
from typing import Any

from tqdm import tqdm

from theworld.config.commands import PreviewSettings
from theworld.constants import IGNORE_INDEX, WORLD_TOKENS
from theworld.datasets.collator import Collator
from theworld.datasets.errors import LeftOut
from theworld.datasets.label_view import spans
from theworld.datasets.sample import Samples, SampleStream
from theworld.modeling.factory import open_processor
from theworld.report.preview_page import Lengths, Preview, Shown
from theworld.training.dataloading import open_data, read


def look(config: PreviewSettings) -> Preview:
    """Draw records with the run's seed, and read them as training does.

    Raises:
        ValueError: for data that cannot be opened, or if none of the records gives a sample.
    """
    processor = open_processor(config.model)
    sees_future = processor.enable_world and processor.world_settings.sees_future
    if config.data.dataset == "datacomp" and not config.mixture:
        raise ValueError(
            "dataset='datacomp' is a stream, whose records have no index to draw by; preview another data set"
        )
    samples = open_data(config, processor, config.num_drawn(), config.objective == "imitation" or sees_future)
    assert not isinstance(samples, SampleStream)  # refused above
    collator = Collator(processor, supervise=True)
    lengths: list[Lengths] = []
    parts: list[str] = []
    shown: list[Shown] = []
    left_out: list[LeftOut] = []
    indices = _drawn(samples, config)
    for index in tqdm(indices, desc="reading", unit="record"):
        sample = read(samples, index)
        if isinstance(sample, LeftOut):
            left_out.append(sample)
            continue
        batch = collator([sample])
        lengths.append(_lengths(batch, processor))
        parts.append(str(sample.fields.get("part", "")))
        if len(shown) < config.num_shown:
            row = spans(batch["input_ids"][0], batch["labels"][0], processor.tokenizer)
            shown.append(Shown(sample, row, lengths[-1]))
    if not lengths:
        raise ValueError(f"data: none of {len(indices):,} records gives a sample; the first: {left_out[0].message}")
    return Preview(config, len(samples), len(indices), lengths, parts, shown, left_out)


def _drawn(samples: Samples, config: PreviewSettings) -> list[int]:
    """Draw the indices of the records to read."""
    size = len(samples)
    return random.Random(config.seed).sample(range(size), min(size, config.num_read))


def _lengths(batch: dict[str, Any], processor: Any) -> Lengths:
    """Count the tokens of a batch of one sample by kind."""
    ids = batch["input_ids"][0]
    image = int((ids == processor.tokenizer.image_token_id).sum())
    placeholders = processor.tokenizer.convert_tokens_to_ids(list(WORLD_TOKENS)) if processor.enable_world else []
    world = sum(int((ids == token_id).sum()) for token_id in placeholders)
    return Lengths(world, image, len(ids) - world - image, int((batch["labels"] != IGNORE_INDEX).sum()))
