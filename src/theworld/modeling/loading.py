"""Resolve model names (hub id, folder, embedded tiny stack, saved TheWorld) to configurations and files."""

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from tokenizers import Tokenizer
from transformers.utils.hub import cached_file, resolve_revision

from theworld.config import CONTROL_TAPS
from theworld.config.world import STORED, TINY_WORLD, looks_ahead_by
from theworld.constants import DEFAULT_COSMOS_MODEL, DEFAULT_GEMMA_MODEL, TINY_MODEL, WORLD_TOKENS
from theworld.hub import fetch
from theworld.io import fingerprint_weights
from theworld.modeling.base_files import read_base, reporting_file_errors
from theworld.modeling.bases import GEMMA3, base_of
from theworld.modeling.config_files import (
    CONFIG_NAME,
    CheckpointError,
    check_config,
    check_parts,
    check_same_base,
    read_json,
    warn_of_unknown,
)
from theworld.modeling.configuration import CONFIGS, FUTURE_ONLY, MAY_CHANGE, WorldFields, as_world_settings
from theworld.modeling.names import base_folder, embedded, is_checkpoint, kind_of
from theworld.precision import is_emulated, loading_dtype, name_of

logger = logging.getLogger(__name__)

_UNBUILDABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""Errors of transformers for values of a configuration that it does not check."""

WEIGHTS_NAME = "model.safetensors"
CHECKPOINT_FILES = (CONFIG_NAME, "generation_config.json", WEIGHTS_NAME)
"""Files of a saved TheWorld."""

TINY_SETTINGS = {STORED[name].name: value for name, value in TINY_WORLD.items()}


def resolve(
    name: str,
    settings: dict[str, Any],
    *,
    transfer_tap: bool = False,
    loads_world: bool = False,
    dtype: Any = None,
    **hub: Any,
) -> tuple[WorldFields, Path | None]:
    """Find the configuration that a name and settings give, and the folder of the checkpoint; no weights are loaded.

    Args:
        name: hub id or folder of a base or of a saved TheWorld, "tiny" or "tiny-foresight".
        settings: fields of TheWorldConfig.
        transfer_tap: as `load_settings`.
        loads_world: choose a number format for the world that this machine computes natively, as `native_world`.
        dtype: requested number format of Gemma's weights, which a new world follows, as `beside_weights`.
        hub: revision, token, cache_dir, local_files_only, as in transformers.

    Returns:
        The configuration; and the local folder of the saved TheWorld, None for a new fusion.
    """
    name = embedded(name)
    if not is_checkpoint(name, **hub):
        return configure(name, beside_weights(name, settings, dtype), **hub), None
    checkpoint = fetch_checkpoint(name, **hub)
    if loads_world and settings.get("enable_world", True):
        settings = native_world(checkpoint, settings)
    return load_settings(checkpoint, settings, transfer_tap, **hub), checkpoint


def configure(name: str, settings: dict[str, Any], **hub: Any) -> WorldFields:
    """Build the configuration of a new fusion on top of a base.

    Args:
        name: hub id, folder, or "tiny".
        settings: fields of TheWorldConfig.
        hub: revision, token, cache_dir, local_files_only, as in transformers.

    Raises:
        ValueError: for settings that contradict each other or the checkpoints.
    """
    if "base_model_name" in settings:
        raise ValueError(
            f"base_model_name={settings['base_model_name']!r}: for a new fusion the base is {name!r} itself"
        )
    folder = base_folder(name)
    base = base_of(kind_of(name, **hub))
    assert base is not None  # since `is_checkpoint`
    native = read_base(name, base, **hub)
    with reporting_file_errors(name):
        known: dict[str, Any] = _identity(folder, **hub)
        if settings.get("enable_world", True):
            known |= _token_ids(folder, **hub)
    for key in ("model_type", "architectures", "transformers_version"):
        native.pop(key, None)
    fields: dict[str, Any] = {
        "base_model_name": str(name),
        "cosmos_model_name": DEFAULT_COSMOS_MODEL,
        "siglip_model_name": str(name) if base is GEMMA3 else DEFAULT_GEMMA_MODEL,
        **(TINY_SETTINGS if name == TINY_MODEL else {}),
        **known,
        **looking_ahead(settings),
    }
    if fields.get("enable_world", True):
        fields |= _world_shape(fields)
    return _build(base.kind, {**native, **fields})


def looking_ahead(settings: dict[str, Any], saved: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Add the tap `rollout` to settings with K > 0 that name no tap, if the model reads its world by `vae`.

    Args:
        settings: fields of TheWorldConfig.
        saved: the configuration of a checkpoint; None: a new fusion. A VAE that trained has no denoiser.
    """
    before = saved or {}
    world = {"tap": settings.get("world_tap"), "repeat_current": settings.get("world_repeat_current")}
    reads_vae = before.get("world_tap", "vae") == "vae" and not before.get("world_repeat_current")
    own_vae = settings.get("freeze_cosmos_vae") is False or "cosmos_vae" in (before.get("trained_parts") or ())
    if own_vae or not reads_vae or not looks_ahead_by(settings.get("num_world_steps"), world):
        return settings
    if saved is not None:
        steps = settings["num_world_steps"]
        logger.warning("trained without future slots: with num_world_steps=%s the tap 'vae' becomes 'rollout'", steps)
    return {**settings, "world_tap": "rollout"}


