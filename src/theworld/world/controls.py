"""Control taps `zero` and `noise`; separate because they read no model."""

from collections.abc import Sequence

import torch
from torch import Tensor

from theworld.config import WorldSettings
from theworld.world.tap import WorldTap, clip_noise


class ShapeTap(WorldTap):
    """Makes features of another tap's shape, without any weights."""

    def __init__(self, settings: WorldSettings, device: str | torch.device) -> None:
        super().__init__(settings)
        self.device = device

    def _shape(self, frames: Tensor, num_world_steps: int) -> tuple[int, int, int, int]:
        grid = frames.shape[-1] // self.stride_px
        return self.num_channels, self.settings.num_slots(frames.shape[1], num_world_steps), grid, grid


class ZeroTap(ShapeTap):
    """Zeros: the effect of the added tokens alone."""

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        return torch.zeros(len(frames), *self._shape(frames, num_world_steps), device=self.device)


class NoiseTap(ShapeTap):
    """Standard normal noise, different for each clip: a feature that identifies the clip without describing it."""

    fingerprint_fields = ("seed",)

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        return clip_noise(self._shape(frames, num_world_steps), seeds).to(self.device)
