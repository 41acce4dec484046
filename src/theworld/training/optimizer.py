"""Parameter groups, separate from the Trainer: learning rates and weight decays of single parts of the model."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from theworld.modeling.freezing import part_of

MARKERS = "world.markers"


def trained_part(name: str) -> str | None:
    """Return the part of a parameter as `OptimSettings.learning_rates` names it, or None."""
    part = part_of(name)
    if part == "world":
        return "markers" if name == MARKERS else "projector"
    return part


def split_by_part(
    optimizer: torch.optim.Optimizer,
    parameters: Iterable[tuple[str, nn.Parameter]],
    by_part: Mapping[str, Mapping[str, float]],
    decays: Collection[str],
) -> None:
    """Give parts of the model groups of their own, in place, before the first step and before a schedule exists.

    Groups of the remaining parameters stay first, so that the learning rate of the first group is the run's.

    Args:
        optimizer: torch's.
        parameters: names and parameters of the whole model.
        by_part: part to `{"lr": ..., "weight_decay": ...}` or one of the two.
        decays: names of the parameters that may decay; biases and norms do not.
    """
    parameters = list(parameters)
    part_by_id = {id(parameter): trained_part(name) for name, parameter in parameters}
    decaying = {id(parameter) for name, parameter in parameters if name in decays}
    rest: list[dict[str, Any]] = []
    apart: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        members: dict[tuple[str | None, bool], list[nn.Parameter]] = {}
        for parameter in group["params"]:
            part = part_by_id.get(id(parameter))
            members.setdefault((part if part in by_part else None, id(parameter) in decaying), []).append(parameter)
        for (part, may_decay), chosen in members.items():
            values = dict(by_part[part]) if part is not None else {}
            if not may_decay:
                values.pop("weight_decay", None)
            (rest if part is None else apart).append({**group, **values, "params": chosen})
    optimizer.param_groups[:] = rest + apart
