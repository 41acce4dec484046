"""Stage vae: train a Wan autoencoder of 0.7 million parameters to reconstruct simulated clips."""

import dataclasses
import math
from typing import Any, Final

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanResample
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from recipes.pools import ClipPool, held_out
from recipes.settings import TinySettings
from recipes.trainer import Objective, halve, start_from, train_on_cpu
from theworld.io import whole_folder
from theworld.tiny.cosmos import tiny_vae


def encode_mean(vae: AutoencoderKLWan, pixels: Float[Tensor, "B 3 F H W"]) -> Float[Tensor, "B 16 T h w"]:
    """Return the posterior mean of a clip, equal to `vae.encode(pixels).latent_dist.mean`.

    Args:
        vae: an autoencoder with `is_residual` and `patch_size` off.
        pixels: in [-1, 1]; F = 4 (T - 1) + 1 frames.

    Raises:
        ValueError: if the number of frames leaves the last slot unfilled.
    """
    num_frames = pixels.shape[2]
    if num_frames % 4 != 1:
        raise ValueError(f"a clip of {num_frames} frames: expected 4 j + 1: latent slots after the first take 4")
    encoder = vae.encoder
    hidden = encoder.conv_in(pixels)
    for layer in encoder.down_blocks:
        hidden = _resampled(layer, hidden) if isinstance(layer, WanResample) else layer(hidden)
    hidden = encoder.nonlinearity(encoder.norm_out(encoder.mid_block(hidden)))
    return vae.quant_conv(encoder.conv_out(hidden))[:, : vae.config["z_dim"]]


def decode(vae: AutoencoderKLWan, latents: Float[Tensor, "B 16 T h w"]) -> Float[Tensor, "B 3 F H W"]:
    """Return the clip of latents, equal to `vae.decode(latents).sample` before it clamps to [-1, 1]."""
    decoder = vae.decoder
    hidden = decoder.mid_block(decoder.conv_in(vae.post_quant_conv(latents)))
    block: Any  # its class has no annotations
    for block in decoder.up_blocks:
        for residual in block.resnets:
            hidden = residual(hidden)
        if block.upsamplers is not None:
            hidden = _resampled(block.upsamplers[0], hidden)
    return decoder.conv_out(decoder.nonlinearity(decoder.norm_out(hidden)))


def channels_last(vae: AutoencoderKLWan) -> None:
    """Move the channels of the kernels last in memory, in place; a step on a CPU then takes 0.6 of the time."""
    for parameter in vae.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        elif parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def _resampled(layer: WanResample, hidden: Tensor) -> Tensor:
    """Resample a whole clip in space and time; the first frame (of its own chunk) never mixes with others in time.

    down   f0 | f1 f2 f3 f4 ...  ->  f0 | conv(f0 f1 f2) conv(f2 f3 f4) ...
    up     s0 | s1 s2 ...        ->  s0 | a1 b1 a2 b2 ...     (a_i, b_i) = conv(s_{i-2} s_{i-1} s_i), s0 read as zero
    """
    spatially: nn.Module = layer  # without a cache, the forward of diffusers resamples in space only
    if layer.mode == "upsample3d" and hidden.shape[2] > 1:
        pairs = layer.time_conv(hidden[:, :, 1:]).unflatten(1, (2, -1))
        later = pairs.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
        return spatially(torch.cat([hidden[:, :, :1], later], dim=2))
    hidden = spatially(hidden)
    if layer.mode == "downsample3d" and hidden.shape[2] > 1:
        hidden = torch.cat([hidden[:, :, :1], layer.time_conv(hidden)], dim=2)
    return hidden


LATENT_NOISE: Final = 0.1
"""Standard deviation of the noise on latents in training; it makes the decoder robust to errors of the world model."""

