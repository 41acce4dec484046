"""Answers of a small Gemma 3 to tokenised conversations: their loss, and whether each comes out right."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional
from transformers import Gemma3ForConditionalGeneration

from theworld.constants import IGNORE_INDEX


def to_pixels(pictures: UInt8[np.ndarray, "N H W 3"], chosen: Int[Tensor, " n"]) -> Float[Tensor, "n 3 H W"]:
    """Pictures as the image processor gives them if their size fits: in [-1, 1]."""
    return torch.from_numpy(pictures[chosen.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1


def answered(
    gemma: Gemma3ForConditionalGeneration,
    input_ids: Int[Tensor, "B L"],
    labels: Int[Tensor, "B L"],
    pixel_values: Float[Tensor, "n 3 H W"],
) -> Any:
    """What the model gives for a padded batch: the loss, and logits (n, V) of the supervised tokens, row by row."""
    shifted = functional.pad(labels, (0, 1), value=IGNORE_INDEX)[:, 1:]
    keep = shifted != IGNORE_INDEX
    return gemma(
        input_ids=input_ids,
        attention_mask=(input_ids != 0).long(),  # 0 is <pad>
        token_type_ids=(input_ids == gemma.config.image_token_id).long(),  # within a picture attention goes both ways
        pixel_values=pixel_values,
        labels=labels,
        shift_labels=shifted[keep],
        logits_to_keep=keep,
    )


@torch.no_grad()
def right_answers(
    gemma: Gemma3ForConditionalGeneration, batch: dict[str, Tensor], pictures: UInt8[np.ndarray, "N H W 3"]
) -> list[bool]:
    """Whether greedy decoding would give each answer of a batch and end it there, in the order of the questions.

    The answers of earlier turns are given.
    """
    labels = batch["labels"]
    logits = answered(gemma, batch["input_ids"], labels, to_pixels(pictures, batch["pictures"])).logits
    expected = labels[labels != IGNORE_INDEX]
    [*_, end] = gemma.generation_config.eos_token_id  # pyright: ignore[reportOptionalIterable, reportGeneralTypeIssues]
    marks, whole = [], True
    for equal, token in zip((logits.argmax(-1) == expected).tolist(), expected.tolist(), strict=True):
        whole = whole and equal
        if token == end:
            marks.append(whole)
            whole = True
    return marks
