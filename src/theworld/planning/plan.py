"""Plan: memory and time of a training run on each device, from settings and configuration files alone."""

from dataclasses import dataclass
from typing import Any

import torch

from theworld.config.commands import PlanSettings
from theworld.config.training import in_number_formats
from theworld.constants import IGNORE_INDEX, TEMPORAL_STRIDE
from theworld.modeling import TheWorld, freezing, lora, quantization
from theworld.modeling.configuration import WorldFields
from theworld.modeling.factory import configuration_of
from theworld.planning.batch_shape import BatchShape, batch_shape_of
from theworld.planning.blocks import forward_of, step_of
from theworld.planning.memory import Memory, memory_of
from theworld.planning.world_cost import world_cost_of
from theworld.precision import DTYPE_OF, warn_if_emulated
from theworld.tables import Table
from theworld.training.flops import WorkCounter, measured_peak
from theworld.world.loading import describe_world


@dataclass(frozen=True)
class Plan:
    """Memory and time of a run on each device."""

    settings: PlanSettings
    """Settings with every `auto` number format replaced by the choice of this machine."""
    rows: BatchShape
    memory: Memory
    world: str
    """Family of the world model, its name and its licence."""
    flops: float
    """Operations of an optimiser step on a device, frozen parts included."""
    num_steps: int
    """Optimiser steps of the run."""
    peak_flops: float
    """Peak operations per second: from the settings, or of a large matrix product on this machine."""

    @property
    def seconds(self) -> float:
        """Lower bound of the time of a step."""
        return self.flops / self.peak_flops


def plan_run(settings: PlanSettings) -> Plan:
    """Plan a training run from the configuration files of its models and a few samples of its data.

    Raises:
        ValueError: for configuration files or samples that cannot be opened.
    """
    settings = in_number_formats(settings)
    config = configuration(settings)
    model = skeleton(settings, config)
    rows = batch_shape_of(settings, config)
    world = world_cost_of(config, rows)
    step = step_of(model, settings, rows)
    answering = forward_of(model, rows)
    memory = memory_of(model, settings, rows, world, step, answering)
    flops = work_of(model, rows, settings.objective == "imitation")
    if settings.store_dir is None:
        flops += world.flops * (3 if world.trained else 1)
    if settings.peak_tflops is None:
        peak = measured_peak(torch.device("cuda" if torch.cuda.is_available() else "cpu"), settings.precision)
    else:
        peak = settings.peak_tflops * 1e12
    name = describe_world(config.world_settings()) if config.enable_world else "none: the world is off"
    if settings.distillation.weight:
        name += ", and its stored states are targets; their head is not counted"
    return Plan(
        settings, rows, memory, name, flops * settings.gradient_accumulation_steps, _num_steps(settings, rows), peak
    )


def _num_steps(settings: PlanSettings, rows: BatchShape) -> int:
    steps = settings.num_steps if rows.num_steps is None else rows.num_steps
    if steps is None:
        raise ValueError("num_epochs with a stated length: the number of samples is unknown; give num_steps")
    return steps


