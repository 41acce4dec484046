"""Load the model, processor or configuration that settings describe."""

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import PartialState

from theworld.config import ModelSettings
from theworld.constants import TINY_FUSED_MODEL, TINY_MODEL
from theworld.io import fingerprint_weights
from theworld.modeling import loading
from theworld.modeling.configuration import FUTURE_ONLY, WORLD_CONFIG_FIELDS, WORLD_FIELDS, WorldFields, as_adapters
from theworld.modeling.model import TheWorld
from theworld.modeling.names import find
from theworld.modeling.processor import TheWorldProcessor
from theworld.precision import concrete_dtype

_SHARED: Final = [entry.name for entry in fields(ModelSettings) if entry.name in WORLD_CONFIG_FIELDS]
"""Settings of the model that have the same name in TheWorldConfig."""


def open_model(settings: ModelSettings, *, load_world: bool = True, **options: Any) -> TheWorld:
    """Load the model that the settings describe.

    A checkpoint has its own settings. Those given here apply to it if they concern freezing (with `transfer_tap` also
    the source of the tap's future), or if they differ from the default: then they must agree with the checkpoint or be
    free to change.

    Args:
        settings: of the model.
        load_world: False for features from a store.
        options: options of `TheWorld.from_pretrained` (`device_map`, `world_device`, ...).

    Raises:
        FileNotFoundError: for a checkpoint that does not exist.
    """
    values = _given(settings)
    if settings.attn_implementation is not None:
        options["attn_implementation"] = settings.attn_implementation
    return TheWorld.from_pretrained(
        _source(settings),
        revision=settings.gemma_revision,
        load_world=load_world,
        transfer_tap=settings.transfer_tap,
        dtype=getattr(torch, concrete_dtype(settings.dtype)),
        **values,
        **options,
    )


def open_processor(settings: ModelSettings) -> TheWorldProcessor:
    """Load the processor of the model that the settings describe, without weights.

    Raises:
        FileNotFoundError: for a checkpoint that does not exist.
    """
    return TheWorldProcessor.from_config(configuration_of(settings))


def configuration_of(settings: ModelSettings) -> WorldFields:
    """Build the configuration of the model that the settings describe, without weights.

    Raises:
        FileNotFoundError: for a checkpoint that does not exist.
    """
    config, _ = loading.resolve(
        _source(settings),
        _given(settings),
        transfer_tap=settings.transfer_tap,
        revision=settings.gemma_revision,
    )
    return config


def _source(settings: ModelSettings) -> str:
    """Return the folder or hub id that the weights come from."""
    return settings.gemma_model_name if settings.checkpoint is None else find(settings.checkpoint)


def _given(settings: ModelSettings) -> dict[str, Any]:
    """Select the fields of the configuration that the settings decide; a checkpoint decides the others."""
    values = fields_of(settings)
    if settings.checkpoint is None:
        return values
    defaults = fields_of(ModelSettings(gemma_model_name=settings.gemma_model_name))
    kept = {name for name in values if name.startswith("freeze_")}
    if settings.transfer_tap:
        kept |= FUTURE_ONLY
    return {name: value for name, value in values.items() if value != defaults[name] or name in kept}


def to_be_asked(name: str) -> str:
    """Return the name of a trained model: "tiny" has an untrained fusion, so it becomes "tiny-foresight"."""
    return TINY_FUSED_MODEL if name == TINY_MODEL else name


def has_new_projector(model: TheWorld) -> bool:
    """Return True for a world whose projector was never trained, in this process or before it was saved.

    A new projector has one scale for all entries, and any step of training changes each entry in its own way.
    """
    scale = model.world.scale if model.config.enable_world else None
    return scale is not None and bool((scale == scale[0]).all())


def describe_weights(model: TheWorld) -> str:
    """Return the name of the model's base, and the fingerprint of its weights or their revision on the hub."""
    return describe_saved(model.config, Path(str(model.config.name_or_path)))


def describe_saved(config: WorldFields, folder: Path) -> str:
    """Return what `describe_weights` says of the model with this configuration and these weights; none load."""
    return f"{config.base_model_name} {fingerprint_weights(folder) if folder.is_dir() else config.base_revision}"


def scope_of(config: WorldFields, name: str) -> str:
    """Return a sentence on what a checkpoint has learnt from, for whoever asks it; empty if that is not recorded."""
    if not config.trained_on:
        return ""
    return (
        f"{name} has learnt from {', then '.join(config.trained_on)} alone: its answers about other pictures mean"
        " little."
    )


def on_this_machine(dtype: str = "auto") -> dict[str, Any]:
    """Return the options of `TheWorld.from_pretrained` for this machine: on its accelerators, if it has any.

    Of several processes that a launcher has joined, each takes its own accelerator.

    Args:
        dtype: number format of the weights; auto: as saved, or float32 if this machine emulates that.
    """
    if not torch.cuda.is_available():
        return {"dtype": dtype}
    is_one_of_several = torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1
    return {"dtype": dtype, "device_map": str(PartialState().device) if is_one_of_several else "auto"}


def fields_of(settings: ModelSettings) -> dict[str, Any]:
    """Return the settings under their names in TheWorldConfig."""
    shared = {name: getattr(settings, name) for name in _SHARED}
    world = {stored: getattr(settings.world, name) for name, stored in WORLD_FIELDS.items()}
    world["world_dtype"] = concrete_dtype(settings.world.dtype)
    return {**shared, "lora": as_adapters(settings.lora), **world}