def _build(kind: str, fields: dict[str, Any]) -> WorldFields:
    """Build a configuration on a kind of base.

    Raises:
        ValueError: for any value that does not fit; transformers raises errors of many kinds for them.
    """
    try:
        config: Any = CONFIGS[kind](**copy.deepcopy(fields))
        return config
    except StrictDataclassError as error:
        raise ValueError(" ".join(str(error.__cause__ or error).split())) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"no configuration can be built ({' '.join(str(error).split())})") from error


def _identity(folder: str, revision: str | None = None, **hub: Any) -> dict[str, str | None]:
    """Return the fields by which a checkpoint finds the same base again."""
    if Path(folder).is_dir():
        return {"base_revision": None, "base_fingerprint": fingerprint_weights(Path(folder))}
    options = {name: value for name, value in hub.items() if name != "force_download"}
    commit = resolve_revision(folder, revision, **options)
    return {"base_revision": getattr(commit, "resolved", None) or commit, "base_fingerprint": None}


def _token_ids(folder: str, **hub: Any) -> dict[str, int]:
    """Return the ids of the three world tokens: the tokenizer's, or those that it will append.

    Without a tokenizer the configuration keeps Gemma 3's ids.
    """
    path = cached_file(folder, "tokenizer.json", _raise_exceptions_for_missing_entries=False, **hub)
    if path is None:
        return {}
    tokenizer = Tokenizer.from_file(path)
    next_id = tokenizer.get_vocab_size(with_added_tokens=True)
    ids: dict[str, int] = {}
    for name, token in zip(("sow_token_id", "eow_token_id", "world_token_id"), WORLD_TOKENS, strict=True):
        token_id = tokenizer.token_to_id(token)
        if token_id is None:
            token_id, next_id = next_id, next_id + 1
        ids[name] = token_id
    return ids


def _world_shape(fields: dict[str, Any]) -> dict[str, Any]:
    """Read the channels and the stride of the tap's features, and the commit of their repository."""
    from theworld.world.loading import feature_shape, locate

    located, commit = locate(as_world_settings(fields), weights=False)
    channels, stride_px = feature_shape(located)
    pinned = {} if commit is None else {"cosmos_revision": commit}
    return {"world_channels": channels, "world_stride_px": stride_px, **pinned}


def load_settings(folder: Path, settings: dict[str, Any], transfer_tap: bool = False, **hub: Any) -> WorldFields:
    """Read the configuration of a saved TheWorld, and change the settings that may change.

    Args:
        folder: of the saved TheWorld.
        settings: new values; see MAY_CHANGE.
        transfer_tap: let the settings name another tap that reads the same states of the same network.
        hub: token, cache_dir, local_files_only, as in transformers.

    Raises:
        CheckpointError: for a setting that the saved weights depend on, or a tap that reads other states.
    """
    path = folder / CONFIG_NAME
    raw = read_json(path)
    check_config(path, raw)
    check_parts(path, raw)
    with_tap = looking_ahead(settings, raw)
    changed = {name: value for name, value in with_tap.items() if raw.get(name) != value}
    free = MAY_CHANGE | (FUTURE_ONLY if transfer_tap else with_tap.keys() - settings.keys())
    if raw.get("lora") is None:
        free |= {"lora"}  # you may add adapters to a checkpoint, but not change those that it has
    if fixed := sorted(set(changed) - free):
        changes = ", ".join(f"{name}={changed[name]!r} (saved: {raw.get(name)!r})" for name in fixed)
        raise CheckpointError(
            f"{folder}: {changes}: its weights were trained otherwise; train anew, or drop the setting"
        )
    base = base_of(raw["model_type"])
    assert base is not None  # since `is_checkpoint`
    for key in ("model_type", "architectures", "transformers_version"):
        raw.pop(key, None)
    try:
        _build(base.kind, raw)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if "cosmos_model_name" in changed:  # another repository has no such commit; the fingerprint identifies the world
        changed.setdefault("cosmos_revision", None)
    if FUTURE_ONLY & changed.keys():
        _check_transfer(folder, raw, {**raw, **changed})
    if {"world_dtype", *FUTURE_ONLY} & changed.keys():  # another number format, or another future
        raw["world_fingerprint"] = None
    config = _build(base.kind, {**raw, **changed})
    files = base_folder(config.base_model_name)
    if config.base_fingerprint is not None and not Path(files).is_dir():
        raise CheckpointError(
            f"{folder}: its base {files} is gone; name its new folder with base_model_name=, or train anew"
        )
    if config.base_fingerprint is None and Path(files).is_dir():
        logger.warning("%s was trained on a base from the hub; the copy in %s cannot be verified", folder, files)
        _check_structure(path, raw, config, **hub)
        return config
    identity = _identity(files, config.base_revision)
    if config.base_fingerprint != identity["base_fingerprint"]:
        raise CheckpointError(
            f"{folder}: it was trained on {raw['base_model_name']!r} (weights {raw['base_fingerprint']!r:.90}), but"
            f" {config.base_model_name!r} holds other weights ({identity['base_fingerprint']}); give that base with"
            " base_model_name="
        )
    _check_structure(path, raw, config, **hub)
    return config


