"""Random weights that pass pictures on; separate because the control of an untrained world uses them too."""

from typing import Final

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import nn

GAIN: Final = 0.7


def draw_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Redraw every matrix and kernel from a normal distribution of standard deviation 0.7 / sqrt(fan in); vectors stay.

    With the libraries' initialisation, a random Gemma 3 ignores pictures (its image projection starts at zero), and
    random Cosmos features are nearly constant.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim < 2 or name.endswith("gamma"):  # gamma: the Wan VAE's norms have shape (C, 1, 1, 1)
                continue
            fan_in = parameter.numel() // parameter.shape[0]
            if name.endswith("mm_input_projection_weight"):  # the one matrix stored (in, out)
                fan_in = parameter.shape[0]
            parameter.normal_(std=GAIN * fan_in**-0.5, generator=generator)


def measure_latents(vae: AutoencoderKLWan, generator: torch.Generator) -> None:
    """Set latents_mean and latents_std from random pictures; the original values come from data."""
    patches = torch.rand(8, 3, 1, 4, 4, generator=generator) * 2 - 1
    pictures = nn.functional.interpolate(patches, size=(1, 64, 64), mode="nearest")
    with torch.no_grad():
        latents = vae.encode(pictures, return_dict=False)[0].mode()
    vae.register_to_config(
        latents_mean=[round(value, 4) for value in latents.mean(dim=(0, 2, 3, 4)).tolist()],
        latents_std=[round(value, 4) for value in latents.std(dim=(0, 2, 3, 4)).tolist()],
    )
