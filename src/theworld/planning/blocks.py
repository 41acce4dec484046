"""Activation memory of each part of the fused model in a training step."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from theworld.config import TrainingConfig
from theworld.modeling import TheWorld
from theworld.modeling.bases import GEMMA4, QWEN3_VL
from theworld.modeling.projector import WorldBlock
from theworld.planning.activations import Precision, Traced, trace
from theworld.planning.batch_shape import BatchShape
from theworld.planning.deepstack import add_by_places, deepstack_inputs, trace_tower


@dataclass(frozen=True)
class Kept:
    """Bytes of one part in a training step."""

    activations: int = 0
    """Held until the backward pass reaches them."""
    forward: int = 0
    """Peak of the forward pass of the part, beyond the activations."""
    backward: int = 0
    """Peak of its backward pass, beyond the activations."""
    copies: int = 0
    """Copies of float32 weights in the format of the forward pass, if they stay beside recomputed activations."""


@dataclass(frozen=True)
class Step:
    """Activation memory of each part in one forward and backward pass."""

    vision: Kept = field(default_factory=Kept)
    language: Kept = field(default_factory=Kept)
    projector: Kept = field(default_factory=Kept)
    logits: Kept = field(default_factory=Kept)


def step_of(model: TheWorld, config: TrainingConfig, rows: BatchShape) -> Step:
    """Trace the parts of a step.

    Args:
        model: on `meta`, frozen as for training.
        config: precision, checkpointing and objective of the run.
        rows: the batch.
    """
    precision, recomputes = config.precision, config.gradient_checkpointing
    world = Kept()
    if model.config.enable_world and rows.num_clips:
        world = _once(_world(model, rows, precision))
    if config.objective == "imitation":
        slots = rows.num_world_steps + 1
        return Step(vision=_vision(model, rows, rows.num_clips * slots, precision, recomputes), projector=world)
    return Step(
        vision=_vision(model, rows, rows.num_pictures, precision, recomputes),
        language=_language(model, rows, precision, recomputes),
        projector=world,
        logits=_once(_logits(model, rows, precision)),
    )


def forward_of(model: TheWorld, rows: BatchShape, precision: Precision = "fp32") -> int:
    """Return the peak bytes at the start of an answer: the language model at all positions."""
    return _trace_language(model, rows, precision, answers=True).forward


def _once(traced: Traced) -> Kept:
    return Kept(traced.kept, traced.forward, traced.backward)


def _stack(layer: Traced, num_layers: int, stream: int, copies: int, recomputes: bool) -> Kept:
    """Add up equal layers: each keeps its activations, or only its input if checkpointing computes them again."""
    if recomputes and layer.backward:
        again = layer.kept + layer.backward
        return Kept(num_layers * stream, layer.kept + layer.forward, again, copies)
    return Kept(num_layers * layer.kept, layer.forward, layer.backward)


# --- the language model --------------------------------------------------------------------------------------


def _language(model: TheWorld, rows: BatchShape, precision: Precision, recomputes: bool) -> Kept:
    """Trace the language model as a whole; add the masks, one of each kind of attention."""
    traced = _trace_language(model, rows, precision, recomputes=recomputes)
    whole = _whole(traced, _copies(model.model.language_model, precision) if recomputes else 0)
    masks = _num_masks(model) * rows.num_rows * rows.length**2 * _mask_dtype(model).itemsize
    return replace(whole, activations=whole.activations + masks)


def _whole(traced: Traced, copies: int) -> Kept:
    """Recomputed layers keep no copies of weights, but those of a forward pass stay until it ends."""
    return Kept(traced.kept, max(0, traced.forward - copies), traced.backward, copies)


def _trace_language(
    model: TheWorld, rows: BatchShape, precision: Precision, *, answers: bool = False, recomputes: bool = False
) -> Traced:
    """Trace the way from ids to the last states, by the base's own code.

    Embeddings are looked up without gradients: `memory` adds those of the tables.
    """

    def inputs() -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        ids = torch.empty(rows.num_rows, rows.length, dtype=torch.long)
        dtype = _table(model).dtype
        world = torch.empty(rows.num_rows * rows.length, model.config.text.hidden_size, dtype=dtype)
        mask = torch.empty(rows.num_rows, 1, rows.length, rows.length, dtype=_mask_dtype(model))
        return (world,), {"ids": ids, "mask": mask, **deepstack_inputs(model, rows)}

    def run(twin: Any, world: Tensor, ids: Tensor, mask: Tensor, **pictures: Any) -> Tensor:
        if recomputes:
            twin.activation_checkpointing_enable({"use_reentrant": False})
        is_world = ids < 0
        with torch.no_grad():
            embeds, derived = twin.embed_prompt(ids, None, is_world)
        embeds = embeds.masked_scatter(is_world[..., None], world)
        kinds = getattr(model.config.text, "layer_types", None)
        masks = dict.fromkeys(kinds, mask) if kinds else mask
        language = twin.model.language_model
        if pictures:
            language._deepstack_process = add_by_places
        derived.pop("mm_encoder_outputs", None)  # for the model around the language model
        states = language(inputs_embeds=embeds, attention_mask=masks, use_cache=False, **derived, **pictures)
        return states.last_hidden_state

    return trace(_plain_attention(model), inputs, precision, flows=not answers, answers=answers, run=run)


def _table(model: TheWorld) -> Tensor:
    embed: Any = model.get_input_embeddings()
    return embed.weight


def _num_masks(model: TheWorld) -> int:
    return len(set(getattr(model.config.text, "layer_types", None) or [None]))


def _mask_dtype(model: TheWorld) -> torch.dtype:
    """Return the type of the attention mask: eager attention adds numbers, the fused kernels read booleans."""
    return _table(model).dtype if model.config.text._attn_implementation == "eager" else torch.bool


# --- the vision tower ----------------------------------------------------------------------------------------


def _vision(model: TheWorld, rows: BatchShape, num_pictures: int, precision: Precision, recomputes: bool) -> Kept:
    """Trace one layer of the tower, since all are alike; add the pictures in the processor's format."""
    if not num_pictures:
        return Kept()
    if model.config.BASE is QWEN3_VL:
        return _packed_vision(model, rows, num_pictures, precision, recomputes)
    tower: Any = model.model.vision_tower
    vision: Any = model.config.vision_config
    layer = _plain_attention(_encoder(tower).layers[0])
    trains = any(weight.requires_grad for weight in tower.parameters())
    dtype = next(weight.dtype for weight in tower.parameters() if weight.ndim > 1)
    num_patches = rows.num_patches(vision)

    def inputs() -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        states = torch.empty(num_pictures, num_patches, vision.hidden_size, dtype=dtype)
        if model.config.BASE is not GEMMA4:
            return (states,), {"attention_mask": None}
        turns = torch.empty(num_pictures, num_patches, vision.head_dim, dtype=dtype)
        return (states,), {
            "attention_mask": torch.empty(num_pictures, 1, num_patches, num_patches, dtype=torch.bool),
            "position_embeddings": (turns, turns),
            "position_ids": torch.empty(num_pictures, num_patches, 2, dtype=torch.long),
        }

    traced = trace(layer, inputs, precision, flows=trains)
    stream = num_pictures * num_patches * vision.hidden_size * dtype.itemsize
    pixels = num_pictures * math.prod(rows.picture) * torch.float32.itemsize
    masks = num_pictures * num_patches**2 if model.config.BASE is GEMMA4 else 0
    if not trains:
        return Kept(pixels, traced.kept + traced.forward + stream + masks)
    stack = _stack(traced, vision.num_hidden_layers, stream, _copies(tower, precision), recomputes)
    return Kept(pixels + masks + stack.activations + 2 * stream, stack.forward, stack.backward, stack.copies)


