"""Where a fused model comes from: hub id, folder, the embedded tiny stack, or a saved TheWorld."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import Gemma3Config, PreTrainedConfig
from transformers.utils.hub import cached_file, resolve_revision

from theworld import tiny
from theworld.config import LoraSettings
from theworld.config.world import STORED
from theworld.constants import DEFAULT_COSMOS_MODEL, DEFAULT_GEMMA_MODEL, TINY_FUSED_MODEL, TINY_MODEL, WORLD_TOKENS
from theworld.hub import REFUSALS, again, fetch, remedy
from theworld.io import fingerprint_weights
from theworld.modeling.configuration import TheWorldConfig, as_world_settings
from theworld.precision import loading_dtype

logger = logging.getLogger(__name__)

SETTINGS = frozenset(TheWorldConfig.__annotations__) - {
    "model_type",
    "base_revision",
    "base_fingerprint",
    "world_channels",
    "world_stride_px",
    "world_fingerprint",
    "trained_parts",
}
"""Arguments of `TheWorld.from_pretrained` that are fields of the configuration; the others are found out."""

HUB_OPTIONS = frozenset({"token", "cache_dir", "local_files_only"})
"""Arguments that say how files are fetched."""

MAY_CHANGE = frozenset(
    {
        "enable_world",
        "base_model_name",
        "num_world_steps",
        "freeze_gemma_vision",
        "freeze_gemma_language",
        "freeze_cosmos_vae",
        *(stored.name for stored in STORED.values() if stored.is_location or stored.may_change),
    }
)
"""Settings that you may give anew when a checkpoint is loaded: the meaning of its weights does not depend on them."""

FUTURE_ONLY = frozenset(stored.name for stored in STORED.values() if stored.future_only)
"""Settings that decide how a tap's future slots are filled, or how noisy a denoiser sees them. A projector that was
trained on one kind of future takes the features of another."""

WEIGHTS_NAME = "model.safetensors"
CHECKPOINT_FILES = ("config.json", "generation_config.json", WEIGHTS_NAME)
"""Files of a saved TheWorld."""

TINY_SETTINGS = {"world_image_size": 64, "frame_rate_hz": 6.0, "dit_block": 2}


class CheckpointError(ValueError):
    """A checkpoint that does not fit: a missing or foreign tensor, another base, another tap."""


def take_settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """Take the settings out of keyword arguments; the rest is transformers'.

    Args:
        arguments: fields of TheWorldConfig, or `config=` with all of them, as AutoModel passes what a checkpoint holds.

    Raises:
        TypeError: for a name that looks like a misspelt setting.
    """
    config = arguments.pop("config", None)
    if config is not None and not isinstance(config, TheWorldConfig):
        raise TypeError(f"config={type(config).__name__}: expected a TheWorldConfig, or its fields one by one")
    given = {} if config is None else {name: getattr(config, name) for name in SETTINGS}
    if arguments.get("lora") is not None:
        arguments["lora"] = as_adapters(arguments["lora"])
    for name in arguments.keys() - SETTINGS:
        if meant := get_close_matches(name, SETTINGS, n=1, cutoff=0.8):
            raise TypeError(f"no setting {name!r}: did you mean {meant[0]!r}?")
    return {**given, **{name: arguments.pop(name) for name in SETTINGS & arguments.keys()}}


def as_adapters(lora: LoraSettings | Mapping[str, Any]) -> dict[str, Any] | None:
    """The adapters that settings ask for, as a configuration holds them; None: none."""
    settings = lora if isinstance(lora, LoraSettings) else LoraSettings(**lora)
    return {**asdict(settings), "targets": list(settings.targets)} if settings.targets else None


def base_folder(name: str) -> str:
    """What transformers loads Gemma from: the name itself, or the folder of the tiny stack."""
    if name != TINY_MODEL:
        return name
    return str(tiny.stack() / "gemma")


def embedded(name: str) -> str:
    """The name itself, or the folder of the embedded TheWorld if the name stands for it."""
    return str(tiny.stack() / "fused") if name == TINY_FUSED_MODEL else name


def saved_folder(checkpoint: Path) -> str:
    """Where a saved TheWorld lies; a folder by its type, since a slip must not be looked for on the hub.

    Raises:
        FileNotFoundError: if there is none.
    """
    folder = embedded(str(checkpoint))
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{checkpoint}: no such folder; expected a saved TheWorld, or tiny-foresight")
    return folder


def is_checkpoint(name: str, **hub: Any) -> bool:
    """Whether a name stands for a saved TheWorld.

    Raises:
        ValueError: if it stands for neither a TheWorld nor a Gemma 3.
        OSError: for a folder that does not exist or holds no model, or a repository that cannot be fetched.
    """
    is_folder = Path(name).is_dir()
    if (is_folder or name.startswith((".", "/", "~"))) and not (Path(name) / "config.json").is_file():
        what = "no config.json in this folder" if is_folder else "no such folder"
        raise FileNotFoundError(f"{name}: {what}; expected a model's folder, a hub id, or {TINY_MODEL!r}")
    close = get_close_matches(name, (TINY_MODEL, TINY_FUSED_MODEL), n=1, cutoff=0.7)
    if close and not is_folder and name != TINY_MODEL and "/" not in name:  # a slip must not be looked for on the hub
        raise FileNotFoundError(f"{name}: no such folder, and no id on the hub; did you mean {close[0]}?")
    try:
        raw, _ = PreTrainedConfig.get_config_dict(base_folder(name), **hub)
    except REFUSALS as error:  # transformers' message names its own cache first, and the model on the third line
        if is_folder:
            raise ValueError(f"{name}: config.json cannot be read ({' '.join(str(error).split())})") from error
        raise OSError(f"{name}: no such folder, and not to be had from the hub: {remedy(name, error)}") from error
    kind = raw.get("model_type")
    if kind not in ("gemma3", TheWorldConfig.model_type):
        raise ValueError(
            f"{name}: a model of type {kind!r}; expected Gemma 3 with vision ('gemma3') or a saved TheWorld"
        )
    return kind == TheWorldConfig.model_type


def configure(name: str, settings: dict[str, Any], **hub: Any) -> TheWorldConfig:
    """The configuration of a new fusion on top of a Gemma 3.

    Args:
        name: hub id, folder, or "tiny".
        settings: fields of TheWorldConfig.
        hub: revision, token, cache_dir, local_files_only, as transformers takes them.

    Raises:
        ValueError: for settings that contradict each other or the checkpoints.
    """
    if "base_model_name" in settings:
        raise ValueError(
            f"base_model_name={settings['base_model_name']!r}: for a new fusion the base is {name!r} itself"
        )
    folder = base_folder(name)
    with told_in_one_line(name):
        gemma = Gemma3Config.from_pretrained(folder, **hub).to_dict()
        known: dict[str, Any] = _identity(folder, **hub)
        if settings.get("enable_world", True):
            known |= _token_ids(folder, **hub)
    for key in ("model_type", "architectures", "transformers_version"):
        gemma.pop(key, None)
    ours: dict[str, Any] = {
        "base_model_name": str(name),
        "cosmos_model_name": TINY_MODEL if name == TINY_MODEL else DEFAULT_COSMOS_MODEL,
        "siglip_model_name": str(name),
        **(TINY_SETTINGS if name == TINY_MODEL else {}),
        **known,
        **settings,
    }
    if ours.get("enable_world", True):
        ours.update(_found_of_world(ours))
    return _build({**gemma, **ours})


def _build(fields: dict[str, Any]) -> TheWorldConfig:
    try:
        return TheWorldConfig(**fields)
    except StrictDataclassError as error:
        raise ValueError(" ".join(str(error.__cause__ or error).split())) from error


def _identity(folder: str, revision: str | None = None, **hub: Any) -> dict[str, str | None]:
    """What a checkpoint must remember to find the same base again."""
    if Path(folder).is_dir():
        return {"base_revision": None, "base_fingerprint": fingerprint_weights(Path(folder))}
    commit = resolve_revision(folder, revision, **{k: v for k, v in hub.items() if k != "force_download"})
    return {"base_revision": getattr(commit, "resolved", None) or commit, "base_fingerprint": None}


def _token_ids(folder: str, **hub: Any) -> dict[str, int]:
    """Ids of the three world tokens: the tokenizer's own, or those it will append; without one, Gemma 3's."""
    path = cached_file(folder, "tokenizer.json", _raise_exceptions_for_missing_entries=False, **hub)
    if path is None:
        return {}
    tokenizer = Tokenizer.from_file(path)
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    found = {token: tokenizer.token_to_id(token) for token in WORLD_TOKENS}
    new = [token for token, token_id in found.items() if token_id is None]
    ids = {**found, **{token: size + index for index, token in enumerate(new)}}
    return dict(zip(("sow_token_id", "eow_token_id", "world_token_id"), ids.values(), strict=True))


def _found_of_world(fields: dict[str, Any]) -> dict[str, Any]:
    """Channels and stride of the tap's features, and the commit of the repository that its configuration is from."""
    from theworld.world.loading import feature_shape, locate

    located, commit = locate(as_world_settings(fields), weights=False)
    channels, stride_px = feature_shape(located)
    pinned = {} if commit is None else {"cosmos_revision": commit}
    return {"world_channels": channels, "world_stride_px": stride_px, **pinned}