def work_of(model: TheWorld, rows: BatchShape, imitates: bool) -> float:
    """Return the operations of one forward and backward pass on a batch, without the world model."""
    config: Any = model.config
    ids = torch.zeros(rows.num_rows, rows.length, dtype=torch.long)
    labels = torch.full_like(ids, IGNORE_INDEX)
    positions = torch.arange(rows.num_rows * (rows.length - 1))[: rows.num_supervised]
    labels[positions // (rows.length - 1), positions % (rows.length - 1) + 1] = 0
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    slots = 1 + (rows.num_frames - 1) // TEMPORAL_STRIDE
    if config.enable_world:
        if not config.world_settings().sees_future:
            slots += rows.num_world_steps
        ids.view(-1)[: rows.num_clips * slots * config.tokens_per_slot] = config.world_token_id
        batch["world_features"] = torch.empty(rows.num_clips, device="meta")
    if imitates:
        batch["slot_pixel_values"] = torch.empty(rows.num_clips, slots, device="meta")
    elif rows.num_pictures:
        batch["pixel_values"] = torch.empty(rows.num_pictures, *rows.picture, device="meta")
    return WorkCounter(model)(batch).total


def configuration(settings: PlanSettings) -> WorldFields:
    """Return the configuration of the run's model, without a look at weights.

    Raises:
        ValueError: if its files cannot be found.
    """
    config = configuration_of(settings.model)
    if getattr(config.text, "enable_moe_block", False):
        raise ValueError(
            f"{config.base_model_name}: the work of a mixture of experts depends on the tokens; measure a short run"
        )
    if config.quantize is not None and settings.num_devices > 1 and settings.sharding == "fsdp":
        raise ValueError("model.quantize does not work under FSDP; plan with --sharding ddp, or with one device")
    if settings.model.attn_implementation is not None:
        config._attn_implementation = settings.model.attn_implementation
    return config


def skeleton(settings: PlanSettings, config: WorldFields) -> TheWorld:
    """Return the fused model on `meta`, in the number formats and with the frozen parts of the training."""
    with torch.device("meta"):
        model = TheWorld(config)
        model.to(getattr(torch, settings.model.dtype))
        if config.lora is not None:
            lora.add_adapters(model, config.lora_settings())
    freezing.freeze(model, config)
    if config.quantize is not None:
        quantization.mark_planned(model)
    return model.train()


def planned(settings: PlanSettings) -> tuple[list[Table], dict[str, Any]]:
    """Return the tables of a plan, and the same as values in bytes.

    Raises:
        ValueError: for configuration files or samples that cannot be opened.
    """
    plan = plan_run(settings)
    warn_if_emulated(DTYPE_OF[plan.settings.precision], plan.settings.model.dtype)
    return [_parts(plan), _moments(plan), _time(plan)], _values(plan)


def _parts(plan: Plan) -> Table:
    rows, memory = plan.rows, plan.memory
    lines = [
        (part, *(_gb(size) for size in (held.weights, held.gradients, held.optimizer, held.activations)))
        for part, held in memory.parts.items()
    ]
    source = "from its first samples" if rows.seen else "as stated"
    devices = plan.settings.num_devices
    return Table(
        "Memory of each part on a device, GB",
        ("part", "weights", "gradients", "optimiser", "activations"),
        (*lines, ("logits", "", "", "", _gb(memory.logits)), ("cache, in evaluation", "", "", "", _gb(memory.cache))),
        f"{rows.num_rows} rows of {rows.length} tokens, {source}: {rows.num_supervised} supervised tokens,"
        f" {rows.num_pictures} pictures, {rows.num_clips} clips in all. {devices} device{'s' if devices > 1 else ''}"
        f"{', ' + plan.settings.sharding if devices > 1 else ''}. World model: {plan.world}. 1 GB is 10^9 bytes.",
    )


def _moments(plan: Plan) -> Table:
    memory = plan.memory
    return Table(
        "Memory at the moments of possible peaks, GB",
        ("moment", "held"),
        (*((name, _gb(size)) for name, size in memory.moments.items()), ("peak", _gb(memory.peak))),
        "Tensors only: add CUDA's own memory (about 0.5 GB), unused blocks of the allocator, and on a CPU the process"
        " itself.",
    )


def _time(plan: Plan) -> Table:
    seconds, steps = plan.seconds, plan.num_steps
    return Table(
        "Shortest time of a step",
        ("operations, 10^12", "device's peak, 10^12 a second", "seconds a step", "steps", "hours of the run"),
        (
            (
                f"{plan.flops / 1e12:.4g}",
                f"{plan.peak_flops / 1e12:.4g}",
                f"{seconds:.3g}",
                f"{steps:,}",
                f"{seconds * steps / 3600:.3g}",
            ),
        ),
        f"In {plan.settings.precision}, weights in {plan.settings.model.dtype}."
        " At the device's peak, which no training reaches: divide by the share (mfu) that yours reaches."
        " Without operations that checkpointing repeats, waiting for data, and communication between devices.",
        num_text_columns=0,
    )


def _values(plan: Plan) -> dict[str, Any]:
    memory, rows = plan.memory, plan.rows
    return {
        "peak_bytes": memory.peak,
        "parts": {
            part: {
                "weights": held.weights,
                "gradients": held.gradients,
                "optimizer": held.optimizer,
                "activations": held.activations,
            }
            for part, held in memory.parts.items()
        },
        "world": plan.world,
        "logits": memory.logits,
        "cache": memory.cache,
        "moments": memory.moments,
        "flops_per_step": plan.flops,
        "peak_flops": plan.peak_flops,
        "seconds_per_step": plan.seconds,
        "num_steps": plan.num_steps,
        "precision": plan.settings.precision,
        "dtype": plan.settings.model.dtype,
        "rows": {name: getattr(rows, name) for name in ("num_rows", "length", "num_supervised", "num_pictures")},
    }


def _gb(size: int) -> str:
    return f"{size / 1e9:.3f}"
