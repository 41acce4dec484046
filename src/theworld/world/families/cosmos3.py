"""Cosmos 3: one transformer for text and video, read at the hidden states of its generation stream."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos3 import Cosmos3OmniTransformer
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from jaxtyping import Float, Int
from torch import Tensor

from theworld.config import WorldSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.world.families.family import Family
from theworld.world.guardrail import without_guardrail

with without_guardrail():
    from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import Cosmos3OmniPipeline


class Cosmos3(Family):
    """Cosmos 3 as a tap `dit`: its understanding stream reads the tokens of an empty prompt, one clip at a time."""

    name = "Cosmos 3"
    example = "nvidia/Cosmos3-Edge"
    licence = "OpenMDW, whose terms we did not study"
    needs_guardrail = True
    pipelines = ("Cosmos3OmniPipeline",)
    classes: ClassVar = {
        "vae": AutoencoderKLWan,
        "transformer": Cosmos3OmniTransformer,
        "scheduler": UniPCMultistepScheduler,
    }
    blocks = "layers"
    num_blocks = "num_hidden_layers"
    bounds: ClassVar = {"num_hidden_layers": (1, 1_024), "hidden_size": (1, 65_536), "latent_patch_size": (1, 8)}
    lists: ClassVar = {}
    given_slots = "clean, without a timestep"
    samples = False
    takes_batches = False
    noise = "1000 t"
    uses_frame_rate = True
    prompt = "stored"
    num_prompt_tokens = 8
    prompt_parts = ("text_tokenizer",)

    def prompt_width(self, config: Mapping[str, Any]) -> int:
        """Return 1: the stored prompt is a column of token ids."""
        return 1

    def channels(self, config: Mapping[str, Any]) -> int:
        return config["hidden_size"]

    def patch(self, config: Mapping[str, Any]) -> int:
        return config["latent_patch_size"]

    def states(self, output: Any) -> Float[Tensor, "1 P C"]:
        """Return the generation stream of a block's two."""
        return output[1][None]

    def embed(self, encoder: Any, tokenizer: Any, text: str, index: Mapping[str, Any]) -> Float[Tensor, "1 L 1"]:
        """Return the token ids of a prompt in diffusers' template, without sentences on duration and resolution."""
        special = {
            "start_of_generation": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
            "eos_token_id": tokenizer.eos_token_id,
        }
        parts: Any = SimpleNamespace(
            text_tokenizer=tokenizer,
            llm_special_tokens=special,
            config=SimpleNamespace(default_use_system_prompt=index.get("default_use_system_prompt", True)),
            image_resolution_template="",
            video_resolution_template="",
            inverse_image_resolution_template="",
            inverse_video_resolution_template="",
        )
        ids, _ = Cosmos3OmniPipeline.tokenize_prompt(
            parts, text, add_resolution_template=False, add_duration_template=False
        )
        return torch.tensor(ids, dtype=torch.float32).view(1, -1, 1)

    def denoise(
        self,
        transformer: Any,
        noised: Float[Tensor, "1 C T h w"],
        num_given: int,
        prompt: Float[Tensor, "1 L 1"],
        settings: WorldSettings,
    ) -> Float[Tensor, "1 C T h w"]:
        config, device = transformer.config, noised.device
        _, _, num_slots, height, width = noised.shape
        side = config["latent_patch_size"]
        shape = (num_slots, height // side, width // side)
        num_patches = shape[1] * shape[2]
        ids = prompt.flatten().long().to(device)
        noisy = torch.arange(num_given, num_slots, device=device)
        vision = torch.arange(len(ids), len(ids) + num_slots * num_patches, device=device)
        return transformer(
            input_ids=ids,
            text_indexes=torch.arange(len(ids), device=device),
            position_ids=positions(len(ids), shape, config, settings.frame_rate_hz).to(device),
            und_len=len(ids),
            sequence_length=len(ids) + len(vision),
            vision_tokens=[noised.to(transformer.dtype)],
            vision_token_shapes=[shape],
            vision_sequence_indexes=vision,
            vision_mse_loss_indexes=vision[num_given * num_patches :],
            vision_timesteps=torch.full((len(noisy) * num_patches,), 1_000 * settings.dit_noise_level, device=device),
            vision_noisy_frame_indexes=[noisy],
            return_dict=False,
        )[0][0]


def positions(
    num_tokens: int, shape: tuple[int, int, int], config: Mapping[str, Any], frame_rate_hz: float
) -> Float[Tensor, "3 L"] | Int[Tensor, "3 L"]:
    """Return positions in time, height and width of the prompt's tokens and of a clip's patches, as the pipeline."""
    uses_rate = config["enable_fps_modulation"]
    start = num_tokens + config["unified_3d_mrope_temporal_modality_margin"]
    times, rows, columns = (torch.arange(size) for size in shape)
    if uses_rate and shape[0] > 1:
        rate, usual = frame_rate_hz / TEMPORAL_STRIDE, config["base_fps"] / TEMPORAL_STRIDE
        times = times.float() / rate * usual + start
    else:
        times = times + start
    space = 0 if config["unified_3d_mrope_reset_spatial_ids"] else start
    grid = torch.meshgrid(times, (rows + space).to(times.dtype), (columns + space).to(times.dtype), indexing="ij")
    text = torch.arange(num_tokens, dtype=torch.float32 if uses_rate else torch.long)
    return torch.cat([text.expand(3, -1), torch.stack([axis.flatten() for axis in grid])], dim=1)
