"""What reading the world costs: the weights of the networks that a tap runs, memory in passing, operations."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from torch import Tensor, nn
from transformers import SiglipVisionModel

from theworld.config import WorldSettings
from theworld.modeling.configuration import TheWorldConfig
from theworld.modeling.freezing import part_of
from theworld.planning.activations import Traced, trace
from theworld.planning.batch_shape import Rows
from theworld.world.custom import own_tap
from theworld.world.dit import DitTap
from theworld.world.loading import denoises, parts_read, read_config, resolve_cosmos
from theworld.world.siglip import SiglipTap, vision_config
from theworld.world.vae import encode_mean, skip_empty_frames


class Reading(NamedTuple):
    """The world that a tap reads."""

    weights: int
    """Bytes of its networks."""
    trained: int
    """Numbers of those of its weights that train."""
    traced: Traced
    """Of reading a batch."""
    flops: int
    """Operations of reading a batch, once forwards."""


NONE = Reading(0, 0, Traced(0, 0, 0, 0, 0), 0)


def reading_of(config: TheWorldConfig, rows: Rows) -> Reading:
    """The networks of the configured tap, on `meta`, reading the clips of a batch; constants read nothing.

    Raises:
        ValueError: if the configuration files of the world cannot be found, or the tap is one's own.
    """
    settings = config.world_settings()
    if not config.enable_world or settings.tap in ("zero", "noise"):
        return NONE
    if own_tap(settings) is not None:
        raise ValueError(
            f"{settings.tap!r} is a tap of one's own, whose network no plan knows: plan with another of as many tokens"
        )
    nets = _networks(settings)
    nets.to(getattr(torch, settings.dtype))
    nets.requires_grad_(False)
    if not config.freeze_cosmos_vae:
        for name, weight in nets.named_parameters():
            if part_of(name.replace("vae.", "cosmos_vae.", 1)) == "cosmos_vae":
                weight.data, weight.requires_grad = weight.data.float(), True
    sizes = [(one.numel(), one.element_size(), one.requires_grad) for one in nets.parameters()]
    weights = sum(number * size for number, size, _ in sizes)
    trained = sum(number for number, _, trains in sizes if trains)
    if not rows.num_clips:
        return Reading(weights, trained, NONE.traced, 0)
    side = settings.image_size_px

    def inputs() -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        return (torch.empty(rows.num_clips, rows.num_frames, 3, side, side, dtype=torch.uint8),), {}

    def encode(networks: Any, frames: Tensor) -> Tensor:
        return encode_mean(networks["vae"], frames)

    def read(networks: Any, frames: Tensor) -> Tensor:
        if settings.reads == "siglip":
            tap = SiglipTap(settings, networks["tower"])
            tap.stride_px = networks["tower"].config.patch_size
            return tap._read(frames, rows.num_world_steps, ())
        return _denoise_once(settings, networks, frames, rows.num_world_steps)

    once = encode if list(nets) == ["vae"] else read
    traced = trace(nets, inputs, flows=False, run=once)
    flops = traced.flops
    if "transformer" in nets and _num_forwards(settings, rows.num_world_steps) != 1:
        encoded = trace(nets, inputs, flows=False, run=encode).flops
        flops = encoded + (flops - encoded) * _num_forwards(settings, rows.num_world_steps)
    return Reading(weights, trained, traced, flops)


def _networks(settings: WorldSettings) -> nn.ModuleDict:
    """What the tap loads, without weights."""
    if settings.reads == "siglip":
        with torch.device("meta"):
            return nn.ModuleDict({"tower": SiglipVisionModel(vision_config(settings.siglip_model_name))})
    parts = parts_read(settings)
    folder, _ = resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, parts, weights=False)
    found: dict[str, nn.Module] = {}
    with torch.device("meta"):
        vae: Any = AutoencoderKLWan.from_config(read_config(folder, "vae"))
        found["vae"] = skip_empty_frames(vae)
        if "transformer" in parts:
            values = read_config(folder, "transformer")
            if settings.reads == "dit" and not denoises(settings):
                values["num_layers"] = settings.dit_block + 1
            transformer: Any = CosmosTransformer3DModel.from_config(values)
            found["transformer"] = transformer
    return nn.ModuleDict(found).eval()


def _denoise_once(settings: WorldSettings, networks: Any, frames: Tensor, num_world_steps: int) -> Tensor:
    """The clip encoded, and one forward of all blocks that are loaded."""
    transformer = networks["transformer"]
    last = len(transformer.transformer_blocks) - 1
    once = replace(settings, tap="dit", control_of="vae", dit_block=last, dit_future="repeat", repeat_current=False)
    tap = DitTap(once, networks["vae"], transformer)
    tap.stride_px = frames.shape[-1] // (
        frames.shape[-1] // 2 ** len(networks["vae"].config["temperal_downsample"]) // 2
    )
    return tap._read(frames, num_world_steps, [0] * len(frames))


def _num_forwards(settings: WorldSettings, num_world_steps: int) -> int:
    """Forward passes of the denoiser for a batch: none, one, or at most those of the rollouts."""
    if settings.shape_of == "rollout":
        return (settings.num_inference_steps - 1) * settings.num_rollouts * (num_world_steps > 0)
    return settings.num_inference_steps - 1 if denoises(settings) and num_world_steps else 1
