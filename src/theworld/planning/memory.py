"""Memory of a training run on one device, by part and at the moments of its peaks."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from theworld.config.commands import PlanSettings
from theworld.modeling import TheWorld
from theworld.modeling.quantization import STORED_BYTES
from theworld.planning.batch_shape import BatchShape
from theworld.planning.blocks import Step
from theworld.planning.world_cost import WorldCost

PARTS = {
    "vision": ("model.vision_tower.", "model.multi_modal_projector.", "model.embed_vision.", "model.visual."),
    "audio, unused": ("model.audio_tower.", "model.embed_audio."),
    "language": ("model.language_model.", "lm_head."),
    "projector": ("world.",),
}
"""Prefixes of the parameter names of each part; an adapter belongs to the part that it adapts."""
WORLD = "world"
_ADAM_BYTES = 8
"""Two float32 moments of each trained weight."""
_GRADIENT_BYTES = 4


@dataclass(frozen=True)
class Held:
    """Bytes of one part, through the whole run or a whole step."""

    weights: int
    gradients: int
    optimizer: int
    activations: int = 0
    """Held between a forward and its backward pass."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    parts: dict[str, Held]
    logits: int
    """Logits of the supervised positions, with the tensors of the loss."""
    cache: int
    """Keys and values of a batch of prompts, in evaluation."""
    moments: dict[str, int]
    """Bytes in use at each moment at which the peak can be."""

    @property
    def peak(self) -> int:
        """Peak over all moments."""
        return max(self.moments.values())


def memory_of(
    model: TheWorld, settings: PlanSettings, rows: BatchShape, world: WorldCost, step: Step, answering: int
) -> Memory:
    """Add up the memory of one device.

    Args:
        model: on `meta`, frozen as for training.
        settings: of the run.
        rows: shape of the batch of a device.
        world: cost of the world model, whose networks are not sharded.
        step: activation memory of a forward and backward pass.
        answering: peak bytes at the start of an answer.
    """
    shares = settings.num_devices if settings.sharding == "fsdp" else 1
    kept = {"vision": step.vision, "language": step.language, "projector": step.projector}
    parts = {
        part: replace(_held(weights, shares), activations=kept[part].activations if part in kept else 0)
        for part, names in PARTS.items()
        if (weights := _named(model, names)) or part in kept
    }
    parts[WORLD] = Held(
        world.weights,
        world.trained * _GRADIENT_BYTES,
        world.trained * _ADAM_BYTES,
        world.traced.kept if world.trained else 0,
    )
    gathered = _gathered(model) if shares > 1 else _dequantized(model)
    table: Any = model.get_input_embeddings()
    embedding = table.weight.numel() * _GRADIENT_BYTES if table.weight.requires_grad else 0
    moments = _moments(settings, parts, step, world, gathered, embedding // shares)
    cache = cache_bytes(model, rows)
    if settings.objective == "answers":
        last_logits = rows.num_rows * table.weight.shape[0] * torch.float32.itemsize
        held = sum(part.weights + part.optimizer for part in parts.values())
        moments["answering"] = held + gathered + cache + answering + last_logits
    return Memory(parts, step.logits.activations, cache, moments)


def _moments(
    settings: PlanSettings, parts: dict[str, Held], step: Step, world: WorldCost, gathered: int, embedding: int
) -> dict[str, int]:
    """Return the bytes in use at each moment, an upper bound; gradients grow while activations shrink.

    Args:
        gathered: weights that sharding gathers for a while.
        embedding: bytes of a gradient of the embedding table, if it is trained: one comes from the logits, one
            from the embeddings themselves, and their sum is a third.
    """
    stored = settings.store_dir is not None and world.weights > 0
    weights = sum(part.weights for part in parts.values())
    held = weights + sum(part.optimizer for part in parts.values()) + gathered
    before_model: dict[str, int] = {}
    if stored:  # the world model leaves memory before training begins
        before_model["world features computed"] = weights + world.traced.kept + world.traced.forward
        held -= parts[WORLD].weights
    buckets = 2 if settings.num_devices > 1 and settings.sharding == "ddp" else 1
    gradients = buckets * sum(part.gradients for part in parts.values())
    # Gradients stay from one micro-batch to the next; DDP's buckets always stay.
    before = gradients if settings.gradient_accumulation_steps > 1 else gradients // 2 * (buckets - 1)
    if world.weights and not stored:
        before_model["world read"] = held + before + world.traced.kept + world.traced.forward
    kept = sum(part.activations for part in parts.values())
    logits = step.logits
    tied = max(before, embedding)
    language = max(before, buckets * parts["language"].gradients)
    first = kept - parts["language"].activations
    backward = max(step.vision.backward, world.traced.backward if world.trained else 0)
    return {
        **before_model,
        "pictures seen": held + before + step.vision.activations + step.vision.forward,
        "language model run": held + before + kept + step.language.copies + step.language.forward,
        "loss computed": held + before + kept + step.language.copies + logits.activations + logits.forward,
        "loss differentiated": held + tied + kept + logits.activations + logits.backward,
        "last layer differentiated": held + tied + kept + step.language.backward,
        "first layer differentiated": held + language + 2 * embedding + first + backward,
        "weights moved": held + gradients,
    }


def cache_bytes(model: TheWorld, rows: BatchShape) -> int:
    """Return bytes of keys and values; sliding layers hold a window, layers that share those of others nothing."""
    config: Any = model.config.text
    table: Any = model.get_input_embeddings()
    layers: Any = model.model.language_model.layers
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * len(layers)
    channels = 0
    for kind, layer in zip(kinds, layers, strict=True):
        if (keys := getattr(layer.self_attn, "k_proj", None)) is not None:
            length = min(rows.length, config.sliding_window) if kind == "sliding_attention" else rows.length
            channels += length * keys.out_features
    return 2 * rows.num_rows * channels * table.weight.element_size()


def _gathered(model: TheWorld) -> int:
    """Return the bytes that FSDP gathers on every device: all weights outside blocks, the active block, the next."""
    names = model._no_split_modules or set()
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    inside = {id(weight): weight for block in blocks for weight in block.parameters()}
    root = [weight for weight in model.parameters() if id(weight) not in inside]
    largest = max(_size(list(block.parameters())) for block in blocks)
    return _size(root) + 2 * largest


def _dequantized(model: TheWorld) -> int:
    """Return the bytes of the largest weight in 4 bits, in the format that it computes in: one at a time exists so."""
    return max((weight.nbytes for weight in model.parameters() if hasattr(weight, STORED_BYTES)), default=0)


def _size(weights: list[nn.Parameter]) -> int:
    return sum(getattr(weight, STORED_BYTES, weight.nbytes) for weight in weights)


def _named(model: nn.Module, prefixes: Iterable[str]) -> list[nn.Parameter]:
    return [weight for name, weight in model.named_parameters() if name.startswith(tuple(prefixes))]


def _held(weights: list[nn.Parameter], shares: int) -> Held:
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    return Held(_size(weights) // shares, trained * _GRADIENT_BYTES // shares, trained * _ADAM_BYTES // shares)
