"""Answers about one picture after one prefill: its features, its world and their keys are computed once."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from theworld.constants import IGNORE_INDEX
from theworld.datasets.collator import Collator
from theworld.datasets.images import to_image
from theworld.datasets.sample import Sample, Turn
from theworld.modeling import TheWorld
from theworld.modeling.bases import SHARED_PREFIX
from theworld.modeling.cache_name import CACHE
from theworld.modeling.generation import place, prefix_keys, prefix_length, question_place, refuse_overlong

_DIGEST_BYTES: Final = 16


@dataclass(frozen=True)
class Sharing:
    """Samples of a batch by their pictures, clips and K.

    Two questions about picture a, one about b:  firsts [a0, b0], groups [0, 0, 1].
    """

    firsts: tuple[Sample, ...]
    """The first sample of each group."""
    groups: tuple[int, ...]
    """The group of each sample."""


def sharing_of(model: TheWorld, samples: Sequence[Sample], across_samples: bool = True) -> Sharing | None:
    """Group samples whose prompts begin alike; None: the model or the samples cannot share a prefill.

    Args:
        model: a TheWorld.
        samples: a batch of one shape.
        across_samples: False: each sample is a group of its own, whatever it shows.
    """
    config = model.config
    if SHARED_PREFIX in config.BASE.lacks or (config.enable_world and config.world_settings().sees_future):
        return None
    if {(len(sample.images), sample.num_clips) for sample in samples} != {
        (len(samples[0].images), samples[0].num_clips)
    } or not samples[0].images:
        return None  # prefixes of unequal length, or none
    known: dict[Hashable, int] = {}
    firsts: list[Sample] = []
    groups: list[int] = []
    for index, sample in enumerate(samples):
        key = _contents(sample) if across_samples else index
        if key not in known:
            known[key] = len(firsts)
            firsts.append(sample)
        groups.append(known[key])
    return Sharing(tuple(firsts), tuple(groups))


def fits_window(model: TheWorld, prompts: Collator, samples: Sequence[Sample], max_new_tokens: int) -> bool:
    """Return False if padding between prefix and question would move positions out of a layer's sliding window."""
    window = getattr(model.config.get_text_config(), "sliding_window", None)
    return window is None or max(map(prompts.length_of, samples)) + max_new_tokens <= window


def reply_inputs(model: TheWorld, prompts: Collator, samples: Sequence[Sample], sharing: Sharing) -> dict[str, Any]:
    """Return the inputs of `generate`: all token ids, and the keys of the prefixes; padding is between the two.

    Args:
        model: a TheWorld.
        prompts: makes batches for generation.
        samples: the batch.
        sharing: of these samples.

    Raises:
        ValueError: for a prompt that is longer than the model.
    """
    prefix, cache = _prefill(model, prompts, sharing.firsts)
    rest, _ = _rest(model, prompts(_without_pictures(samples)))
    width = max(map(len, rest))
    pad = model.processor.tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rest])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rest])
    rows = torch.tensor(sharing.groups)
    begun = prefix.cpu()[rows]
    cache.batch_select_indices(rows)
    refuse_overlong(model, begun.shape[1] + width)
    return {
        "input_ids": torch.cat([begun, ids], 1).to(model.device),
        "attention_mask": torch.cat([torch.ones_like(begun), mask], 1).to(model.device),
        CACHE: cache,
    }


def choice_inputs(
    model: TheWorld,
    prompts: Collator,
    candidates: Collator,
    answered: Sequence[Sample],
    groups: Sequence[int],
    firsts: Sequence[Sample],
) -> tuple[dict[str, Any], Int[Tensor, "R S"]]:
    """Return the inputs of a forward pass after the prefixes, padded on the right, and its labels.

    Args:
        model: a TheWorld.
        prompts: makes batches for generation.
        candidates: makes supervised batches.
        answered: R samples, each with a choice as its answer.
        groups: the group of each.
        firsts: the first sample of each group.

    Raises:
        ValueError: for a prompt that is longer than the model.
    """
    prefix, cache = _prefill(model, prompts, firsts)
    rest, labels = _rest(model, candidates(_without_pictures(answered)))
    assert labels is not None  # since the candidates are supervised
    width, begun = max(map(len, rest)), prefix.shape[1]
    pad = model.processor.tokenizer.pad_token_id
    ids = torch.tensor([row + [pad] * (width - len(row)) for row in rest])
    mask = torch.tensor([[1] * (begun + len(row)) + [0] * (width - len(row)) for row in rest])
    cache.batch_select_indices(torch.tensor(groups))
    refuse_overlong(model, begun + width)
    inputs: dict[str, Any] = {
        "input_ids": ids.to(model.device),
        "attention_mask": mask.to(model.device),
        "position_ids": torch.arange(begun, begun + width, device=model.device).expand(len(rest), -1),
        CACHE: cache,
    }
    return inputs, torch.tensor([row + [IGNORE_INDEX] * (width - len(row)) for row in labels])


def _prefill(model: TheWorld, prompts: Collator, firsts: Sequence[Sample]) -> tuple[Int[Tensor, "U P"], DynamicCache]:
    """Return the ids and the keys of U prefixes, each up to its last picture."""
    inputs = place(model, prompts([replace(sample, turns=(Turn("user", ""),)) for sample in firsts]))
    length = prefix_length(model.processor, inputs["input_ids"])
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        inputs[name] = inputs[name][:, :length]
    return inputs["input_ids"], prefix_keys(model, inputs)


def _rest(model: TheWorld, batch: dict[str, Any]) -> tuple[list[list[int]], list[list[int]] | None]:
    """Return the ids after the pictures of each row of a batch without pictures, and their labels if it has any."""
    header, gap = question_place(model.processor)
    masks = batch["attention_mask"].bool()
    ids = [[*gap, *row[mask].tolist()[header:]] for row, mask in zip(batch["input_ids"], masks, strict=True)]
    if "labels" not in batch:
        return ids, None
    ignored = [IGNORE_INDEX] * len(gap)
    return ids, [[*ignored, *row[mask].tolist()[header:]] for row, mask in zip(batch["labels"], masks, strict=True)]


def _without_pictures(samples: Sequence[Sample]) -> list[Sample]:
    return [replace(sample, images=(), clips=None, future=None) for sample in samples]


def _contents(sample: Sample) -> Hashable:
    """Return a key that samples with equal pictures, clips and K share."""
    clips = None if sample.clips is None else tuple(_of_clip(clip) for clip in sample.clips)
    return tuple(map(_of_picture, sample.images)), clips, sample.num_world_steps


def _of_clip(clip: Any) -> Hashable:
    return _of_picture(clip) if isinstance(clip, np.ndarray | Tensor) else tuple(map(_of_picture, clip))


def _of_picture(picture: Any) -> Hashable:
    """Return a key of a picture's content; two keys of one picture, as of a path and its bytes, cost only time."""
    if isinstance(picture, str | Path | bytes):
        return picture
    if isinstance(picture, Image.Image):
        content = to_image(picture)
        return content.size, _digest(content.tobytes())
    if isinstance(picture, Tensor):
        picture = picture.cpu().numpy()
    if isinstance(picture, np.ndarray):
        return picture.shape, str(picture.dtype), _digest(picture.tobytes())
    return id(picture)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
