"""Open a tap: load the parts of the world model that it reads, and compute its fingerprint."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from theworld.config import CONTROL_TAPS, WorldSettings
from theworld.config.world import STORED
from theworld.io import fingerprint, fingerprint_weights
from theworld.precision import concrete_dtype, warn_if_emulated
from theworld.world.custom import OwnTap, own_tap
from theworld.world.dit import DenoisedDitTap, DitTap
from theworld.world.families.family import NULL_PROMPT
from theworld.world.families.table import PREDICT2, family_of
from theworld.world.jepa import VJepaTap, jepa_config, jepa_folder, load_jepa
from theworld.world.loading import (
    WEIGHTED_PARTS,
    denoises,
    feature_shape,
    load_prompt,
    load_scheduler,
    load_transformer,
    load_vae,
    locate,
    parts_read,
    read_config,
    resolve_cosmos,
    world_family,
)
from theworld.world.rollout import RolloutTap
from theworld.world.siglip import SiglipTap, gemma_folder, load_tower, vision_config
from theworld.world.tap import NoiseTap, ShapeTap, WorldTap, ZeroTap
from theworld.world.vae import VaeTap

FORMAT: Final = 1
"""Increase this when equal settings and weights give other features, also after a change in diffusers."""

_OF_EVERY_TAP: Final = ("tap", "image_size_px", "repeat_current", "pool")
_OF_TAP: Final = {"true-future": ("control_of",), "random": ("control_of", "seed")}
"""Settings that fingerprints of these taps depend on besides those of the class that reads their features."""


def open_tap(settings: WorldSettings, device: str | torch.device = "cpu") -> WorldTap:
    """Load exactly the parts that the tap needs, and return the tap.

    Features are float32 on `device`. The tap's weights need no gradient and are in eval mode.

    Raises:
        ValueError: if the checkpoint cannot be found, lacks a part or a tensor, has no block `dit_block`, or its
            scheduler has no Karras sigmas.
    """
    settings = replace(settings, dtype=concrete_dtype(settings.dtype, torch.device(device)))
    warn_if_emulated(settings.dtype, device=torch.device(device))
    on_disk, _ = locate(settings)
    shape = feature_shape(on_disk)  # first: it needs no weights, and may raise an error
    tap = _loaded(on_disk, device)
    tap.num_channels, tap.stride_px = shape
    tap.fingerprint = tap_fingerprint(on_disk)
    tap.settings, tap.on_disk = settings, on_disk
    return tap


def tap_class(settings: WorldSettings) -> type[WorldTap]:
    """Return the class that reads the features of these settings."""
    if (registered := own_tap(settings)) is not None:
        return registered
    if settings.tap == "zero":
        return ZeroTap
    if settings.tap == "noise":
        return NoiseTap
    if settings.reads == "siglip":
        return SiglipTap
    if settings.reads == "v-jepa2":
        return VJepaTap
    if settings.reads == "dit":
        return DenoisedDitTap if denoises(settings) else DitTap
    return RolloutTap if settings.shape_of == "rollout" else VaeTap


def _loaded(settings: WorldSettings, device: str | torch.device) -> WorldTap:
    cls = tap_class(settings)
    if issubclass(cls, OwnTap | ShapeTap):
        return cls(settings, device)
    if cls is SiglipTap:
        return SiglipTap(settings, load_tower(settings, device))
    if cls is VJepaTap:
        return VJepaTap(settings, load_jepa(settings, device))
    parts = parts_read(settings)
    scheduler = load_scheduler(settings) if "scheduler" in parts else None  # first: it is small, and may raise an error
    vae = load_vae(settings, device).requires_grad_(False)
    if cls is VaeTap:
        return VaeTap(settings, vae)
    prompt = load_prompt(settings)
    transformer = load_transformer(settings, device).requires_grad_(False)
    family = family_of(Path(settings.cosmos_model_name))
    if scheduler is None:
        return DitTap(settings, vae, transformer, family, prompt)
    pipeline = family.sampler(vae, transformer, scheduler, prompt)
    return RolloutTap(settings, pipeline) if cls is RolloutTap else DenoisedDitTap(settings, pipeline)


def tap_fingerprint(settings: WorldSettings) -> str:
    """Hash everything that a feature of this tap depends on besides its clip, and nothing else."""
    cls = tap_class(settings)
    facts: dict[str, Any] = {"format": FORMAT, **_values(settings, _OF_EVERY_TAP)}
    if issubclass(cls, OwnTap):
        values = {name: getattr(settings, name) for name in cls.fingerprint_fields}
        return fingerprint({**facts, "settings": values, "identity": cls.identity(settings)})
    names = (*cls.fingerprint_fields, *_OF_TAP.get(settings.tap, ()))
    family = None if issubclass(cls, ShapeTap) else world_family(settings)
    if family is not None and not family.uses_frame_rate:
        names = tuple(name for name in names if name != "frame_rate_hz")
    values = _values(settings, names)
    if issubclass(cls, ShapeTap):  # `shape_of` decides if the tap can serve future slots
        shape = {"shape": feature_shape(settings), "shape_of": settings.shape_of}
        return fingerprint({**facts, **shape, **values})
    of_class: dict[Any, Callable[[WorldSettings], dict[str, Any]]] = {
        SiglipTap: _siglip_weights,
        VJepaTap: _jepa_weights,
    }
    return fingerprint({**facts, "settings": values, **of_class.get(cls, _cosmos_weights)(settings)})


def _values(settings: WorldSettings, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of settings, without the defaults of settings that are newer than the first stores."""
    values = {name: getattr(settings, name) for name in names}
    defaults = WorldSettings()
    return {
        name: value
        for name, value in values.items()
        if not (STORED[name].omit_default and value == getattr(defaults, name))
    }


def _siglip_weights(settings: WorldSettings) -> dict[str, Any]:
    folder = gemma_folder(settings.siglip_model_name)
    config = vision_config(settings.siglip_model_name).to_dict()
    return {"config": config, "weights": fingerprint_weights(folder)}


def _jepa_weights(settings: WorldSettings) -> dict[str, Any]:
    loads_weights = settings.tap not in CONTROL_TAPS
    folder, _ = jepa_folder(settings, loads_weights)
    facts: dict[str, Any] = {"config": jepa_config(settings).to_dict()}
    return {**facts, "weights": fingerprint_weights(folder)} if loads_weights else facts


def _cosmos_weights(settings: WorldSettings) -> dict[str, Any]:
    """Return the configurations of the parts that the tap reads, and the fingerprints of the weights that it loads."""
    parts = parts_read(settings)
    loads_weights = settings.tap not in CONTROL_TAPS
    folder, _ = resolve_cosmos(settings.cosmos_model_name, settings.cosmos_revision, parts, loads_weights)
    facts: dict[str, Any] = {"configs": {part: read_config(folder, part) for part in parts}}
    if loads_weights:
        facts["weights"] = {part: fingerprint_weights(folder / part) for part in parts if part in WEIGHTED_PARTS}
    family = family_of(folder)
    if "transformer" in parts and family is not PREDICT2:  # older than the table: its features have no family's name
        facts["family"] = family.name
        if loads_weights and family.prompt != "zeros" and (folder / NULL_PROMPT).is_dir():
            facts["weights"][NULL_PROMPT] = fingerprint_weights(folder / NULL_PROMPT)
    return facts