@contextmanager
def told_in_one_line(name: str) -> Iterator[None]:
    """Say of what goes wrong with a model's files which model it is, and what to do.

    Raises:
        CheckpointError: for files that are cut off, damaged, not all there, or not to be had from the hub.
    """
    try:
        yield
    except (SafetensorError, StrictDataclassError, json.JSONDecodeError, *REFUSALS) as error:
        folder = Path(base_folder(name))
        if folder.is_dir():
            reason = ", ".join([*_unreadable(folder), " ".join(str(error).split())])
            why = f"files that are damaged, half-downloaded or not all there ({reason}); {again(folder)}"
        else:
            why = f"cannot be loaded from the hub: {remedy(name, error)}"
        raise CheckpointError(f"{name}: {why}") from error


def _unreadable(folder: Path) -> list[str]:
    """Names of weights files that are not whole."""
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except (SafetensorError, OSError):
            found.append(path.name)
    return found


@contextmanager
def loading_base(name: str) -> Iterator[None]:
    """Keep transformers from reporting our own new parameters as missing: every key is checked by the caller.

    Raises:
        CheckpointError: as `told_in_one_line`.
    """

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(is_no_report)
    try:
        with told_in_one_line(name):
            yield
    finally:
        logger.removeFilter(is_no_report)


