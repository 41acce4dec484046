"""Parameter groups, separate from the Trainer: learning rates and weight decays of single parts of the model."""

from collections.abc import Iterable, Mapping
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
) -> None:
    """Give parts of the model groups of their own, in place, before the first step and before a schedule exists.

    Groups of the remaining parameters stay first, so that the learning rate of the first group is the run's.

    Args:
        optimizer: torch's, whose groups decay by `weight_decay`, or by 0 what must not decay.
        parameters: names and parameters of the whole model.
        by_part: part to `{"lr": ..., "weight_decay": ...}` or one of the two.
    """
    part_by_id = {id(parameter): trained_part(name) for name, parameter in parameters}
    rest: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for group in optimizer.param_groups:
        by_own: dict[str | None, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            part = part_by_id.get(id(parameter))
            by_own.setdefault(part if part in by_part else None, []).append(parameter)
        for part, members in by_own.items():
            values = dict(by_part[part]) if part is not None else {}
            if group["weight_decay"] == 0:  # biases and norms
                values.pop("weight_decay", None)
            (rest if part is None else own).append({**group, **values, "params": members})
    optimizer.param_groups[:] = rest + own