_SATURATED: Final = 0.4
"""Pixels with a larger spread between their colour channels, in [-1, 1], are coloured: balls, bins, blocks."""
_COLOUR_WEIGHT: Final = 4.0
"""Extra weight of coloured pixels: moving objects are small, and the background would dominate the loss."""
_MOVED: Final = 0.1
"""Pixels further than this from their median over the window, in [-1, 1], are moving."""
_MOTION_WEIGHT: Final = 20.0
"""Extra weight of moving pixels: varied scenes colour planks and grounds, too, and balls are small in them."""
_SQUARE_WEIGHT: Final = 5.0
"""Weight of squared errors when only the decoder trains: the remaining errors are large ones of few pixels."""
_SCALE_WEIGHT: Final = 1e-4
_NUM_CLIPS_FOR_STATISTICS: Final = 500
_BATCH_WITHOUT_GRADIENT: Final = 10


class VaeObjective(Objective):
    """Mean absolute error of windows decoded from noised latents; coloured and moving pixels count more."""

    def __init__(
        self,
        vae: AutoencoderKLWan,
        held_out_clips: UInt8[np.ndarray, "N 17 H W 3"],
        num_frames: int = 17,
        decoder_only: bool = False,
    ) -> None:
        super().__init__()
        self.vae = vae
        self._decoder_only = decoder_only
        for part in (vae.encoder, vae.quant_conv):
            part.requires_grad_(not decoder_only)
        self.num_frames = num_frames
        self._held_out = held_out_clips

    def forward(self, clips: UInt8[Tensor, "B 17 H W 3"]) -> dict[str, Tensor]:
        """Return the loss of a batch, on one window of each clip."""
        starts = torch.randint(clips.shape[1] - self.num_frames + 1, (len(clips),)).tolist()
        windows = [clip[start : start + self.num_frames] for clip, start in zip(clips, starts, strict=True)]
        pixels = to_pixels(torch.stack(windows))
        latents = encode_mean(self.vae, pixels)
        decoded = decode(self.vae, latents + LATENT_NOISE * torch.randn_like(latents)).float()
        weights = 1 + _COLOUR_WEIGHT * _coloured(pixels) + _MOTION_WEIGHT * _moving(pixels)
        distance = (decoded - pixels).abs()
        if self._decoder_only:
            distance = distance + _SQUARE_WEIGHT * distance.square()
        error = (weights * distance).mean()
        excess = (latents.float().square() - 1).clamp_min(0).mean()  # latents must not outgrow the noise
        return {"loss": error + _SCALE_WEIGHT * excess}

    def measure(self) -> dict[str, float]:
        """Return the peak signal-to-noise ratio on the held-out clips, dB."""
        return {"psnr_db": round(psnr_db(self.vae, self._held_out), 3)}


def _coloured(pixels: Float[Tensor, "B 3 F H W"]) -> Float[Tensor, "B 1 F H W"]:
    """Return 1 where a pixel's channels differ much, else 0."""
    return (pixels.amax(1, keepdim=True) - pixels.amin(1, keepdim=True) > _SATURATED).float()


def _moving(pixels: Float[Tensor, "B 3 F H W"]) -> Float[Tensor, "B 1 F H W"]:
    """Return 1 where a pixel is far from its median over the window's frames, else 0; all 0 in single pictures."""
    still = pixels.median(dim=2, keepdim=True).values
    return ((pixels - still).abs().amax(1, keepdim=True) > _MOVED).float()


def build_vae(settings: TinySettings) -> dict[str, Any]:
    """Train the autoencoder and write `cosmos/vae` of the build folder.

        output_dir/clips/    the pool of clips, kept for later stages
        output_dir/vae/N/    recipe, curves, checkpoint of phase N
        output_dir/cosmos/vae/

    Returns:
        The folder and the quality, as `verify_vae`.
    """
    recipe = settings.vae
    torch.manual_seed(settings.seed)
    vae = tiny_vae()
    start = start_from(settings.start_from, "cosmos/vae", vae)
    channels_last(vae)
    size_px, scenes = settings.image_size_px, settings.scenes
    pool = ClipPool(settings.output_dir / "clips", recipe.num_clips, size_px, settings.num_threads, scenes)
    held_out_clips = held_out(recipe.num_held_out, size_px, scenes)
    for number, phase in enumerate(recipe.phases, start=1):
        so_far = dataclasses.replace(recipe, phases=recipe.phases[:number])  # later phases do not change this one
        train_on_cpu(
            VaeObjective(vae, held_out_clips, phase.num_frames, phase.decoder_only),
            pool,
            settings.output_dir / "vae" / str(number),
            recipe={**settings.identity, **start, **dataclasses.asdict(so_far)},
            measure_steps=recipe.measure_steps,
            max_steps=phase.num_steps,
            per_device_train_batch_size=phase.batch_size,
            learning_rate=phase.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=recipe.warmup_steps,
            adam_beta2=0.95,
            weight_decay=0.0,
            max_grad_norm=1.0,
            seed=settings.seed,
        )
    _fix_posterior(vae)
    _measure_latents(vae, np.stack([pool[i]["clips"] for i in range(min(len(pool), _NUM_CLIPS_FOR_STATISTICS))]))
    with whole_folder(settings.output_dir / "cosmos" / "vae") as aside:
        plain = tiny_vae()  # files need kernels in the plain order
        plain.load_state_dict(vae.state_dict())
        plain.register_to_config(**{name: vae.config[name] for name in ("latents_mean", "latents_std")})
        plain.save_pretrained(aside)
        halve(aside)
    return verify_vae(settings)


