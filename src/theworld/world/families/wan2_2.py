"""Wan 2.2 TI2V: text and image to video of Alibaba, with a timestep for each patch and a VAE of 16 px."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config import WorldSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.world.families.family import (
    Imagination,
    given_mask,
    initial_noise,
)
from theworld.world.families.wan2_1 import Wan21
from theworld.world.vae import encode_mean


class Wan22Pipeline(Imagination, WanImageToVideoPipeline):
    """WanImageToVideoPipeline without text encoder, with any number of given slots instead of one."""

    def prepare_latents(  # pyright: ignore[reportIncompatibleMethodOverride]  # its annotated return type is wrong
        self, image: Tensor, batch_size: int, *others: Any
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return noise, conditioning latents, and zeros for given slots; see the original."""
        *_, latents, _ = others  # and a last image
        latents = latents.to(self.given.device)
        num_given = self.given.shape[2]
        conditioning = torch.zeros_like(latents)
        conditioning[:, :, :num_given] = self.given
        is_free = (~given_mask(latents.shape[2], num_given, latents.device)).to(latents.dtype)
        return latents, conditioning, is_free.expand(-1, -1, -1, *latents.shape[3:])

    def imagine(
        self,
        frames: UInt8[Tensor, "N F 3 H W"],
        num_world_steps: int,
        seeds: Sequence[int],
        settings: WorldSettings,
        on_step_end: Callable[..., dict[str, Any]] | None = None,
    ) -> Float[Tensor, "N C T h w"]:
        self.given = encode_mean(self.vae, frames)
        return self(
            image=frames[:, 0].float() / 255,  # checked by the pipeline, and not read: `given` takes its place
            prompt_embeds=self.prompts(len(frames)),
            height=frames.shape[-1],
            width=frames.shape[-1],
            num_frames=frames.shape[1] + TEMPORAL_STRIDE * num_world_steps,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=1.0,
            latents=initial_noise(self.vae, frames, num_world_steps, seeds),
            output_type="latent",
            callback_on_step_end=on_step_end,  # pyright: ignore[reportArgumentType]  # wrong in diffusers
            return_dict=False,
        )[0]


class Wan22(Wan21):
    """Wan 2.2 TI2V 5B; it was trained with one given slot, and further ones are given in the same way."""

    name = "Wan 2.2 TI2V"
    example = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
    pipelines = ("WanPipeline", "WanImageToVideoPipeline")
    given_slots = "clean, timestep 0"
    samples = True
    noise = "1000 t, one for each patch"

    def suits(self, index: Mapping[str, Any]) -> bool:
        return bool(index.get("expand_timesteps")) and not any(index.get("transformer_2") or ())

    def denoise(
        self,
        transformer: Any,
        noised: Float[Tensor, "N C T h w"],
        num_given: int,
        prompt: Float[Tensor, "1 L W"],
        settings: WorldSettings,
    ) -> Float[Tensor, "N C T h w"]:
        is_given = given_mask(noised.shape[2], num_given, noised.device)
        level = torch.where(is_given, 0.0, 1_000 * settings.dit_noise_level).expand(-1, -1, -1, *noised.shape[3:])
        return self.run(transformer, noised, level[0, 0, :, ::2, ::2].flatten().expand(len(noised), -1), prompt)

    def sampler(self, vae: Any, transformer: Any, scheduler: Any, prompt: Float[Tensor, "1 L W"]) -> Wan22Pipeline:
        absent: Any = None
        pipeline = Wan22Pipeline(absent, absent, vae, scheduler, transformer=transformer, expand_timesteps=True)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.family, pipeline.prompt = self, prompt
        return pipeline