def _check_structure(path: Path, raw: dict[str, Any], config: WorldFields, **hub: Any) -> None:
    """Check a saved configuration against that of its base, and name the keys that nothing reads.

    Raises:
        CheckpointError: for other shapes, or values that no model can be built from.
    """
    base = config.BASE
    original = read_base(config.base_model_name, base, **{**hub, "revision": config.base_revision})
    check_same_base(str(path), config.to_dict(), original, config.base_model_name)
    warn_of_unknown(path, raw, original.keys() | type(config)().to_dict().keys())
    changed = [name for name in raw.keys() & original.keys() if raw[name] != original[name]]
    try:
        with torch.device("meta"):
            if changed:
                getattr(transformers, base.architecture)(copy.deepcopy(config))
    except _UNBUILDABLE as error:
        names = ", ".join(sorted(changed))
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path}: no {base.title} can be built from its {names} ({reason})") from error


def native_world(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Add `world_dtype` float32 to the settings if this machine only emulates the checkpoint's number format."""
    saved = read_json(folder / CONFIG_NAME).get("world_dtype")
    if "world_dtype" in settings:
        return settings
    chosen = loading_dtype(None, saved, "world_dtype")
    return settings if chosen == "auto" else {**settings, "world_dtype": chosen}


def beside_weights(name: str, settings: dict[str, Any], dtype: Any) -> dict[str, Any]:
    """Add `world_dtype` bfloat16 to the settings of a new fusion whose weights are asked for in bfloat16.

    A machine that emulates the format keeps float32, since nobody asked for a slow world; and so does the embedded
    world, which is small, and whose features are then the same everywhere.
    """
    is_asked = name_of(dtype) == "bfloat16" and "world_dtype" not in settings
    if not is_asked or name == TINY_MODEL or is_emulated("bfloat16"):
        return settings
    return {**settings, "world_dtype": "bfloat16"}


def _check_transfer(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Allow a change of the future's source alone: same network, same weights, no constants on either side.

    Raises:
        CheckpointError: for any other change.
    """
    from theworld.world.factory import tap_fingerprint

    old, new = as_world_settings(before), as_world_settings(now)
    if (old.reads, _weights(old.tap)) != (new.reads, _weights(new.tap)):
        raise CheckpointError(
            f"{folder}: trained on states of {old.reads!r} through the tap {old.tap!r}; the tap {new.tap!r} reads other"
            f" states ({new.reads!r}): only the source of the future can change"
        )
    names = {name: now[name] for name in ("cosmos_model_name", "siglip_model_name") if name in now}
    saved = before.get("world_fingerprint")
    if saved is not None and tap_fingerprint(as_world_settings({**before, **names})) != saved:
        raise CheckpointError(f"{folder}: trained on a world of other weights than {sorted(names.values())} hold now")


def _weights(tap: str) -> str:
    """Return the kind of weights behind a tap's states: the checkpoint's, random ones, or none."""
    return tap if tap in CONTROL_TAPS else "loaded"


def fetch_base(config: WorldFields, **hub: Any) -> None:
    """Download the weights of a base on the hub, so that an error names its cause.

    If the hub refuses a file, transformers reports that the repository does not have it.

    Raises:
        ValueError: if the download fails, or there are no weights.
    """
    name = base_folder(config.base_model_name)
    if not Path(name).is_dir():
        folder = fetch(name, ["*.safetensors", "*.safetensors.index.json"], config.base_revision, **hub)
        if not any(folder.glob("*.safetensors")):
            raise CheckpointError(f"{name}: no *.safetensors in it; expected the files of {DEFAULT_GEMMA_MODEL}")


def fetch_checkpoint(name: str, **hub: Any) -> Path:
    """Return the local folder of a saved TheWorld; a repository on the hub is downloaded."""
    if Path(name).is_dir():
        return Path(name)
    with reporting_file_errors(name):
        path = cached_file(name, "config.json", **hub)
        cached_file(name, WEIGHTS_NAME, **hub)
    if path is None:
        raise CheckpointError(f"{name}: no config.json")
    return Path(path).parent
