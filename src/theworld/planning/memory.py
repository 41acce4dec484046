"""What a training run holds in the memory of one device, by part, and at which moment it holds most."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from theworld.config.commands import PlanSettings
from theworld.modeling import TheWorld
from theworld.planning.batch_shape import Rows
from theworld.planning.blocks import Step
from theworld.planning.world_cost import Reading

PARTS = {
    "Gemma vision": ("model.vision_tower.", "model.multi_modal_projector."),
    "Gemma language": ("model.language_model.", "lm_head."),
    "projector": ("world.",),
}
"""Part to the beginnings of its parameters' names; adapters belong to the part that they stand in."""
WORLD = "world"
_ADAM_BYTES = 8
"""Two float32 moments of each number that trains."""
_GRADIENT_BYTES = 4


@dataclass(frozen=True)
class Held:
    """Bytes of one part, through the whole run or a whole step."""

    weights: int
    gradients: int
    optimizer: int
    activations: int = 0
    """Kept between a forward and its backward pass."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device."""

    parts: dict[str, Held]
    logits: int
    """Of the supervised positions, with what the loss makes of them."""
    cache: int
    """Keys and values of a batch of prompts, in evaluation."""
    moments: dict[str, int]
    """All that is held, at each moment at which it can be most."""

    @property
    def peak(self) -> int:
        """The most at any moment."""
        return max(self.moments.values())


def memory_of(
    model: TheWorld, settings: PlanSettings, rows: Rows, reading: Reading, step: Step, answering: int
) -> Memory:
    """Add up what one device holds.

    Args:
        model: on `meta`, frozen as it will train.
        settings: of the run.
        rows: the batch of a device.
        reading: of the world; its networks stay outside what is sharded.
        step: of a forward and backward pass.
        answering: bytes in passing where an answer begins.
    """
    shares = settings.num_devices if settings.sharding == "fsdp" else 1
    kept = {"Gemma vision": step.vision, "Gemma language": step.language, "projector": step.projector}
    parts = {
        part: replace(_held(_named(model, names), shares), activations=kept[part].activations)
        for part, names in PARTS.items()
    }
    parts[WORLD] = Held(
        reading.weights,
        reading.trained * _GRADIENT_BYTES,
        reading.trained * _ADAM_BYTES,
        reading.traced.kept if reading.trained else 0,
    )
    gathered = _gathered(model) if shares > 1 else 0
    table: Any = model.get_input_embeddings()
    embedding = table.weight.numel() * _GRADIENT_BYTES if table.weight.requires_grad else 0
    moments = _moments(settings, parts, step, reading, gathered, embedding // shares)
    cache = cache_bytes(model, rows)
    if settings.objective == "answers":
        last_logits = rows.num_rows * table.weight.shape[0] * torch.float32.itemsize
        held = sum(part.weights + part.optimizer for part in parts.values())
        moments["answering"] = held + gathered + cache + answering + last_logits
    return Memory(parts, step.logits.activations, cache, moments)


def _moments(
    settings: PlanSettings, parts: dict[str, Held], step: Step, reading: Reading, gathered: int, embedding: int
) -> dict[str, int]:
    """All that is held when each of these ends, at its worst; gradients grow while activations go.

    Args:
        gathered: weights that sharding puts together for a while.
        embedding: bytes of a gradient of Gemma's table of embeddings, if it trains: one comes from the logits, one
            from the embeddings themselves, and their sum is a third.
    """
    stored = settings.store_dir is not None and reading.weights > 0
    weights = sum(part.weights for part in parts.values())
    held = weights + sum(part.optimizer for part in parts.values()) + gathered
    found: dict[str, int] = {}
    if stored:  # the world is gone before training begins
        found["world features computed"] = weights + reading.traced.kept + reading.traced.forward
        held -= parts[WORLD].weights
    buckets = 2 if settings.num_devices > 1 and settings.sharding == "ddp" else 1
    gradients = buckets * sum(part.gradients for part in parts.values())
    # From one micro-batch to the next gradients stay; DDP's buckets always do.
    before = gradients if settings.gradient_accumulation_steps > 1 else gradients // 2 * (buckets - 1)
    if reading.weights and not stored:
        found["world read"] = held + before + reading.traced.kept + reading.traced.forward
    kept = sum(part.activations for part in parts.values())
    logits = step.logits
    tied = max(before, embedding)
    language = max(before, buckets * parts["Gemma language"].gradients)
    first = kept - parts["Gemma language"].activations
    world = reading.traced.backward if reading.trained else 0
    return {
        **found,
        "pictures seen": held + before + step.vision.activations + step.vision.forward,
        "language model run": held + before + kept + step.language.copies + step.language.forward,
        "loss computed": held + before + kept + step.language.copies + logits.activations + logits.forward,
        "loss differentiated": held + tied + kept + logits.activations + logits.backward,
        "last layer differentiated": held + tied + kept + step.language.backward,
        "first layer differentiated": held + language + 2 * embedding + first + max(step.vision.backward, world),
        "weights moved": held + gradients,
    }


def cache_bytes(model: TheWorld, rows: Rows) -> int:
    """Keys and values of a batch: 2 x rows x positions x heads x width a layer; sliding layers hold their window."""
    config: Any = model.config.text
    table: Any = model.get_input_embeddings()
    positions = sum(
        min(rows.length, config.sliding_window) if kind == "sliding_attention" else rows.length
        for kind in config.layer_types
    )
    return 2 * rows.num_rows * positions * config.num_key_value_heads * config.head_dim * table.weight.element_size()


def _gathered(model: TheWorld) -> int:
    """What FSDP has whole on every device: all that lies in no block, a block at work and the next one."""
    names = model._no_split_modules or set()
    blocks = [module for module in model.modules() if type(module).__name__ in names]
    inside = {id(weight): weight for block in blocks for weight in block.parameters()}
    root = [weight for weight in model.parameters() if id(weight) not in inside]
    largest = max(_size(list(block.parameters())) for block in blocks)
    return _size(root) + 2 * largest


def _size(weights: list[nn.Parameter]) -> int:
    return sum(one.numel() * one.element_size() for one in weights)


def _named(model: nn.Module, beginnings: Iterable[str]) -> list[nn.Parameter]:
    return [weight for name, weight in model.named_parameters() if name.startswith(tuple(beginnings))]


def _held(weights: list[nn.Parameter], shares: int) -> Held:
    trained = sum(one.numel() for one in weights if one.requires_grad)
    return Held(_size(weights) // shares, trained * _GRADIENT_BYTES // shares, trained * _ADAM_BYTES // shares)
