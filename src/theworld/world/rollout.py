"""Tap `rollout`: the future that diffusers' Cosmos pipeline imagines from the mean of the given frames."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.utils import import_utils
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config import WorldSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.world.guardrail import guardrail
from theworld.world.tap import WorldTap, clip_noise, seeds_of_future
from theworld.world.vae import encode_mean, normalised_mean


@contextmanager
def _without_guardrail() -> Iterator[None]:
    """Hide cosmos_guardrail, which the pipeline's module would import: it disables gradients for the whole process."""
    installed = import_utils._cosmos_guardrail_available
    import_utils._cosmos_guardrail_available = False
    try:
        yield
    finally:
        import_utils._cosmos_guardrail_available = installed


with _without_guardrail():
    from diffusers.pipelines.cosmos.pipeline_cosmos2_video2world import Cosmos2VideoToWorldPipeline


class RolloutPipeline(Cosmos2VideoToWorldPipeline):
    """Cosmos2VideoToWorldPipeline without text encoder, conditioned on the posterior mean of the given frames only.

    The original samples the posterior, and also encodes padding frames, whose latents it then masks.
    """

    given: Float[Tensor, "N C T h w"]
    """Latent means of the given frames of the last call."""

    @classmethod
    def of(
        cls, vae: AutoencoderKLWan, transformer: CosmosTransformer3DModel, scheduler: FlowMatchEulerDiscreteScheduler
    ) -> "RolloutPipeline":
        """Build the pipeline from its parts."""
        absent: Any = None
        checker: Any = guardrail()
        pipeline = cls(absent, absent, transformer, vae, scheduler, checker)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]  # its annotated return type is wrong
        self,
        video: Tensor,
        batch_size: int,
        num_channels_latents: int,
        height: int,
        width: int,
        num_frames: int,
        do_classifier_free_guidance: bool,
        dtype: torch.dtype,
        device: torch.device,
        generator: None,
        latents: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, None, Tensor, None]:
        """Return noise, conditioning latents and the mask of given slots; see the original."""
        self.given = normalised_mean(self.vae, video)
        num_given = self.given.shape[2]
        latents = latents.to(device, dtype)
        conditioning = torch.zeros_like(latents)
        conditioning[:, :, :num_given] = self.given
        is_given = (torch.arange(latents.shape[2], device=device) < num_given).to(dtype).view(1, 1, -1, 1, 1)
        mask = is_given.expand(batch_size, -1, -1, *latents.shape[3:])
        return latents * self.scheduler.config.sigma_max, conditioning, is_given, None, mask, None

    def imagine(
        self,
        frames: UInt8[Tensor, "N F 3 H W"],
        num_world_steps: int,
        seeds: Sequence[int],
        settings: WorldSettings,
        on_step_end: Callable[..., dict[str, Any]] | None = None,
    ) -> Float[Tensor, "N C T h w"]:
        """Return the latents of the given slots, unchanged, and of `num_world_steps` imagined ones."""
        num_frames, side = frames.shape[1] + TEMPORAL_STRIDE * num_world_steps, frames.shape[-1]
        grid = side // self.vae_scale_factor_spatial
        num_slots = (num_frames - 1) // TEMPORAL_STRIDE + 1
        prompt = torch.zeros(len(frames), 1, self.transformer.config.text_embed_dim)
        latents = self(
            video=frames.float() / 255,  # pyright: ignore[reportArgumentType]  # tensors in [0, 1] work as well
            prompt_embeds=prompt.to(self.transformer.device, self.transformer.dtype),
            height=side,
            width=side,
            num_frames=num_frames,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=1.0,
            fps=settings.frame_rate_hz,  # pyright: ignore[reportArgumentType]  # only divides positions
            latents=clip_noise((self.vae.config.z_dim, num_slots, grid, grid), seeds),
            output_type="latent",
            callback_on_step_end=on_step_end,  # pyright: ignore[reportArgumentType]  # wrong in diffusers
            return_dict=False,
        )[0]
        latents[:, :, : self.given.shape[2]] = self.given  # the sampler leaves 0.002 of noise on them
        return latents


def _skip_last_step(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    """Stop before the last forward, which updates nothing: the schedule ends with its smallest sigma twice."""
    if step == pipeline.num_timesteps - 2:
        pipeline._interrupt = True
    return {}


class RolloutTap(WorldTap):
    """Reads the latents of the given frames and of the future that the world model imagines after them.

    With several rollouts it returns the mean of their futures; where they differ, the mean matches none of them.
    """

    fingerprint_fields = ("dtype", "seed", "frame_rate_hz", "num_inference_steps", "num_rollouts")

    def __init__(self, settings: WorldSettings, pipeline: RolloutPipeline) -> None:
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
