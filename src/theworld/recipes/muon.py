"""Muon for matrices and AdamW for everything else, as one optimiser that a Trainer can drive and resume."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class MuonAdamW(torch.optim.Optimizer):
    """Moves matrices by orthogonalised momentum (Muon, Jordan et al. 2024), the rest by AdamW.

    docs/tiny.md has what it saves over AdamW alone.

    Args:
        model: whose trainable parameters are moved; embeddings are not moved as matrices.
        matrix_learning_rate: of Muon, scaled so that a step is as long as one of AdamW.
        learning_rate: of AdamW.
        weight_decay: of both.
    """

    def __init__(
        self, model: nn.Module, matrix_learning_rate: float, learning_rate: float, weight_decay: float = 0.0
    ) -> None:
        embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        matrices = [one for one in trained if one.ndim == 2 and id(one) not in embeddings]
        chosen = {id(one) for one in matrices}
        rest = [one for one in trained if id(one) not in chosen]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                matrices, lr=matrix_learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.98)),
        ]
        super().__init__(self._groups(), {})
        # The very groups of the parts: a schedule that sets a group's rate sets the part's.
        self.param_groups = self._groups()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step of both."""
        assert closure is None, "neither part takes a closure"
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """The states of both parts."""
        return {"parts": [part.state_dict() for part in self._parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set both parts to what `state_dict` gave."""
        for part, state in zip(self._parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = self._groups()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self._parts for group in part.param_groups]
