"""Muon for matrices and AdamW for everything else, as one optimiser that a Trainer can drive and resume."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from theworld.precision import fastest_dtype


class Muon(torch.optim.Muon):
    """torch's Muon, which orthogonalises in bfloat16; where that is emulated, the same in float32."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Move every matrix of one group after the other."""
        if fastest_dtype(torch.device("cpu")) == "bfloat16":
            return super().step(closure)
        assert closure is None, "a Trainer gives no closure"
        for group in self.param_groups:
            for matrix in (one for one in group["params"] if one.grad is not None):
                state = self.state[matrix]
                momentum = state.setdefault("momentum_buffer", torch.zeros_like(matrix.grad))
                momentum.lerp_(matrix.grad, 1 - group["momentum"])
                ahead = matrix.grad.lerp(momentum, group["momentum"])  # Nesterov's
                length = 0.2 * max(matrix.shape) ** 0.5  # as long as a step of AdamW: `match_rms_adamw`
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(orthogonal(ahead, group), alpha=-group["lr"] * length)
        return None


def orthogonal(matrix: Tensor, group: dict[str, Any]) -> Tensor:
    """The nearest matrix with orthogonal rows or columns, about: Newton-Schulz iterations (Jordan et al. 2024).

    Args:
        matrix: (m, n), float32.
        group: an optimiser's: ns_coefficients (a, b, c), ns_steps, eps.
    """
    a, b, c = group["ns_coefficients"]
    rows = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    rows = rows / rows.norm().clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = rows @ rows.T
        rows = a * rows + (b * gram + c * gram @ gram) @ rows
    return rows.T if matrix.shape[0] > matrix.shape[1] else rows


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
            Muon(matrices, lr=matrix_learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
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
