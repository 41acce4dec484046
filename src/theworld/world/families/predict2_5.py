"""Cosmos-Predict2.5: the same networks as Predict2, with a projected prompt, a schedule of flows, and no frame rate."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float, UInt8
from torch import Tensor
from transformers import Qwen2_5_VLForConditionalGeneration

from theworld.config import WorldSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.world.families.family import (
    Family,
    Imagination,
    flow_fault,
    given_mask,
    initial_noise,
)
from theworld.world.guardrail import LICENCE, guardrail, without_guardrail
from theworld.world.vae import encode_mean

with without_guardrail():
    from diffusers.pipelines.cosmos.pipeline_cosmos2_5_predict import Cosmos2_5_PredictBasePipeline

GIVEN_TIMESTEP: Final = 1e-4
"""`conditional_frame_timestep` of the pipeline, whose timesteps are sigmas in 0..1."""


class Predict25Pipeline(Imagination, Cosmos2_5_PredictBasePipeline):
    """Cosmos2_5_PredictBasePipeline without text encoder, with any number of given slots and of clips.

    The original conditions a single video on one or two slots, and also encodes padding frames, which it then masks.
    """

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]  # its annotated return type is wrong
        self, video: Tensor, batch_size: int, latents: Tensor, **others: Any
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return noise, conditioning latents, and the mask of given slots twice; see the original."""
        latents = latents.to(self.given.device)
        num_given = self.given.shape[2]
        conditioning = torch.zeros_like(latents)
        conditioning[:, :, :num_given] = self.given
        is_given = (
            given_mask(latents.shape[2], num_given, latents.device).to(latents.dtype).expand(batch_size, -1, -1, -1, -1)
        )
        return latents, conditioning, is_given.expand(-1, -1, -1, *latents.shape[3:]), is_given

    def imagine(
        self,
        frames: UInt8[Tensor, "N F 3 H W"],
        num_world_steps: int,
        seeds: Sequence[int],
        settings: WorldSettings,
        on_step_end: Callable[..., dict[str, Any]] | None = None,
    ) -> Float[Tensor, "N C T h w"]:
        self.given = encode_mean(self.vae, frames)
        latents = self(
            prompt_embeds=self.prompts(len(frames)),
            height=frames.shape[-1],
            width=frames.shape[-1],
            num_frames=frames.shape[1] + TEMPORAL_STRIDE * num_world_steps,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=1.0,
            latents=initial_noise(self.vae, frames, num_world_steps, seeds),
            conditional_frame_timestep=GIVEN_TIMESTEP,
            output_type="latent",
            callback_on_step_end=on_step_end,  # pyright: ignore[reportArgumentType]  # wrong in diffusers
            return_dict=False,
        )[0]
        latents[:, :, : self.given.shape[2]] = self.given
        return latents


class Predict25(Family):
    """Cosmos-Predict2.5 base models, which read their prompt through a projection with a bias."""

    name = "Cosmos-Predict2.5"
    example = "nvidia/Cosmos-Predict2.5-2B"
    licence = LICENCE
    needs_guardrail = True
    pipelines = ("Cosmos2_5_PredictBasePipeline",)
    classes: ClassVar = {
        "vae": AutoencoderKLWan,
        "transformer": CosmosTransformer3DModel,
        "scheduler": UniPCMultistepScheduler,
    }
    blocks = "transformer_blocks"
    bounds: ClassVar = {**Family.bounds, "crossattn_proj_in_channels": (1, 1_048_576)}
    given_slots = "clean, condition mask 1, timestep 0.0001"
    noise = "t"
    prompt = "stored"
    num_prompt_tokens = 512

    def prompt_width(self, config: Mapping[str, Any]) -> int:
        return config["crossattn_proj_in_channels"]

    def text_encoder(self) -> Any:
        return Qwen2_5_VLForConditionalGeneration

    def embed(self, encoder: Any, tokenizer: Any, text: str, index: Mapping[str, Any]) -> Float[Tensor, "1 L W"]:
        parts: Any = SimpleNamespace(text_encoder=encoder, tokenizer=tokenizer)
        embed: Any = Cosmos2_5_PredictBasePipeline._get_prompt_embeds
        return embed(parts, text, self.num_prompt_tokens, encoder.device, encoder.dtype)

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
        timestep = torch.where(is_given, GIVEN_TIMESTEP, settings.dit_noise_level).expand(num_clips, -1, -1, -1, -1)
        side = settings.image_size_px
        return transformer(
            hidden_states=noised.to(transformer.dtype),
            condition_mask=is_given.expand(num_clips, -1, -1, height, width).to(transformer.dtype),
            timestep=timestep,
            encoder_hidden_states=prompt.expand(num_clips, -1, -1).to(noised.device, transformer.dtype),
            padding_mask=noised.new_zeros(1, 1, side, side, dtype=transformer.dtype),
            return_dict=False,
        )[0]

    def check_scheduler(self, config: Mapping[str, Any]) -> str | None:
        return flow_fault(config, karras=True)

    def sampler(self, vae: Any, transformer: Any, scheduler: Any, prompt: Float[Tensor, "1 L W"]) -> Predict25Pipeline:
        absent: Any = None
        checker: Any = guardrail()
        pipeline = Predict25Pipeline(absent, absent, transformer, vae, scheduler, checker)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.family, pipeline.prompt = self, prompt
        return pipeline
