"""Feature cache: compute the world features of a run once, before it trains, in one process or on many machines."""

import logging
import time
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch.utils.data import Subset
from tqdm import tqdm

from theworld.config import TrainingConfig
from theworld.config.commands import FillSettings
from theworld.config.training import in_number_formats
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.collator import Collator
from theworld.datasets.factory import open_samples
from theworld.datasets.sample import Samples
from theworld.datasets.samplers import batches
from theworld.datasets.video import ClipRule
from theworld.environment import check_launcher
from theworld.modeling import TheWorld
from theworld.modeling.factory import open_model
from theworld.training.dataloading import good_samples
from theworld.training.validation import open_questions
from theworld.world.cached import StoredTap, open_stored
from theworld.world.factory import open_tap
from theworld.world.store_formats import item_bytes
from theworld.world.store_identity import format_to_use
from theworld.world.tap import WorldTap

logger = logging.getLogger(__name__)


def stored_features(config: TrainingConfig, model: TheWorld, parts: list[Any], device: torch.device) -> Any:
    """Compute the features that a run's store lacks, and return a function that reads the store; None without one.

    A model without a world has features if it learns to predict them: distillation.
    """
    has_world = model.config.enable_world
    if config.store_dir is None or not (has_world or config.distillation.weight):
        return None
    tap = open_tap(model.config.world_settings(), device)
    if has_world:
        model.attach_world(tap)  # checks that this is the world the model was trained on
    store = open_stored(tap, config.store_dir, format_to_use(config.store_dir, config.store_dtype))
    for samples in parts:
        fill_store(store, model.processor, samples)
    model.detach_world()
    return StoredTap(None, store.store).read


def fill_store(stored: StoredTap, processor: Any, samples: Samples, batch_size: int = 16) -> StoredTap:
    """Compute the features that a store lacks, and return a tap that only reads the store.

    Under a launcher each process computes its share, every n-th sample, and waits for the others.
    """
    process = PartialState()
    number, count = process.process_index, process.num_processes
    share: Any = samples if count == 1 else Subset(samples, range(number, len(samples), count))  # pyright: ignore[reportArgumentType]
    collator = Collator(processor, supervise=False)
    size = stored.store.bytes
    with tqdm(total=len(share), desc="world features", unit="sample", disable=number > 0) as progress:
        for batch in batches(good_samples(share), batch_size):
            frames, num_world_steps = collator.frames(batch)
            if frames is not None:
                stored.read(frames, num_world_steps)
            progress.update(len(batch))
            progress.set_postfix_str(f"{stored.computed:,} computed, {(stored.store.bytes - size) / 1e9:.3g} GB")
    logger.info("world features: %d computed, %d found", stored.computed, stored.served)
    process.wait_for_everyone()
    stored.store.refresh()
    return StoredTap(None, stored.store)


def fill(config: FillSettings) -> dict[str, Any]:
    """Compute one share of the features for a run's training and validation data.

    Any number of processes and machines can fill one store at once. After a kill, start the same command again: it
    computes only what is missing. Under a launcher the processes divide this share, each on its own device.

    Returns:
        Samples of this share, clips computed and found, seconds, clips per second, and the size of the store in GB.

    Raises:
        ValueError: for settings without a world or a store, or data that cannot be opened.
        StoreError: for a store of another tap, or a full disk.
    """
    check_launcher()
    config = in_number_formats(config)
    device = PartialState(cpu=not torch.cuda.is_available()).device or torch.device("cpu")
    model = open_model(config.model, load_world=False, world_device=device)
    settings = model.config.world_settings()
    tap = open_tap(settings, device)
    if model.config.enable_world:
        model.attach_world(tap)
    assert config.store_dir is not None  # FillSettings requires it
    dtype = format_to_use(config.store_dir, config.store_dtype)
    stored = open_stored(tap, config.store_dir, dtype)
    parts = [
        Subset(samples, range(config.shard_index, len(samples), config.num_shards))
        for samples in _parts(config, settings.sees_future or config.objective == "imitation", model.config.clip_rule)
    ]
    num_samples = sum(map(len, parts))
    _log_size(config, tap, dtype, model.config.num_world_steps, num_samples)
    started = time.perf_counter()
    for part in parts:
        fill_store(stored, model.processor, part, config.fill_batch_size)
    seconds = time.perf_counter() - started
    counts = [(stored.computed, stored.served)]
    computed, found = map(sum, zip(*_of_all_processes(counts), strict=True))
    return {
        "store": str(config.store_dir),
        "samples": num_samples,
        "computed": computed,
        "found": found,
        "seconds": round(seconds, 1),
        "clips_per_second": round((computed + found) / seconds, 2) if seconds else None,
        "store_gb": stored.store.bytes / 1e9,
    }


def _of_all_processes(values: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return gather_object(values) if PartialState().num_processes > 1 else values


def _log_size(config: FillSettings, tap: WorldTap, dtype: str, num_world_steps: int, num_samples: int) -> None:
    """Log an upper bound of the size; a picture that two samples share is computed and kept once."""
    settings = tap.settings
    frames = 1 + TEMPORAL_STRIDE * num_world_steps if settings.sees_future else 1
    grid = settings.image_size_px // tap.stride_px
    num_slots = settings.num_slots(frames, num_world_steps)
    num_bytes = item_bytes(dtype, (tap.num_channels, num_slots, grid, grid))
    logger.info(
        "share %d of %d: %s samples; %.3g MB for a picture, %.3g GB at most",
        config.shard_index,
        config.num_shards,
        f"{num_samples:,}",
        num_bytes / 1e6,
        num_samples * num_bytes / 1e9,
    )


def _parts(config: FillSettings, with_future: bool, rule: ClipRule) -> Iterator[Any]:
    """Open every data set of a run: those to train on, and the validation sets if the model reads a world."""
    for data in [part.data for part in config.mixture] or [config.data]:
        yield open_samples(data, data.train_split, data.num_train, with_future, rule)
    if config.model.enable_world:
        yield from open_questions(config, with_future, rule).values()