def verify_vae(settings: TinySettings) -> dict[str, Any]:
    """Measure the autoencoder of a build folder on held-out clips.

    Returns:
        vae: its folder; psnr_db, the mean over clips; num_clips.
    """
    folder = settings.output_dir / "cosmos" / "vae"
    vae: AutoencoderKLWan = AutoencoderKLWan.from_pretrained(folder)  # pyright: ignore[reportAssignmentType]
    clips = held_out(settings.vae.num_held_out, settings.image_size_px, settings.scenes)
    return {"vae": str(folder), "psnr_db": round(psnr_db(vae, clips), 3), "num_clips": len(clips)}


def to_pixels(clips: UInt8[Tensor, "B F H W 3"]) -> Float[Tensor, "B 3 F H W"]:
    """Return frames as the autoencoder reads them, in [-1, 1]; the channels stay last in memory."""
    return clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


@torch.no_grad()
def encode_clips(vae: AutoencoderKLWan, clips: UInt8[np.ndarray, "N F H W 3"]) -> Float[Tensor, "N 16 T h w"]:
    """Return posterior means of clips in float32, not normalised; computed in the format of the VAE's weights."""
    batches = torch.from_numpy(np.ascontiguousarray(clips)).split(_BATCH_WITHOUT_GRADIENT)
    return torch.cat([encode_mean(vae, to_pixels(batch).to(vae.dtype)).float().contiguous() for batch in batches])


@torch.no_grad()
def psnr_db(vae: AutoencoderKLWan, clips: UInt8[np.ndarray, "N F H W 3"]) -> float:
    """Return the peak signal-to-noise ratio of reconstructed clips, dB, as the mean over clips."""
    ratios: list[float] = []
    for batch in torch.from_numpy(np.ascontiguousarray(clips)).split(_BATCH_WITHOUT_GRADIENT):
        pixels = to_pixels(batch)
        decoded = decode(vae, encode_mean(vae, pixels)).clamp(-1, 1)
        squared = (decoded - pixels).square().mean(dim=(1, 2, 3, 4)) / 4  # the range of pixels is 2
        ratios += (-10 * torch.log10(squared)).tolist()
    return math.fsum(ratios) / len(ratios)


@torch.no_grad()
def _fix_posterior(vae: AutoencoderKLWan) -> None:
    """Set the width of the posterior to that of the training noise, without changing its mean."""
    half = vae.config["z_dim"]
    vae.quant_conv.weight[half:] = 0
    bias = vae.quant_conv.bias
    assert bias is not None
    bias[half:] = 2 * math.log(LATENT_NOISE)  # the bias is a log variance


def _measure_latents(vae: AutoencoderKLWan, clips: UInt8[np.ndarray, "N F H W 3"]) -> None:
    """Set latents_mean and latents_std from clips; all later stages normalise latents by them."""
    latents = encode_clips(vae, clips)
    vae.register_to_config(
        latents_mean=[round(value, 4) for value in latents.mean(dim=(0, 2, 3, 4)).tolist()],
        latents_std=[round(value, 4) for value in latents.std(dim=(0, 2, 3, 4)).tolist()],
    )
