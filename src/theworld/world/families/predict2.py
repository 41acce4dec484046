"""Cosmos-Predict2: Video2World of NVIDIA, the world of the embedded model, and a checkpoint without an index."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config import WorldSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.world.families.family import Family, Imagination, given_mask, initial_noise
from theworld.world.guardrail import LICENCE, guardrail, without_guardrail
from theworld.world.vae import normalised_mean

with without_guardrail():
    from diffusers.pipelines.cosmos.pipeline_cosmos2_video2world import Cosmos2VideoToWorldPipeline

# The pipeline's timestep of its conditioning slots: sigma 0.0001 in t = sigma / (1 + sigma).
GIVEN_NOISE_LEVEL: Final = 0.0001 / 1.0001


class RolloutPipeline(Imagination, Cosmos2VideoToWorldPipeline):
    """Cosmos2VideoToWorldPipeline without text encoder, conditioned on the posterior mean of the given frames only.

    The original samples the posterior, and also encodes padding frames, whose latents it then masks.
    """

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
        is_given = given_mask(latents.shape[2], num_given, device).to(dtype)
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
        num_frames, side = frames.shape[1] + TEMPORAL_STRIDE * num_world_steps, frames.shape[-1]
        latents = self(
            video=frames.float() / 255,  # pyright: ignore[reportArgumentType]  # tensors in [0, 1] work as well
            prompt_embeds=self.prompts(len(frames)),
            height=side,
            width=side,
            num_frames=num_frames,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=1.0,
            fps=settings.frame_rate_hz,  # pyright: ignore[reportArgumentType]  # only divides positions
            latents=initial_noise(self.vae, frames, num_world_steps, seeds),
            output_type="latent",
            callback_on_step_end=on_step_end,  # pyright: ignore[reportArgumentType]  # wrong in diffusers
            return_dict=False,
        )[0]
        latents[:, :, : self.given.shape[2]] = self.given  # the sampler leaves 0.002 of noise on them
        return latents

    def noise_level(self) -> float:
        """Return t of the current forward."""
        sigma = float(self.scheduler.sigmas[self.scheduler.step_index or 0])  # None before the first step
        return sigma / (1 + sigma)

    def lowest_level(self, num_inference_steps: int) -> float:
        """Return t of the last forward, which is the same for any number of steps."""
        return self.sigma_min / (1 + self.sigma_min)


class Predict2(Family):
    """Cosmos-Predict2, with one token of zeros for a prompt: cross-attention without biases adds exactly nothing."""

    name = "Cosmos-Predict2"
    example = "nvidia/Cosmos-Predict2-2B-Video2World"
    licence = LICENCE
    needs_guardrail = True
    pipelines = ("Cosmos2VideoToWorldPipeline",)
    classes: ClassVar = {
        "vae": AutoencoderKLWan,
        "transformer": CosmosTransformer3DModel,
        "scheduler": FlowMatchEulerDiscreteScheduler,
    }
    blocks = "transformer_blocks"
    bounds: ClassVar = {**Family.bounds, "text_embed_dim": (1, 65_536)}
    given_slots = "clean, condition mask 1, timestep 0.0001"
    noise = "t"
    uses_frame_rate = True
    idle_forwards = 1
    prompt = "zeros"
    num_prompt_tokens = 1

    def prompt_width(self, config: Mapping[str, Any]) -> int:
        return config["text_embed_dim"]

    def denoise(
        self,
        transformer: Any,
        noised: Float[Tensor, "N C T h w"],
        num_given: int,
        prompt: Float[Tensor, "1 L W"],
        settings: WorldSettings,
    ) -> Float[Tensor, "N C T h w"]:
        num_clips, _, num_slots, height, width = noised.shape
        is_given = given_mask(num_slots, num_given, noised.device)
        timestep = torch.where(is_given, GIVEN_NOISE_LEVEL, settings.dit_noise_level).expand(num_clips, -1, -1, -1, -1)
        padding = noised.new_zeros(1, 1, settings.image_size_px, settings.image_size_px)
        return transformer(
            hidden_states=noised.to(transformer.dtype),
            timestep=timestep.to(transformer.dtype),
            encoder_hidden_states=prompt.expand(num_clips, -1, -1).to(noised.device, transformer.dtype),
            fps=settings.frame_rate_hz,
            condition_mask=is_given.expand(num_clips, -1, -1, height, width).to(transformer.dtype),
            padding_mask=padding.to(transformer.dtype),
            return_dict=False,
        )[0]

    def check_scheduler(self, config: Mapping[str, Any]) -> str | None:
        """Return a fault without Karras sigmas: the schedule would run upwards, and features would be NaN silently."""
        if config["use_karras_sigmas"]:
            return None
        return (
            "use_karras_sigmas is off; Cosmos-Predict2 is sampled with Karras sigmas: set it in scheduler_config.json"
        )

    def sampler(self, vae: Any, transformer: Any, scheduler: Any, prompt: Float[Tensor, "1 L W"]) -> RolloutPipeline:
        absent: Any = None
        checker: Any = guardrail()
        pipeline = RolloutPipeline(absent, absent, transformer, vae, scheduler, checker)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.family, pipeline.prompt = self, prompt
        return pipeline