def _packed_vision(
    model: TheWorld, rows: BatchShape, num_pictures: int, precision: Precision, recomputes: bool
) -> Kept:
    """Trace a tower whose layers are not alike as a whole, its pictures in one sequence."""
    inner: Any = model.model
    tower = _plain_attention(inner.visual)
    traced = trace_tower(model, rows, num_pictures, precision, recomputes)
    whole = _whole(traced, _copies(tower, precision) if recomputes else 0)
    pixels = num_pictures * math.prod(rows.picture) * torch.float32.itemsize
    return replace(whole, activations=whole.activations + pixels)


def _encoder(tower: Any) -> Any:
    return getattr(tower, "vision_model", tower).encoder


# --- the world's own layers, and the logits ------------------------------------------------------------------


def _world(model: TheWorld, rows: BatchShape, precision: Precision) -> Traced:
    config = model.config
    grid = config.native_grid
    past = (rows.num_frames - 1) // 4
    slots = past + 1 + (0 if config.world_settings().sees_future else rows.num_world_steps)
    steps = (rows.num_world_steps,) if isinstance(model.world, WorldBlock) else ()

    def run(world: nn.Module, features: Tensor) -> Tensor:
        return world(features, *steps)

    shape = (rows.num_clips, config.world_channels, slots, grid, grid)
    return trace(model.world, lambda: ((torch.empty(shape),), {}), precision, flows=False, run=run)


class _Head(nn.Module):
    """From the last states to the loss, only at supervised positions."""

    def __init__(self, model: TheWorld) -> None:
        super().__init__()
        self.head = model.lm_head
        self.cap = getattr(model.config.text, "final_logit_softcapping", None)

    def forward(self, states: Tensor, num_supervised: int) -> Tensor:
        logits = self.head(states.flatten(0, 1)[:num_supervised])
        if self.cap is not None:
            logits = torch.tanh(logits / self.cap) * self.cap
        return F.cross_entropy(logits.float(), torch.zeros(num_supervised, dtype=torch.long))


def _logits(model: TheWorld, rows: BatchShape, precision: Precision) -> Traced:
    """Trace the head and the loss. The head's gradient counts with those of the language model."""

    def inputs() -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        shape = (rows.num_rows, rows.length, model.config.text.hidden_size)
        return (torch.empty(shape, dtype=_table(model).dtype),), {"num_supervised": rows.num_supervised}

    return trace(_Head(model), inputs, precision, flows=True)


def _copies(part: nn.Module, precision: Precision) -> int:
    """Return the bytes of autocast's copies: one of each trained float32 matrix, until the forward pass ends."""
    if precision == "fp32":
        return 0
    matrices = [weight for weight in part.parameters() if weight.requires_grad and weight.ndim > 1]
    return sum(2 * weight.numel() for weight in matrices if weight.dtype == torch.float32)


def _plain_attention(part: nn.Module) -> nn.Module:
    """Return the part with flash attention replaced by `sdpa`, which needs no package and keeps as much memory."""
    for module in part.modules():
        config: Any = getattr(module, "config", None)
        if getattr(config, "_attn_implementation", None) == "flash_attention_2":
            config._attn_implementation = "sdpa"
    return part