def load_settings(folder: Path, settings: dict[str, Any], transfer_tap: bool = False) -> TheWorldConfig:
    """The configuration of a saved TheWorld, with the settings that a caller may give anew.

    Args:
        transfer_tap: let the settings name another tap that reads the same states of the same network.

    Raises:
        CheckpointError: for a setting that the saved weights depend on, or a tap that reads other states.
    """
    raw = json.loads((folder / "config.json").read_text())
    changed = {name: value for name, value in settings.items() if raw.get(name) != value}
    free = MAY_CHANGE | (FUTURE_ONLY if transfer_tap else set())
    if raw.get("lora") is None:
        free |= {"lora"}  # a checkpoint without adapters may get them; those that it has are trained weights
    if fixed := sorted(set(changed) - free):
        given = ", ".join(f"{name}={changed[name]!r} (saved: {raw.get(name)!r})" for name in fixed)
        raise CheckpointError(f"{folder}: {given}: its weights were trained otherwise; train anew, or drop the setting")
    for key in ("model_type", "architectures", "transformers_version"):
        raw.pop(key, None)
    if "cosmos_model_name" in changed:  # elsewhere there is no such commit; the fingerprint says whether it is the same
        changed.setdefault("cosmos_revision", None)
    if FUTURE_ONLY & changed.keys():
        _check_transfer(folder, raw, {**raw, **changed})
    if {"world_dtype", *FUTURE_ONLY} & changed.keys():  # the same states in other numbers, or of another future
        raw["world_fingerprint"] = None
    config = _build({**raw, **changed})
    base = base_folder(config.base_model_name)
    if config.base_fingerprint is not None and not Path(base).is_dir():
        raise CheckpointError(
            f"{folder}: its base {base} is gone; say where it lies now with base_model_name=, or train anew"
        )
    if config.base_fingerprint is None and Path(base).is_dir():
        logger.warning("%s was trained on a base from the hub; the copy in %s is taken on trust", folder, base)
        return config
    identity = _identity(base, config.base_revision)
    if config.base_fingerprint != identity["base_fingerprint"]:
        raise CheckpointError(
            f"{folder}: it was trained on {raw['base_model_name']!r} (weights {raw['base_fingerprint']}), but"
            f" {config.base_model_name!r} holds other weights ({identity['base_fingerprint']}); give that base with"
            " base_model_name="
        )
    return config


