"""Plan: what a run needs on each device, from its settings and configuration files alone."""

from dataclasses import dataclass
from typing import Any

import torch

from theworld.config.commands import PlanSettings
from theworld.config.training import in_number_formats
from theworld.constants import IGNORE_INDEX
from theworld.modeling import TheWorld, freezing, lora
from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.factory import configuration_of
from theworld.planning.blocks import forward_of, step_of
from theworld.planning.memory import Memory, memory_of
from theworld.planning.reading import reading_of
from theworld.planning.rows import Rows, rows_of
from theworld.training.flops import WorkCounter, measured_peak


@dataclass(frozen=True)
class Plan:
    """What a run needs on each device."""

    settings: PlanSettings
    """With every number format named: where the settings say `auto`, as this machine would compute."""
    rows: Rows
    memory: Memory
    flops: float
    """Operations of an optimiser step on a device, what passes in frozen parts included."""
    peak_flops: float
    """Operations that the device can do in a second: stated, or of a large matrix product on this machine."""

    @property
    def seconds(self) -> float:
        """The least that a step can take."""
        return self.flops / self.peak_flops


def plan_run(settings: PlanSettings) -> Plan:
    """Plan a training run; of its models only configuration files are read, and of its data a few samples.

    Raises:
        ValueError: for configuration files or samples that cannot be had.
    """
    settings = in_number_formats(settings)
    config = configuration(settings)
    model = skeleton(settings, config)
    rows = rows_of(settings, config)
    reading = reading_of(config, rows)
    step = step_of(model, settings, rows)
    answering = forward_of(model, rows)
    memory = memory_of(model, settings, rows, reading, step, answering)
    flops = work_of(model, rows, settings.objective == "imitation")
    if settings.store_dir is None:
        flops += reading.flops * (3 if reading.trained else 1)
    if settings.peak_tflops is None:
        peak = measured_peak(torch.device("cuda" if torch.cuda.is_available() else "cpu"), settings.precision)
    else:
        peak = settings.peak_tflops * 1e12
    return Plan(settings, rows, memory, flops * settings.gradient_accumulation_steps, peak)


def work_of(model: TheWorld, rows: Rows, imitates: bool) -> float:
    """Operations of one forward and backward pass on a batch, all but reading the world."""
    config: Any = model.config
    ids = torch.zeros(rows.num_rows, rows.length, dtype=torch.long)
    labels = torch.full_like(ids, IGNORE_INDEX)
    places = torch.arange(rows.num_rows * (rows.length - 1))[: rows.num_supervised]
    labels[places // (rows.length - 1), places % (rows.length - 1) + 1] = 0
    batch: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    slots = 1 + (rows.num_frames - 1) // 4
    if config.enable_world:
        slots += rows.num_world_steps * (not config.world_settings().sees_future)
        ids.view(-1)[: rows.num_clips * slots * config.tokens_per_slot] = config.world_token_id
        batch["world_features"] = torch.empty(rows.num_clips, device="meta")
    if imitates:
        batch["slot_pixel_values"] = torch.empty(rows.num_clips, slots, device="meta")
    elif rows.num_pictures:
        batch["pixel_values"] = torch.empty(rows.num_pictures, device="meta")
    return WorkCounter(model)(batch).total


def configuration(settings: PlanSettings) -> TheWorldConfig:
    """The configuration that the run's model will have; no weights are looked at.

    Raises:
        ValueError: if its files cannot be found.
    """
    config = configuration_of(settings.model)
    if settings.model.attn_implementation is not None:
        config._attn_implementation = settings.model.attn_implementation
    return config


def skeleton(settings: PlanSettings, config: TheWorldConfig) -> TheWorld:
    """The fused model without numbers, in the formats in which it will train."""
    with torch.device("meta"):
        model = TheWorld(config)
        model.to(getattr(torch, settings.model.dtype))
        if config.lora is not None:
            lora.add_adapters(model, config.lora_settings())
    freezing.freeze(model, config)
    return model.train()
