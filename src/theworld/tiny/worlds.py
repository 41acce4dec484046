"""Random world models of every family but Cosmos-Predict2, in the folder layouts of the real ones, for tests."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.models.transformers.transformer_cosmos3 import Cosmos3OmniTransformer
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from safetensors.torch import save_file
from torch import nn
from transformers import VJEPA2Config, VJEPA2Model

from theworld.tiny.cosmos import LATENT_CHANNELS, NUM_BLOCKS, tiny_vae, write_cosmos
from theworld.tiny.gemma import without_progress_bars
from theworld.tiny.random_weights import draw_weights, measure_latents

PROMPT_WIDTH: Final = 40
"""Channels of a prompt before its projection."""


def write_predict2_5(folder: Path, seed: int) -> None:
    """Write a tiny Cosmos-Predict2.5, with the embedding of its null prompt."""
    generator = torch.Generator().manual_seed(seed)
    transformer = CosmosTransformer3DModel(
        in_channels=LATENT_CHANNELS + 1,  # and the condition mask
        out_channels=LATENT_CHANNELS,
        num_attention_heads=2,
        attention_head_dim=24,
        num_layers=NUM_BLOCKS,
        mlp_ratio=2.0,
        text_embed_dim=32,
        adaln_lora_dim=16,
        rope_scale=(1.0, 3.0, 3.0),
        concat_padding_mask=True,
        extra_pos_embed_type=None,
        use_crossattn_projection=True,
        crossattn_proj_in_channels=PROMPT_WIDTH,
        encoder_hidden_states_channels=32,
    )
    scheduler = UniPCMultistepScheduler(
        use_karras_sigmas=True,
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        sigma_max=200.0,  # pyright: ignore[reportArgumentType]  # a wrong annotation in diffusers
        sigma_min=0.01,
    )
    _write(folder, "Cosmos2_5_PredictBasePipeline", tiny_vae(), transformer, scheduler, generator)
    _write_prompt(folder, torch.randn(4, PROMPT_WIDTH, generator=generator))


def write_wan2_1(folder: Path, seed: int) -> None:
    """Write a tiny Wan 2.1 T2V."""
    _write_wan(folder, seed, tiny_vae(), LATENT_CHANNELS, expand_timesteps=False)


def write_wan2_2(folder: Path, seed: int) -> None:
    """Write a tiny Wan 2.2 TI2V."""
    _write_wan(folder, seed, _wide_vae(), 3 * LATENT_CHANNELS, expand_timesteps=True)


def _wide_vae() -> AutoencoderKLWan:
    """Return a VAE with 48 latent channels, and 16 px per cell by patches of 2 px."""
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=3 * LATENT_CHANNELS,
        dim_mult=[1, 2, 4, 4],
        num_res_blocks=1,
        is_residual=True,
        patch_size=2,
        in_channels=12,
        out_channels=12,
        scale_factor_spatial=16,
        latents_mean=[0.0] * 3 * LATENT_CHANNELS,
        latents_std=[1.0] * 3 * LATENT_CHANNELS,
    )


def write_cosmos3(folder: Path, seed: int) -> None:
    """Write a tiny Cosmos3-Edge without actions, with a VAE like Wan 2.2's and the ids of its null prompt."""
    transformer = Cosmos3OmniTransformer(
        head_dim=24,
        hidden_size=48,
        intermediate_size=96,
        latent_channel=3 * LATENT_CHANNELS,
        num_attention_heads=2,
        num_hidden_layers=NUM_BLOCKS,
        num_key_value_heads=1,
        patch_latent_dim=4 * 3 * LATENT_CHANNELS,
        vocab_size=2_400,  # more than the tokens of the small tokenizer
        rope_axes_dim=(4, 4, 4),
        hidden_act="relu2",
        qk_norm_for_text=False,
        use_und_k_norm_for_gen=True,
    )
    scheduler = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    generator = torch.Generator().manual_seed(seed)
    index = {"enable_safety_checker": True, "default_use_system_prompt": False, "use_native_flow_schedule": True}
    _write(folder, "Cosmos3OmniPipeline", _wide_vae(), transformer, scheduler, generator, **index)
    _write_prompt(folder, torch.randint(0, 64, (7, 1), generator=generator).float())


def _write_prompt(folder: Path, prompt: torch.Tensor) -> None:
    (folder / "null_prompt").mkdir()
    save_file({"prompt": prompt}, folder / "null_prompt" / "prompt.safetensors")


def _write_wan(folder: Path, seed: int, vae: AutoencoderKLWan, num_channels: int, *, expand_timesteps: bool) -> None:
    transformer = WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=num_channels,
        out_channels=num_channels,
        text_dim=PROMPT_WIDTH,
        freq_dim=32,
        ffn_dim=96,
        num_layers=NUM_BLOCKS,
    )
    scheduler = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    index = {"expand_timesteps": expand_timesteps, "boundary_ratio": None, "transformer_2": [None, None]}
    _write(folder, "WanPipeline", vae, transformer, scheduler, torch.Generator().manual_seed(seed), **index)


def _write(
    folder: Path,
    pipeline: str,
    vae: AutoencoderKLWan,
    transformer: Any,
    scheduler: UniPCMultistepScheduler,
    generator: torch.Generator,
    **more: Any,
) -> None:
    """Draw the weights of a diffusion model, and write its parts and their index, without a text encoder."""
    draw_weights(vae.eval(), generator)
    measure_latents(vae, generator)
    _draw_vectors(transformer, generator)
    parts: dict[str, Any] = {"vae": vae, "transformer": transformer, "scheduler": scheduler}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    index = {
        "_class_name": pipeline,
        "_diffusers_version": diffusers.__version__,
        **{name: [None, None] for name in ("text_encoder", "tokenizer")},
        **{name: ["diffusers", type(part).__name__] for name, part in parts.items()},
        **more,
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


def _draw_vectors(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights, and biases too: without them a prompt of zeros would be neutral."""
    draw_weights(module, generator)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.3, generator=generator)


def write_v_jepa2(folder: Path, seed: int) -> None:
    """Write a tiny V-JEPA 2 for frames of 64 px."""
    config = VJEPA2Config(
        crop_size=64,
        hidden_size=48,
        num_attention_heads=2,
        num_hidden_layers=2,
        pred_hidden_size=48,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=2,
        pred_num_mask_tokens=2,
    )
    model = VJEPA2Model(config).eval()
    _draw_vectors(model, torch.Generator().manual_seed(seed))
    with without_progress_bars():
        model.save_pretrained(folder)


WRITERS: Final[dict[str, Callable[[Path, int], None]]] = {
    "predict2": write_cosmos,
    "predict2.5": write_predict2_5,
    "wan2.1": write_wan2_1,
    "wan2.2": write_wan2_2,
    "cosmos3": write_cosmos3,
    "v-jepa2": write_v_jepa2,
}