def native_world(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings for a checkpoint whose world is about to be loaded: one saved in a number format that this machine
    emulates becomes float32, unless `world_dtype` was given."""
    saved = json.loads((folder / "config.json").read_text()).get("world_dtype")
    if "world_dtype" in settings:
        return settings
    chosen = loading_dtype(None, saved, "world_dtype")
    return settings if chosen == "auto" else {**settings, "world_dtype": chosen}


def _check_transfer(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Only where a future comes from may change: not the network, not its weights, and not from or to constants.

    Raises:
        CheckpointError: otherwise.
    """
    from theworld.world.factory import tap_fingerprint

    old, new = as_world_settings(before), as_world_settings(now)
    if (old.reads, _weights(old.tap)) != (new.reads, _weights(new.tap)):
        raise CheckpointError(
            f"{folder}: trained on states of {old.reads!r} through the tap {old.tap!r}; the tap {new.tap!r} reads other"
            f" states ({new.reads!r}): only where a future comes from can change"
        )
    names = {name: now[name] for name in ("cosmos_model_name", "siglip_model_name") if name in now}
    saved = before.get("world_fingerprint")
    if saved is not None and tap_fingerprint(as_world_settings({**before, **names})) != saved:
        raise CheckpointError(f"{folder}: trained on a world of other weights than {sorted(names.values())} hold now")


def _weights(tap: str) -> str:
    """Which weights a tap's states come from: the checkpoint's, random ones, or none."""
    return tap if tap in ("random", "zero", "noise") else "loaded"


def fetch_base(config: TheWorldConfig, **hub: Any) -> None:
    """Fetch the weights of a base on the hub, so that what keeps them from coming is told by its cause.

    transformers says of a file that the hub refuses that the repository does not have it.

    Raises:
        ValueError: if they cannot be fetched, or there are none.
    """
    name = base_folder(config.base_model_name)
    if not Path(name).is_dir():
        folder = fetch(name, ["*.safetensors", "*.safetensors.index.json"], config.base_revision, **hub)
        if not any(folder.glob("*.safetensors")):
            raise CheckpointError(f"{name}: no *.safetensors in it; expected the files of {DEFAULT_GEMMA_MODEL}")


def fetch_checkpoint(name: str, **hub: Any) -> Path:
    """The local folder of a saved TheWorld, downloaded if need be."""
    if Path(name).is_dir():
        return Path(name)
    with told_in_one_line(name):
        path = cached_file(name, "config.json", **hub)
        cached_file(name, WEIGHTS_NAME, **hub)
    if path is None:
        raise CheckpointError(f"{name}: no config.json")
    return Path(path).parent
