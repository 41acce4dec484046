"""Control taps `zero` and `noise`; separate from the taps that read a model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from theworld.config import WorldSettings
from theworld.world.tap import WorldTap, clip_noise


class ShapeTap(WorldTap):
    """Gives features of another tap's shape without loading a weight."""

    def __init__(self, settings: WorldSettings, device: str | torch.device) -> None:
        super().__init__(settings)
        self.device = device

    def _shape(self, frames: Tensor, num_world_steps: int) -> tuple[int, int, int, int]:
        grid = frames.shape[-1] // self.stride_px
        return self.num_channels, self.settings.num_slots(frames.shape[1], num_world_steps), grid, grid


class ZeroTap(ShapeTap):
    """Zeros: what the added tokens do by themselves."""

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        return torch.zeros(len(frames), *self._shape(frames, num_world_steps), device=self.device)


class NoiseTap(ShapeTap):
    """Standard normal noise, for each clip its own: a feature that names the clip and says nothing about it."""

    fingerprint_fields = ("seed",)

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        return clip_noise(self._shape(frames, num_world_steps), seeds).to(self.device)
