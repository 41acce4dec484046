"""VAE latents of given frames, and their tap: `vae`, and `true-future` with it."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config import WorldSettings
from theworld.world.tap import WorldTap


def encode_mean(vae: AutoencoderKLWan, frames: UInt8[Tensor, "N F 3 H W"]) -> Float[Tensor, "N C T h w"]:
    """Encode frames to the normalised posterior mean of their latents, in float32; gradients reach the VAE if enabled.

    Args:
        vae: on any device, in any number format.
        frames: pixels in 0..255, F = 1 + 4j; the VAE is causal and returns T = 1 + j slots.
    """
    return normalised_mean(vae, (frames.to(vae.device).float() / 255 * 2 - 1).transpose(1, 2))


def normalised_mean(vae: AutoencoderKLWan, video: Float[Tensor, "N 3 F H W"]) -> Float[Tensor, "N C T h w"]:
    """Encode a video in [-1, 1]: (mean - latents_mean) / latents_std, the arithmetic of diffusers' pipeline."""
    mean = vae.encode(video.to(vae.device, vae.dtype), return_dict=False)[0].mode().float()
    center = torch.tensor(vae.config["latents_mean"], device=mean.device).view(-1, 1, 1, 1)
    scale = torch.tensor(vae.config["latents_std"], device=mean.device).view(-1, 1, 1, 1)
    return (mean - center) / scale


class FirstFrameConv3d(WanCausalConv3d):
    """Causal convolution that skips the zeros before a first frame: there only the last slice of its kernel counts."""

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        if cache_x is not None or x.shape[2] > 1:
            return super().forward(x, cache_x)
        spatially: Any = self._padding[:4]  # the class has no annotations
        return F.conv3d(F.pad(x, spatially), self.weight[:, :, -1:], self.bias, self.stride)


def skip_empty_frames(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Let a VAE skip the zeros before first frames, in place: a third of the operations, equal bits."""
    for layer in vae.modules():
        if type(layer) is WanCausalConv3d:
            layer.__class__ = FirstFrameConv3d
    return vae


class VaeTap(WorldTap):
    """Reads the latent mean of all given frames: the clip (`vae`), or clip and future (`true-future`).

    With `repeat_current` the slots after the clip repeat the current one.
    """

    fingerprint_fields = ("dtype",)

    def __init__(self, settings: WorldSettings, vae: AutoencoderKLWan) -> None:
        super().__init__(settings)
        self.vae = vae

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        latents = encode_mean(self.vae, frames)
        return repeat_last(latents, num_world_steps) if self.settings.repeat_current else latents


def repeat_last(slots: Float[Tensor, "N C T h w"], num_more: int) -> Float[Tensor, "N C T2 h w"]:
    """Append `num_more` copies of the last slot."""
    return torch.cat([slots, slots[:, :, -1:].expand(-1, -1, num_more, -1, -1)], dim=2)


def decode(vae: AutoencoderKLWan, latents: Float[Tensor, "N C T h w"]) -> UInt8[Tensor, "N F H W 3"]:
    """Decode normalised latents to pixels in 0..255, F = 1 + 4 (T - 1) frames.

    To show a video, use `guardrail.show`.
    """
    center = torch.tensor(vae.config["latents_mean"], device=latents.device).view(-1, 1, 1, 1)
    scale = torch.tensor(vae.config["latents_std"], device=latents.device).view(-1, 1, 1, 1)
    video = vae.decode((latents * scale + center).to(vae.device, vae.dtype), return_dict=False)[0]
    pixels = ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 4, 1).cpu()
