"""Placeholders of the world in a sequence: where they are, and a check of their number against clips and slots."""

from jaxtyping import Bool, Int, UInt8
from torch import Tensor

from theworld.config.world import check_world_steps
from theworld.modeling.configuration import WorldFields


def check_placeholders(
    config: WorldFields,
    input_ids: Int[Tensor, "B L"],
    world_pixels: UInt8[Tensor, "N F 3 H W"],
    num_world_steps: int,
) -> None:
    """Check clips and K against the placeholders of the prompt, before the world model reads anything.

    Raises:
        ValueError: for a K that the tap cannot serve, or another number of placeholders, with both numbers of slots.
    """
    check_world_steps(num_world_steps, config.max_world_steps)
    clips, num_frames = world_pixels.shape[:2]
    num_slots = config.world_settings().num_slots(num_frames, num_world_steps)
    if not config.tokens_per_slot:  # residual fusion writes none
        return
    marks = (input_ids == config.sow_token_id).sum().item(), (input_ids == config.eow_token_id).sum().item()
    written = (input_ids == config.world_token_id).sum().item()
    if marks == (clips, clips) and written != clips * num_slots * config.tokens_per_slot:
        slots_written = written / (clips * config.tokens_per_slot)
        raise ValueError(
            f"num_world_steps={num_world_steps} makes {num_slots} slots a clip, and the prompt has placeholders for"
            f" {slots_written:g}: give the processor's call the same num_world_steps"
        )
    world_mask(config, input_ids, clips, num_slots * config.tokens_per_slot + 2)


def world_mask(config: WorldFields, input_ids: Int[Tensor, "B L"], clips: int, length: int) -> Bool[Tensor, "B L"]:
    """Find the positions of markers and world tokens, and check them against the features row by row.

    Args:
        config: of the model.
        input_ids: all rows.
        clips: N, clips of all rows.
        length: positions of a clip, markers included.

    Raises:
        ValueError: with both counts, or for a run that is broken.
    """
    start, end = input_ids == config.sow_token_id, input_ids == config.eow_token_id
    mask = start | end | (input_ids == config.world_token_id)
    per_row, clips_per_row = mask.sum(-1), start.sum(-1)
    if int(clips_per_row.sum()) != clips or bool((per_row != clips_per_row * length).any()):
        raise ValueError(
            f"world placeholders per row (markers included): {per_row.tolist()} in {clips_per_row.tolist()} blocks;"
            f" features: {clips} clips of {length} each. Were they processed with another num_world_steps?"
        )
    blocks = input_ids[mask].view(clips, length)
    if bool((blocks[:, 0] != config.sow_token_id).any()) or bool((blocks[:, -1] != config.eow_token_id).any()):
        raise ValueError(f"world placeholders must come in runs of {length}: start marker, tokens, end marker")
    return mask
