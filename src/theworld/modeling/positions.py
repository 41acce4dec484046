"""Positions of world tokens on a base whose positions have a time, a height and a width (mRoPE, Qwen3-VL)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from theworld.modeling.configuration import WorldFields


class Clips(NamedTuple):
    """The clips in a prompt, which all have one shape."""

    tokens: Bool[Tensor, "B L"]
    """True at the world tokens, without their markers."""
    num_slots: int
    grid: int
    """Side of a slot's grid."""


def clips_in(config: WorldFields, input_ids: Int[Tensor, "B L"]) -> Clips | None:
    """Find the clips of a prompt; None for no clips, tokens that form no grid, and counts that the fusion refuses."""
    if not config.enable_world or config.world_projection_mode == "channel":
        return None
    tokens = input_ids == config.world_token_id
    num_clips = int((input_ids == config.sow_token_id).sum())
    num_tokens, num_left = divmod(int(tokens.sum()), max(num_clips, 1))
    if not num_tokens or num_left or num_tokens % config.tokens_per_slot:
        return None
    return Clips(tokens, num_tokens // config.tokens_per_slot, config.grid)


def with_clips(
    positions: Int[Tensor, "3 B L"], clips: Clips, attention_mask: Int[Tensor, "B L"] | None
) -> tuple[Int[Tensor, "3 B L"], Int[Tensor, "B 1"]]:
    """Give world tokens the positions of a video: a time for each slot, and a height and a width for each cell.

    A clip of 2 slots of 2 x 2 cells, a marker before it and text behind it:

                     SOW | slot 0      | slot 1      | EOW text
        as text        0 | 1  2  3  4  | 5  6  7  8  |   9   10
        time           0 | 1  1  1  1  | 2  2  2  2  |   3    4
        height         0 | 1  1  2  2  | 1  1  2  2  |   3    4
        width          0 | 1  2  1  2  | 1  2  1  2  |   3    4

    The text goes on after the largest position of the clip, so no two tokens share one.

    Args:
        positions: time, height and width with world tokens as text, and pictures in place.
        clips: of the prompt.
        attention_mask: 0 at padding, whose positions stay; None: no padding.

    Returns:
        The positions, and for each row the next one minus its number of tokens.
    """
    tokens, num_slots, grid = clips
    length = num_slots * grid**2
    cell = torch.arange(length, device=positions.device)
    in_clip = torch.stack([cell // grid**2, cell % grid**2 // grid, cell % grid])
    earlier = tokens.cumsum(-1) - tokens.long()  # world tokens before each position
    place = earlier % length
    saved = length - max(num_slots, grid)  # positions that a clip does not use
    moved = positions - earlier // length * saved
    moved = torch.where(tokens, moved - place + in_clip[:, place], moved)
    num_tokens = tokens.shape[1]
    if attention_mask is not None:
        moved = torch.where(attention_mask.bool(), moved, positions)
        num_tokens = attention_mask.sum(-1, keepdim=True)
    last = moved.amax(0).amax(-1, keepdim=True)
    return moved, last + 1 - num_tokens
