"""A random Cosmos-Predict2 in the folder layout of the real checkpoint; separate from the random Gemma."""

import json
from pathlib import Path
from typing import Final

import diffusers
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from theworld.tiny.random_weights import draw_weights, measure_latents

LATENT_CHANNELS: Final = 16
NUM_BLOCKS: Final = 4

# The same as in the original checkpoint, but without the guardrail and the text encoder.
MODEL_INDEX: Final = {
    "_class_name": "Cosmos2VideoToWorldPipeline",
    "_diffusers_version": diffusers.__version__,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": [None, None],
    "tokenizer": [None, None],
    "transformer": ["diffusers", "CosmosTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
}


def tiny_vae() -> AutoencoderKLWan:
    """Return a Wan autoencoder of 0.7 million parameters, initialised by diffusers: 8x smaller in space, 4x in time."""
    return AutoencoderKLWan(base_dim=8, z_dim=LATENT_CHANNELS, dim_mult=[1, 2, 4, 4], num_res_blocks=1)


def write_cosmos(folder: Path, seed: int) -> None:
    """Write model_index.json, vae/, transformer/ and scheduler/ of a tiny Cosmos-Predict2."""
    generator = torch.Generator().manual_seed(seed)
    vae = tiny_vae().eval()
    draw_weights(vae, generator)
    measure_latents(vae, generator)
    vae.save_pretrained(folder / "vae")
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
    )
    draw_weights(transformer, generator)
    transformer.save_pretrained(folder / "transformer")
    FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n")
