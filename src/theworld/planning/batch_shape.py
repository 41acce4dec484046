"""The shape of a batch: from the first samples of a run, or from the settings."""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from transformers import AutoImageProcessor

from theworld.config.commands import PlanSettings
from theworld.constants import IGNORE_INDEX, TEMPORAL_STRIDE
from theworld.datasets.errors import RecordError
from theworld.datasets.sample import Sample, Samples
from theworld.modeling.base_files import reporting_file_errors
from theworld.modeling.bases import GEMMA3, QWEN3_VL
from theworld.modeling.configuration import WorldFields
from theworld.modeling.names import base_folder

MOST_SAMPLES = 16
"""Samples to read."""


@dataclass(frozen=True)
class BatchShape:
    """The shape of a batch on one device."""

    num_rows: int
    length: int
    """Tokens of the longest row, the length to which padding fills the others."""
    num_supervised: int
    """Supervised tokens of all rows."""
    num_pictures: int
    """Pictures of all rows, for Gemma."""
    num_clips: int
    num_frames: int
    """Frames of each clip."""
    num_world_steps: int
    picture: tuple[int, ...] = ()
    """Shape of the pixels of a picture; of the largest one if all are padded to it; of one with the mean number of
    patches if they are not."""
    seen: bool = True
    """True if the shape comes from samples, False if it comes from the settings."""
    num_steps: int | None = None
    """Optimiser steps of the run; None: unknown, because the shape comes from the settings."""

    def num_patches(self, vision: Any) -> int:
        """Return the patches of a picture: given one by one, or cut from a square by the tower."""
        return self.picture[0] if len(self.picture) == 2 else (vision.image_size // vision.patch_size) ** 2


def batch_shape_of(settings: PlanSettings, config: WorldFields) -> BatchShape:
    """Return the shape of the batch that one device takes at a time.

    Raises:
        ValueError: for data that cannot be opened.
    """
    if settings.length is None:
        return _from_samples(settings, config)
    size, pictures = settings.batch_size, settings.batch_size * settings.num_pictures
    clips = pictures if config.enable_world else 0
    steps = config.num_world_steps if config.enable_world else 0
    frames = 1 + TEMPORAL_STRIDE * steps if config.enable_world and config.world_settings().sees_future else 1
    taken = settings.num_supervised + settings.num_pictures * _world_tokens(config, steps)
    room = max(1, (settings.length - taken) // max(1, settings.num_pictures))
    supervised, picture = size * settings.num_supervised, picture_shape(config, room)
    return BatchShape(size, settings.length, supervised, pictures, clips, frames, steps, picture, seen=False)


def _world_tokens(config: WorldFields, num_world_steps: int) -> int:
    """Return the tokens of a clip of one frame, with its markers."""
    if not config.enable_world or not config.tokens_per_slot:
        return 0
    return (1 + num_world_steps) * config.tokens_per_slot + 2


def picture_shape(config: WorldFields, room: int) -> tuple[int, ...]:
    """Return the shape of the pixels of a picture, the largest one where they have grids of any shape.

    Args:
        config: of the model.
        room: tokens of a row for each picture, which limit it where a picture has as many as its size asks for.

    Raises:
        CheckpointError: if the settings of the base's image processor cannot be read.
    """
    if config.BASE is GEMMA3:
        vision: Any = config.vision_config
        return (3, vision.image_size, vision.image_size)
    with reporting_file_errors(config.base_model_name):
        processor: Any = AutoImageProcessor.from_pretrained(
            base_folder(config.base_model_name), revision=config.base_revision or "main"
        )
    if config.BASE is QWEN3_VL:
        pooled = processor.merge_size**2
        most = dict(processor.size)["longest_edge"] // processor.patch_size**2
        num_values = 3 * processor.temporal_patch_size * processor.patch_size**2
        return (min(most // pooled, room) * pooled, num_values)
    num_patches = processor.max_soft_tokens * processor.pooling_kernel_size**2
    return (num_patches, 3 * processor.patch_size**2)


def _from_samples(settings: PlanSettings, config: WorldFields) -> BatchShape:
    """Collate the first samples as training does, and return the shape of the batch."""
    from theworld.datasets.collator import Collator
    from theworld.datasets.factory import open_training
    from theworld.modeling.processor import TheWorldProcessor
    from theworld.training.dataloading import steps_of_run

    if settings.data.dataset == "datacomp" and not settings.mixture:
        raise ValueError("dataset='datacomp' is a stream, which a plan does not read: state its rows, --length")
    imitates = settings.objective == "imitation"
    sees_future = config.enable_world and config.world_settings().sees_future
    samples = open_training(settings, settings.num_drawn(), imitates or sees_future, config.clip_rule)
    chosen = _readable(samples, min(settings.batch_size, MOST_SAMPLES))
    processor = TheWorldProcessor.from_config(config)
    collator = Collator(processor, supervise=True, show_slots=imitates, packing=settings.packing)
    batch = collator(chosen)
    frames = batch.get("world_pixels")
    num_pictures, picture = _pictures_of(batch, config)
    shape = BatchShape(
        num_rows=len(batch["input_ids"]),
        length=batch["input_ids"].shape[1],
        num_supervised=int((batch["labels"][:, 1:] != IGNORE_INDEX).sum()),
        num_pictures=num_pictures,
        num_clips=0 if frames is None else len(frames),
        num_frames=1 if frames is None else frames.shape[1],
        num_world_steps=batch.get("num_world_steps", 0) or 0,
        picture=picture,
        num_steps=steps_of_run(settings, samples, settings.num_devices),
    )
    return _scaled(shape, settings.batch_size / len(chosen))


def _pictures_of(batch: dict[str, Any], config: WorldFields) -> tuple[int, tuple[int, ...]]:
    """Return the number of pictures of a batch, and the shape of one."""
    if (pixels := batch.get("pixel_values")) is None:
        return 0, picture_shape(config, batch["input_ids"].shape[1])
    if config.BASE is not QWEN3_VL:
        return len(pixels), tuple(pixels.shape[1:])
    vision: Any = config.vision_config
    num_pictures, pooled = len(batch["image_grid_thw"]), vision.spatial_merge_size**2
    return num_pictures, (pooled * ceil(len(pixels) / pooled / num_pictures), pixels.shape[1])


def _readable(samples: Samples, number: int) -> list[Sample]:
    """Return the first readable samples that fit into one batch, at most `number`."""
    chosen: list[Sample] = []
    for index in range(len(samples)):
        try:
            sample = samples[index]
        except RecordError:  # a bad record, which training leaves out, too
            continue
        if not chosen or sample.shape == chosen[0].shape:
            chosen.append(sample)
        if len(chosen) == number:
            break
    return chosen


def _scaled(shape: BatchShape, factor: float) -> BatchShape:
    """Multiply the number of rows and of everything in them."""
    names = ("num_rows", "num_supervised", "num_pictures", "num_clips")
    return replace(shape, **{name: round(getattr(shape, name) * factor) for name in names})
