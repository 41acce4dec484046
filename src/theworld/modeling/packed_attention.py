"""Masks for rows that hold several samples, none of which sees another."""

from typing import Any, Final

import torch
from jaxtyping import Int
from torch import Tensor
from transformers.models.gemma3.modeling_gemma3 import get_block_sequence_ids_for_mask

MASKED: Final = ("sdpa", "eager")
"""Implementations of attention that take a mask of any form."""


def packed_masks(
    packed_samples: Int[Tensor, "B L"], token_type_ids: Int[Tensor, "B L"] | None, config: Any, dtype: torch.dtype
) -> dict[str, Tensor]:
    """Gemma 3's mask within each sample, and nothing between samples; per type of layer, as its forward takes it.

        sample    0  0  0  0  0  1  1  1            x  query (row) sees key (column)
        token     t  v  v  t  t  t  v  t            t  text or world, v  image

              t   x  .  .  .  .  .  .  .
              v   x  x  x  .  .  .  .  .            both ways within an image
              v   x  x  x  .  .  .  .  .
              t   x  x  x  x  .  .  .  .            backwards elsewhere
              t   x  x  x  x  x  .  .  .
              t   .  .  .  .  .  x  .  .            never into another sample
              v   .  .  .  .  .  x  x  .
              t   .  .  .  .  .  x  x  x

    Layers with a sliding window see of this the last `config.sliding_window` positions and what lies ahead. Padding is
    a sample like any other, which nobody looks at: a position that sees nothing would be NaN.

    Args:
        packed_samples: number of each position's sample within its row.
        token_type_ids: 1 at image tokens; None: no images.
        config: of the language model.
        dtype: of its embeddings.

    Returns:
        Of full_attention and sliding_attention, each (B, 1, L, L): bool (sdpa), or what is added to scores (eager).

    Raises:
        ValueError: for an implementation of attention that takes no such mask.
    """
    implementation = config._attn_implementation
    if implementation not in MASKED:
        raise ValueError(
            f"attn_implementation={implementation!r} takes no mask that keeps packed samples apart: use"
            f" {' or '.join(MASKED)}, or packing=False"
        )
    position = torch.arange(packed_samples.shape[1], device=packed_samples.device)
    back = position[:, None] - position  # (L, L): how far a key lies behind its query
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
