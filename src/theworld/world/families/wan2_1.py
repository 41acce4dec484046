"""Wan 2.1: text-to-video models of Alibaba, which noise a whole clip and cannot be told of given frames."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float
from torch import Tensor
from transformers import UMT5EncoderModel

from theworld.config import WorldSettings
from theworld.world.families.family import Family, flow_fault


class Wan21(Family):
    """Wan 2.1 T2V, which VEGA-3D reads at block 20 of 30 and timestep 300 of 1,000.

    The pipeline pads a prompt to 512 rows with zeros, so the empty prompt is one row and 511 zeros; without a stored
    embedding the one row is zero, too.
    """

    name = "Wan 2.1 T2V"
    example = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    licence = "Apache-2.0"
    pipelines = ("WanPipeline",)
    classes: ClassVar = {
        "vae": AutoencoderKLWan,
        "transformer": WanTransformer3DModel,
        "scheduler": UniPCMultistepScheduler,
    }
    blocks = "blocks"
    bounds: ClassVar = {**Family.bounds, "text_dim": (1, 65_536)}
    given_slots = ""
    samples = False
    noise = "1000 t"
    prompt = "zeros or stored"
    num_prompt_tokens = 512

    def suits(self, index: Mapping[str, Any]) -> bool:
        return not index.get("expand_timesteps") and not any(index.get("transformer_2") or ())

    def prompt_width(self, config: Mapping[str, Any]) -> int:
        return config["text_dim"]

    def text_encoder(self) -> Any:
        return UMT5EncoderModel

    def embed(self, encoder: Any, tokenizer: Any, text: str, index: Mapping[str, Any]) -> Float[Tensor, "1 L W"]:
        parts: Any = SimpleNamespace(text_encoder=encoder, tokenizer=tokenizer)
        embed: Any = WanPipeline._get_t5_prompt_embeds
        return embed(parts, text, 1, self.num_prompt_tokens, encoder.device, encoder.dtype)

    def denoise(
        self,
        transformer: Any,
        noised: Float[Tensor, "N C T h w"],
        num_given: int,
        prompt: Float[Tensor, "1 L W"],
        settings: WorldSettings,
    ) -> Float[Tensor, "N C T h w"]:
        level = torch.full((len(noised),), 1_000 * settings.dit_noise_level, device=noised.device)
        return self.run(transformer, noised, level, prompt)

    def run(
        self, transformer: Any, noised: Float[Tensor, "N C T h w"], timestep: Tensor, prompt: Tensor
    ) -> Float[Tensor, "N C T h w"]:
        """Run one forward with timesteps of the clips, (N,), or of their patches, (N, P)."""
        return transformer(
            hidden_states=noised.to(transformer.dtype),
            timestep=timestep,
            encoder_hidden_states=prompt.expand(len(noised), -1, -1).to(noised.device, transformer.dtype),
            return_dict=False,
        )[0]

    def check_scheduler(self, config: Mapping[str, Any]) -> str | None:
        return flow_fault(config, karras=False)

    @property
    def cannot_imagine(self) -> str:
        return f"{self.name} cannot be conditioned on given frames: take Wan 2.2 TI2V or Cosmos for an imagined future"
