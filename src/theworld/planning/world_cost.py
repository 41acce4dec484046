"""Cost of the world model: weights of the networks that a tap runs, their peak memory and operations."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor, nn
from transformers import SiglipVisionModel, VJEPA2Model

from theworld.config import WorldSettings
from theworld.modeling.configuration import WorldFields
from theworld.modeling.freezing import part_of
from theworld.planning.activations import Traced, trace
from theworld.planning.batch_shape import BatchShape
from theworld.world.custom import own_tap
from theworld.world.dit import DitTap
from theworld.world.families.family import Family, stride_of
from theworld.world.families.table import family_of
from theworld.world.jepa import TUBELETS_PER_SLOT, as_video, jepa_config
from theworld.world.loading import denoises, parts_read, read_config, resolve_cosmos, world_family
from theworld.world.siglip import SiglipTap, vision_config
from theworld.world.vae import encode_mean, skip_empty_frames


class WorldCost(NamedTuple):
    """The cost of reading features from the world model."""

    weights: int
    """Bytes of the networks."""
    trained: int
    """Number of trained weights."""
    traced: Traced
    """Memory of a batch."""
    flops: int
    """Operations of a batch in the forward pass."""


NONE = WorldCost(0, 0, Traced(0, 0, 0, 0, 0), 0)


def world_cost_of(config: WorldFields, rows: BatchShape) -> WorldCost:
    """Trace the networks of the configured tap on `meta` with the clips of a batch; constant taps cost nothing.

    Raises:
        ValueError: if the configuration files of the world model cannot be found, or the tap is your own.
    """
    settings = config.world_settings()
    if not config.enable_world or settings.tap in ("zero", "noise"):
        return NONE
    if own_tap(settings) is not None:
        raise ValueError(
            f"{settings.tap!r} is your own tap, whose network a plan does not know: plan with a tap of as many tokens"
        )
    nets = _networks(settings)
    nets.to(getattr(torch, settings.dtype))
    nets.requires_grad_(False)
    if not config.freeze_cosmos_vae:
        for name, weight in nets.named_parameters():
            if part_of(name.replace("vae.", "cosmos_vae.", 1)) == "cosmos_vae":
                weight.data, weight.requires_grad = weight.data.float(), True
    weights = sum(weight.nbytes for weight in nets.parameters())
    trained = sum(weight.numel() for weight in nets.parameters() if weight.requires_grad)
    if not rows.num_clips:
        return WorldCost(weights, trained, NONE.traced, 0)
    side = settings.image_size_px

    def inputs() -> tuple[tuple[Tensor, ...], dict[str, Any]]:
        return (torch.empty(rows.num_clips, rows.num_frames, 3, side, side, dtype=torch.uint8),), {}

    def encode(networks: Any, frames: Tensor) -> Tensor:
        return encode_mean(networks["vae"], frames)

    def read(networks: Any, frames: Tensor) -> Tensor:
        if settings.reads == "siglip":
            tap = SiglipTap(settings, networks["tower"])
            tap.stride_px = networks["tower"].config.patch_size * settings.pool
            return tap._read(frames, rows.num_world_steps, ())
        if settings.reads == "v-jepa2":
            return _predict_once(networks["jepa"], frames, 0 if settings.sees_future else rows.num_world_steps)
        return _denoise_once(settings, networks, frames, rows.num_world_steps)

    once = encode if list(nets) == ["vae"] else read
    traced = trace(nets, inputs, flows=False, run=once)
    flops = traced.flops
    if "transformer" in nets and _num_forwards(settings, rows.num_world_steps) != 1:
        encoded = trace(nets, inputs, flows=False, run=encode).flops
        flops = encoded + (flops - encoded) * _num_forwards(settings, rows.num_world_steps)
    return WorldCost(weights, trained, traced, flops)


def _networks(settings: WorldSettings) -> nn.ModuleDict:
    """Return the networks that the tap loads, on `meta`."""
    if settings.reads == "siglip":
        with torch.device("meta"):
            return nn.ModuleDict({"tower": SiglipVisionModel(vision_config(settings.siglip_model_name))})
    if settings.reads == "v-jepa2":
        with torch.device("meta"):
            return nn.ModuleDict({"jepa": VJEPA2Model(jepa_config(settings))}).eval()
    parts = parts_read(settings)
    folder, _ = resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, parts, weights=False)
    networks: dict[str, nn.Module] = {}
    with torch.device("meta"):
        vae: Any = AutoencoderKLWan.from_config(read_config(folder, "vae"))
        networks["vae"] = skip_empty_frames(vae)
        if "transformer" in parts:
            values = read_config(folder, "transformer")
            if settings.reads == "dit" and not denoises(settings):
                values[family_of(folder).num_blocks] = settings.dit_block + 1
            transformer_class: Any = family_of(folder).classes["transformer"]
            networks["transformer"] = transformer_class.from_config(values)
    return nn.ModuleDict(networks).eval()


def _predict_once(jepa: Any, frames: Tensor, num_world_steps: int) -> Tensor:
    """Encode the clip, and run the predictor's layers on as many patches as it predicts from.

    The predictor itself reads the number of patches from its input, which has no values here.
    """
    states = jepa.encoder(as_video(frames).to(jepa.dtype)).last_hidden_state
    if num_world_steps:
        num_future = num_world_steps * TUBELETS_PER_SLOT * (jepa.config.crop_size // jepa.config.patch_size) ** 2
        patches = jepa.predictor.embeddings.predictor_embeddings(states)
        patches = torch.cat([patches, patches.new_empty(len(frames), num_future, patches.shape[-1])], dim=1)
        positions = torch.arange(patches.shape[1]).expand(len(frames), -1)
        for layer in jepa.predictor.layer:
            patches = layer(patches, positions)[0]
        states = torch.cat([states, jepa.predictor.proj(patches[:, -num_future:])], dim=1)
    return states.float()


def _denoise_once(settings: WorldSettings, networks: Any, frames: Tensor, num_world_steps: int) -> Tensor:
    """Encode the clip, and run all loaded blocks once."""
    transformer, vae = networks["transformer"], networks["vae"]
    family = _family_of(settings)
    last = len(family.blocks_of(transformer)) - 1
    once = replace(settings, tap="dit", control_of="vae", dit_block=last, dit_future="repeat", repeat_current=False)
    prompt = torch.zeros(1, family.num_prompt_tokens, family.prompt_width(transformer.config))
    tap = DitTap(once, vae, transformer, family, prompt)
    tap.stride_px = stride_of(vae.config) * family.patch(transformer.config) * settings.pool
    return tap._read(frames, num_world_steps, [0] * len(frames))


def _num_forwards(settings: WorldSettings, num_world_steps: int) -> int:
    """Return the forward passes of the denoiser for a batch: none, one, or at most those of the rollouts."""
    num_forwards = settings.num_inference_steps - _family_of(settings).idle_forwards
    if settings.shape_of == "rollout":
        return num_forwards * settings.num_rollouts if num_world_steps > 0 else 0
    return num_forwards if denoises(settings) and num_world_steps else 1


def _family_of(settings: WorldSettings) -> Family:
    family = world_family(settings)
    assert family is not None, settings.tap
    return family
