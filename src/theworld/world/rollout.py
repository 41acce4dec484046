"""Tap `rollout`: the future that diffusers' pipeline imagines after the given frames; separate from the pipelines."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from theworld.config import WorldSettings
from theworld.world.families.family import Imagination
from theworld.world.tap import WorldTap, seeds_of_future
from theworld.world.vae import encode_mean


def _skip_last_step(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Stop before the forwards that update nothing."""
    if step == pipeline.num_timesteps - 1 - pipeline.family.idle_forwards:
        pipeline._interrupt = True
    return {}


class RolloutTap(WorldTap):
    """Reads the latents of the given frames and of the future that the world model imagines after them.

    With several rollouts it returns the mean of their futures; where they differ, the mean matches none of them.
    """

    fingerprint_fields = ("dtype", "seed", "frame_rate_hz", "num_inference_steps", "num_rollouts")

    def __init__(self, settings: WorldSettings, pipeline: Imagination) -> None:
        super().__init__(settings)
        self.pipeline = pipeline

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        if num_world_steps == 0:
            return encode_mean(self.pipeline.vae, frames)
        futures = [
            self.pipeline.imagine(frames, num_world_steps, rollout_seeds, self.settings, on_step_end=_skip_last_step)
            for rollout_seeds in _seeds_of_rollouts(seeds, self.settings.num_rollouts)
        ]
        return torch.stack(futures).mean(0) if len(futures) > 1 else futures[0]


def _seeds_of_rollouts(seeds: Sequence[int], num_rollouts: int) -> Iterator[list[int]]:
    """Yield the clips' own seeds, then seeds derived from them: the first future equals that of a single rollout."""
    for number in range(num_rollouts):
        yield seeds_of_future(seeds, number)
