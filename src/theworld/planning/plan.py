"""Plan: what a run needs on each device, from its settings and configuration files alone."""

from dataclasses import dataclass

import torch

from theworld.config.planning import PlanSettings
from theworld.modeling import TheWorld, adapters, freezing
from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.opening import configuration_of
from theworld.planning.blocks import forward_of, step_of
from theworld.planning.memory import Memory, memory_of
from theworld.planning.reading import reading_of
from theworld.planning.rows import Rows, rows_of


@dataclass(frozen=True)
class Plan:
    """What a run needs on each device."""

    settings: PlanSettings
    rows: Rows
    memory: Memory


def plan_run(settings: PlanSettings) -> Plan:
    """Plan a training run; of its models only configuration files are read, and of its data a few samples.

    Raises:
        ValueError: for configuration files or samples that cannot be had.
    """
    config = configuration(settings)
    model = skeleton(settings, config)
    rows = rows_of(settings, config)
    reading = reading_of(config, rows)
    step = step_of(model, settings, rows)
    answering = forward_of(model, rows)
    return Plan(settings, rows, memory_of(model, settings, rows, reading, step, answering))


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
            adapters.add_adapters(model, config.lora_settings())
    freezing.freeze(model, config)
    return model.train()
