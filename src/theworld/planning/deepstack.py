"""Pictures of Qwen3-VL in a training step: its tower as a whole, and the features that enter the first layers."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from theworld.modeling import TheWorld
from theworld.modeling.bases import QWEN3_VL
from theworld.planning.activations import Precision, Traced, trace
from theworld.planning.batch_shape import BatchShape

_TAPS = 4
"""Learned positions that make up that of a patch (bilinear)."""


def trace_tower(model: TheWorld, rows: BatchShape, num_pictures: int, precision: Precision, recomputes: bool) -> Traced:
    """Trace the tower by its own code, with the layers that make tokens of patches.

    Pictures are not padded. All count as equally large, which changes nothing but the squares of plain attention.

    Args:
        model: on `meta`, frozen as for training, without flash attention.
        rows: the batch.
        num_pictures: of all rows.
        precision: of the forward pass.
        recomputes: True for a run with checkpointing.

    Returns:
        The bytes; kept are also the features of all depths, which stay beside the model until its forward pass ends.
    """
    tower: Any = model.model.visual
    num_patches, num_values = rows.picture
    length = num_pictures * num_patches
    # Numbers, since the tower cuts its sequence at them, and tensors without storage have none.
    ends = np.arange(num_pictures + 1) * num_patches

    def inputs() -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        return (torch.empty(length, num_values),), {
            "interp_indices": torch.empty(length, _TAPS, dtype=torch.long),
            "interp_weights": torch.empty(length, _TAPS),
            "position_ids": torch.empty(length, 2, dtype=torch.long),
        }

    def run(twin: Any, pixels: Tensor, **places: Tensor) -> Tensor:
        if recomputes:  # as the whole model sets it; the public method warns that a tower has no table of ids
            twin._set_gradient_checkpointing(gradient_checkpointing_func=partial(checkpoint, use_reentrant=False))
        seen = twin(pixels.type(twin.dtype), grid_thw=None, cu_seqlens=ends, return_dict=True, **places)
        return torch.cat([seen.pooler_output, *seen.deepstack_features])

    return trace(tower, inputs, precision, flows=False, run=run)


def deepstack_inputs(model: TheWorld, rows: BatchShape) -> dict[str, Any]:
    """Make the language model's inputs for pictures that enter its first layers; none on other bases.

    The step that adds them finds its tokens by a mask. Without storage a mask has no number of True, so places (P, 2),
    a row and a column for each image token, take its argument: see `add_by_places`.
    """
    if model.config.BASE is not QWEN3_VL or not rows.num_pictures:
        return {}
    tower: Any = model.model.visual
    num_tokens = rows.num_pictures * rows.picture[0] // tower.spatial_merge_unit
    width, dtype = model.config.text.hidden_size, tower.dtype
    trains = any(weight.requires_grad for weight in tower.parameters())
    features = [torch.empty(num_tokens, width, dtype=dtype).requires_grad_(trains) for _ in tower.deepstack_merger_list]
    return {
        "visual_pos_masks": torch.empty(num_tokens, 2, dtype=torch.long),
        "deepstack_visual_embeds": features,
    }


def add_by_places(states: Tensor, places: Tensor, features: Tensor) -> Tensor:
    """Add features to states as Qwen3-VL does, by places instead of a mask.

    Args:
        states: (B, L, D).
        places: (P, 2), rows and columns.
        features: (P, D).
    """
    rows, columns = places.unbind(1)
    states = states.clone()
    states[rows, columns] = states[rows, columns] + features.to(states.dtype)
    return states
