"""What the rows of a run look like: read from its first samples, or stated."""

from dataclasses import dataclass, replace

from theworld.config.commands import PlanSettings
from theworld.constants import IGNORE_INDEX
from theworld.datasets.errors import RecordError
from theworld.datasets.sample import Sample, Samples
from theworld.modeling.configuration import TheWorldConfig

MOST_SAMPLES = 16
"""Samples that are looked at."""


@dataclass(frozen=True)
class Rows:
    """A batch of one device, from its shape."""

    num_rows: int
    length: int
    """Tokens of the longest row: the others are padded to it."""
    num_supervised: int
    """Supervised tokens of all rows."""
    num_pictures: int
    """Pictures of all rows, as Gemma sees them."""
    num_clips: int
    num_frames: int
    """Of each clip."""
    num_world_steps: int
    seen: bool = True
    """Whether they were read from samples; else they were stated."""


def rows_of(settings: PlanSettings, config: TheWorldConfig) -> Rows:
    """The batch that one device takes at a time.

    Raises:
        ValueError: for data that cannot be read.
    """
    if settings.length is None:
        return _seen(settings, config)
    size, pictures = settings.batch_size, settings.batch_size * settings.num_pictures
    clips = pictures if config.enable_world else 0
    steps = config.num_world_steps if config.enable_world else 0
    frames = 1 + 4 * steps * (config.enable_world and config.world_settings().sees_future)
    return Rows(size, settings.length, size * settings.num_supervised, pictures, clips, frames, steps, seen=False)


def _seen(settings: PlanSettings, config: TheWorldConfig) -> Rows:
    """The shape of a batch of the first samples, as training collates it."""
    from theworld.datasets.collator import Collator
    from theworld.datasets.factory import open_training
    from theworld.modeling.processor import TheWorldProcessor

    if settings.data.dataset == "datacomp" and not settings.mixture:
        raise ValueError(
            "dataset='datacomp' is a stream, of which no samples are read for a plan: state its rows, --length"
        )
    imitates = settings.objective == "imitation"
    sees_future = config.enable_world and config.world_settings().sees_future
    num_drawn = settings.num_steps * settings.batch_size * settings.gradient_accumulation_steps
    samples = open_training(settings, num_drawn, imitates or sees_future)
    looked_at = _readable(samples, min(settings.batch_size, MOST_SAMPLES))
    collator = Collator(TheWorldProcessor.from_config(config), supervise=True, packing=settings.packing)
    batch = collator(looked_at)
    pixels, frames = batch.get("pixel_values"), batch.get("world_pixels")
    found = Rows(
        num_rows=len(batch["input_ids"]),
        length=batch["input_ids"].shape[1],
        num_supervised=int((batch["labels"][:, 1:] != IGNORE_INDEX).sum()),
        num_pictures=0 if pixels is None else len(pixels),
        num_clips=0 if frames is None else len(frames),
        num_frames=1 if frames is None else frames.shape[1],
        num_world_steps=batch.get("num_world_steps", 0) or 0,
    )
    return _grown(found, settings.batch_size / len(looked_at))


def _readable(samples: Samples, number: int) -> list[Sample]:
    """The first samples that can be read and share a batch, at most so many."""
    found: list[Sample] = []
    for index in range(len(samples)):
        try:
            sample = samples[index]
        except RecordError:  # training leaves it out, too
            continue
        if not found or sample.shape == found[0].shape:
            found.append(sample)
        if len(found) == number:
            break
    return found


def _grown(rows: Rows, times: float) -> Rows:
    """The same for so many times the rows."""
    names = ("num_rows", "num_supervised", "num_pictures", "num_clips")
    return replace(rows, **{name: round(getattr(rows, name) * times) for name in names})
