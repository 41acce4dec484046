"""Attention masks for rows of several samples, which do not attend to each other."""

from typing import Any, Final

import torch
from jaxtyping import Int
from torch import Tensor
from transformers.models.gemma3.modeling_gemma3 import get_block_sequence_ids_for_mask

MASKED: Final = ("sdpa", "eager")
"""Implementations of attention that accept any mask."""


def packed_masks(
    packed_samples: Int[Tensor, "B L"], token_type_ids: Int[Tensor, "B L"] | None, config: Any, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Make the masks for each type of layer: Gemma 3's mask within a sample, no attention between samples.

        sample    0  0  0  0  0  1  1  1            x  query (row) attends to key (column)
        token     t  v  v  t  t  t  v  t            t  text or world, v  image

              t   x  .  .  .  .  .  .  .
              v   x  x  x  .  .  .  .  .            both ways within an image
              v   x  x  x  .  .  .  .  .
              t   x  x  x  x  .  .  .  .            backwards elsewhere
              t   x  x  x  x  x  .  .  .
              t   .  .  .  .  .  x  .  .            never into another sample
              v   .  .  .  .  .  x  x  .
              t   .  .  .  .  .  x  x  x

    Layers with a sliding window keep the last `config.sliding_window` positions and those ahead. Padding is a sample of
    its own: a position without any key would be NaN.

    Args:
        packed_samples: index of each position's sample within its row.
        token_type_ids: 1 at image tokens; None: no images.
        config: of the language model.
        dtype: of its embeddings.

    Returns:
        full_attention and sliding_attention, each (B, 1, L, L): bool (sdpa), or a term for the scores (eager).

    Raises:
        ValueError: for an implementation of attention that does not accept such masks.
    """
    implementation = config._attn_implementation
    if implementation not in MASKED:
        raise ValueError(
            f"attn_implementation={implementation!r} takes no mask that keeps packed samples apart: use"
            f" {' or '.join(MASKED)}, or packing=False"
        )
    position = torch.arange(packed_samples.shape[1], device=packed_samples.device)
    back = position[:, None] - position  # (L, L): positions from a key to its query
    visible = back >= 0
    if token_type_ids is not None:
        image = get_block_sequence_ids_for_mask(token_type_ids, device=packed_samples.device)
        visible = visible | ((image[:, :, None] == image[:, None, :]) & (image >= 0)[:, :, None])
    visible = visible & (packed_samples[:, :, None] == packed_samples[:, None, :])
    masks = {"full_attention": visible, "sliding_attention": visible & (back < config.sliding_window)}
    if implementation == "eager":
        lowest = torch.finfo(dtype).min
        return {
            kind: torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, lowest)[:, None]
            for kind, mask in masks.items()
        }
    return {kind: mask[:, None] for kind, mask in masks.items()}


def image_positions(
    token_type_ids: Int[Tensor, "B L"] | None, input_ids: Int[Tensor, "B L"] | None, pixel_values: Any, image_token: int
) -> Int[Tensor, "B L"] | None:
    """Return token_type_ids, or make those of the processor if they are missing beside pictures.

    Without them Gemma 3 would run with causal masks inside of pictures, and give other logits without a word.

    Args:
        token_type_ids: as given; 1 at image tokens.
        input_ids: of the rows.
        pixel_values: None: no pictures, or pictures in the cache.
        image_token: id of the image token.
    """
    if token_type_ids is not None or pixel_values is None or input_ids is None:
        return token_type_ids
    return (input_ids == image_token).long()
