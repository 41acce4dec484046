"""Items that a report shows: a few of an evaluation's questions, with their pictures and futures as files."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from theworld.datasets.animation import write_gif
from theworld.datasets.errors import RecordError
from theworld.datasets.images import to_clip, to_frames, to_image
from theworld.datasets.sample import Sample, Samples
from theworld.evaluation.generation import FAILURES, FeatureReader
from theworld.io import write_whole
from theworld.modeling import TheWorld
from theworld.modeling.introspection import check_shown, decoded, future_latents
from theworld.world.guardrail import GuardrailRequiredError

NUM_SHOWN: Final = 12
"""Items to show."""

_LARGEST_SIDE_PX: Final = 320
_GAP_PX: Final = 4
_SEED: Final = 0


def write_items(samples: Samples, root: Path, frame_rate_hz: float, num_shown: int = NUM_SHOWN) -> None:
    """Write the pictures of items drawn at random from the samples, whatever their answers turn out to be.

        root/items/NN/
          item.json       id of the sample; the replies are in the files of predictions
          picture.png     its pictures side by side, at most 320 px high
          clip.gif        its first clip, if that has several frames and no future
          true.gif        what was given and what followed, if the sample has its future

    Items that are there already, and those that cannot be read, are left out.

    Args:
        samples: the questions; with their futures, if they have any to show.
        root: folder of the evaluation.
        frame_rate_hz: frames per second of clips and futures.
        num_shown: number of items.
    """
    for folder, index in _folders(root, len(samples), num_shown):
        if (folder / "item.json").exists():
            continue
        try:
            sample = samples[index]
            pictures = [to_image(picture) for picture in sample.images]
        except (RecordError, *FAILURES):
            continue  # its row of predictions tells why
        folder.mkdir(parents=True, exist_ok=True)
        if pictures:
            _side_by_side(pictures).save(folder / "picture.png", optimize=True)
        clip = next(iter(_clips(sample)), ())
        if sample.future is None and len(clip) > 1:
            write_gif(_film(clip), folder / "clip.gif", frame_rate_hz, scale=1)
        if sample.future is not None and pictures:
            size_px = min(pictures[0].height, _LARGEST_SIDE_PX)
            parts = [to_frames(clip, size_px) for clip in (_clips(sample)[0], sample.future[0])]
            film = torch.cat(parts).permute(0, 2, 3, 1)
            write_gif(film.numpy(), folder / "true.gif", frame_rate_hz, scale=1)
        write_whole(folder / "item.json", json.dumps({"id": sample.id}))


def write_futures(
    model: TheWorld,
    samples: Samples,
    root: Path,
    num_world_steps: int | None = None,
    read_features: FeatureReader | None = None,
    num_shown: int = NUM_SHOWN,
) -> None:
    """Write imagined.gif, the future that a model imagines, beside each item that `write_items` wrote.

    Does nothing for a model whose tap imagines no video, or whose video may not be shown without NVIDIA's guardrail.

    Args:
        model: TheWorld.
        samples: as for `write_items`.
        root: folder of the evaluation.
        num_world_steps: K; None: the model's own. A sample's own number is an upper limit.
        read_features: source of world features; None: the model's own world.
        num_shown: as for `write_items`.
    """
    most = model.config.num_world_steps if num_world_steps is None else num_world_steps
    try:
        check_shown(model)
    except (ValueError, GuardrailRequiredError):
        return
    for folder, index in _folders(root, len(samples), num_shown):
        if not (folder / "item.json").exists() or (folder / "imagined.gif").exists():
            continue
        sample = samples[index]
        steps = most if sample.num_world_steps is None else min(most, sample.num_world_steps)
        if not sample.num_clips or not steps:
            continue
        frames = to_frames(_clips(sample)[0], model.config.world_image_size)[None]
        try:
            film = decoded(model, future_latents(model, frames, steps, read_features))
        except FAILURES:  # also a video that the guardrail rejects
            continue
        write_gif(film.numpy(), folder / "imagined.gif", model.config.frame_rate_hz, scale=1)


def _folders(root: Path, num_samples: int, num_shown: int) -> Iterator[tuple[Path, int]]:
    """Yield the folder and the index of each shown item."""
    drawn = random.Random(_SEED).sample(range(num_samples), min(num_shown, num_samples))
    for number, index in enumerate(drawn):
        yield root / "items" / f"{number:02d}", index


def _clips(sample: Sample) -> Sequence[Any]:
    """Return what the world model reads: clips, or each picture as a clip of one frame."""
    return [[picture] for picture in sample.images] if sample.clips is None else sample.clips


def _film(clip: Any) -> UInt8[np.ndarray, "F H W 3"]:
    """Return the frames of a clip in the shape of its first one, at most 320 px high."""
    pictures = to_clip(clip)
    first = _small(pictures[0])
    return np.stack([np.asarray(picture.resize(first.size, Image.Resampling.LANCZOS)) for picture in pictures])


def _small(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((4 * _LARGEST_SIDE_PX, _LARGEST_SIDE_PX), Image.Resampling.LANCZOS)
    return small


def _side_by_side(pictures: Sequence[Image.Image]) -> Image.Image:
    """Put pictures in a row on one canvas; make those smaller that are higher than the limit."""
    shown = [_small(picture) for picture in pictures]
    width = sum(picture.width for picture in shown) + _GAP_PX * (len(shown) - 1)
    canvas = Image.new("RGB", (width, max(picture.height for picture in shown)), "white")
    left = 0
    for picture in shown:
        canvas.paste(picture, (left, 0))
        left += picture.width + _GAP_PX
    return canvas
