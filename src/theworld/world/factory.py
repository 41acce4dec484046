"""Opening a tap: which parts of the world model are loaded for it, and the fingerprint of what it reads."""

from dataclasses import asdict, replace
from typing import Any, Final

import torch

from theworld.config import CONTROL_TAPS, WorldSettings
from theworld.io import fingerprint, fingerprint_weights
from theworld.precision import concrete_dtype, warn_if_emulated
from theworld.world.controls import NoiseTap, ZeroTap
from theworld.world.custom import own_tap
from theworld.world.dit import DitTap
from theworld.world.loading import (
    WEIGHTED_PARTS,
    feature_shape,
    load_scheduler,
    load_transformer,
    load_vae,
    locate,
    parts_read,
    read_config,
    resolve_cosmos,
)
from theworld.world.rollout import RolloutPipeline, RolloutTap
from theworld.world.siglip import SiglipTap, gemma_folder, load_tower, vision_config
from theworld.world.tap import WorldTap
from theworld.world.vae import VaeTap

FORMAT: Final = 1
"""Raised whenever the same settings and weights come to give other features, a change in diffusers included."""

_PLACES: Final = ("cosmos_model_name", "cosmos_revision", "siglip_model_name")
"""Settings that say where a world lies and not what it is."""


def open_tap(settings: WorldSettings, device: str | torch.device = "cpu") -> WorldTap:
    """Load what the tap needs, and nothing else, and give the tap.

    Features are float32 and lie on `device`. A tap's weights need no gradient and are in eval mode.

    Raises:
        ValueError: if the checkpoint cannot be found, lacks a part or a tensor, has no block `dit_block`, or its
            scheduler has no Karras sigmas.
    """
    settings = replace(settings, dtype=concrete_dtype(settings.dtype, torch.device(device)))
    warn_if_emulated(settings.dtype, device=torch.device(device))
    on_disk, _ = locate(settings)
    tap = _loaded(on_disk, device)
    tap.num_channels, tap.stride_px = feature_shape(on_disk)
    tap.fingerprint = tap_fingerprint(on_disk)
    tap.settings = settings
    return tap


def _loaded(settings: WorldSettings, device: str | torch.device) -> WorldTap:
    if (own := own_tap(settings)) is not None:
        return own(settings, device)
    if settings.tap == "zero":
        return ZeroTap(settings, device)
    if settings.tap == "noise":
        return NoiseTap(settings, device)
    if settings.reads == "siglip":
        return SiglipTap(settings, load_tower(settings, device))
    parts = parts_read(settings)
    scheduler = load_scheduler(settings) if "scheduler" in parts else None  # first: it is small and may be refused
    vae = load_vae(settings, device).requires_grad_(False)
    if "transformer" not in parts:
        return VaeTap(settings, vae)
    transformer = load_transformer(settings, device).requires_grad_(False)
    pipeline = None if scheduler is None else RolloutPipeline.of(vae, transformer, scheduler)
    if settings.shape_of == "rollout" and pipeline is not None:
        return RolloutTap(settings, pipeline)
    return DitTap(settings, vae, transformer, pipeline)


def tap_fingerprint(settings: WorldSettings) -> str:
    """Hash of all that a feature of this tap depends on besides its clip, and of nothing else."""
    facts: dict[str, Any] = {"format": FORMAT, "tap": settings.tap, "image_size_px": settings.image_size_px}
    if settings.repeat_current:
        facts["repeat_current"] = True
    if (own := own_tap(settings)) is not None:
        given = {name: value for name, value in asdict(settings).items() if name not in _PLACES}
        return fingerprint({**facts, "settings": given, "identity": own.identity(settings)})
    if settings.tap in ("zero", "noise"):
        facts["shape"] = feature_shape(settings)
        facts["shape_of"] = settings.shape_of  # decides which futures can be asked for
        if settings.tap == "noise":
            facts["seed"] = settings.seed
        return fingerprint(facts)
    names = ["dtype"]
    if settings.tap == "true-future":
        names += ["control_of"]
    if settings.reads == "siglip":
        folder = gemma_folder(settings.siglip_model_name)
        facts["config"] = vision_config(settings.siglip_model_name).to_dict()
        facts["weights"] = fingerprint_weights(folder)
        return fingerprint({**facts, "settings": {name: getattr(settings, name) for name in names}})
    if settings.reads == "dit" or settings.shape_of == "rollout":
        names += ["seed", "frame_rate_hz"]
    if settings.reads == "dit":
        names += ["dit_block", "dit_noise_level", "dit_future"]
    parts = parts_read(settings)
    if "scheduler" in parts:
        names += ["num_inference_steps"]
    if settings.shape_of == "rollout" and settings.num_rollouts > 1:
        names += ["num_rollouts"]
    if settings.tap == "random":
        names += ["seed", "control_of"]
    facts["settings"] = {name: getattr(settings, name) for name in names}
    weights = settings.tap not in CONTROL_TAPS
    folder, _ = resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, parts, weights)
    facts["configs"] = {part: read_config(folder, part) for part in parts}
    if weights:
        facts["weights"] = {part: fingerprint_weights(folder / part) for part in parts if part in WEIGHTED_PARTS}
    return fingerprint(facts)
