"""Names of models: embedded ones, folders and hub ids, and the kind of model behind a name."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from transformers.utils.hub import cached_file

from theworld import tiny
from theworld.constants import TINY_FUSED_MODEL, TINY_MODEL
from theworld.hub import HUB_NAME, REFUSALS, remedy
from theworld.modeling.bases import base_of, is_saved, known_bases
from theworld.modeling.config_files import CONFIG_NAME, CheckpointError, check_config, read_json


def base_folder(name: str) -> str:
    """Return the source of the base for transformers: the name itself, or the folder of the tiny stack."""
    return str(tiny.stack() / "gemma") if name == TINY_MODEL else name


def embedded(name: str) -> str:
    """Return the name itself, the folder of the embedded TheWorld for its name, or the model of a training run."""
    model = Path(name) / "model"
    if (model / "config.json").is_file() and (Path(name) / "environment.json").is_file():
        return str(model)
    return str(tiny.stack() / "fused") if name == TINY_FUSED_MODEL else name


def find(checkpoint: str | Path) -> str:
    """Return the folder or the hub id of a model; a misspelt path must not start a search on the hub.

    Raises:
        FileNotFoundError: for neither a folder nor OWNER/NAME, or for a name in a folder that exists here.
    """
    name = embedded(str(checkpoint))
    if Path(name).is_dir() or name == TINY_MODEL:
        return name
    owner = name.partition("/")[0]
    if not HUB_NAME.fullmatch(name) or name.startswith("."):
        raise FileNotFoundError(
            f"{checkpoint}: no such folder, and no id on the hub; expected a model's folder, OWNER/NAME, {TINY_MODEL!r}"
            f" or {TINY_FUSED_MODEL!r}"
        )
    if Path(owner).is_dir():
        raise FileNotFoundError(
            f"{checkpoint}: no such folder, though {owner}/ is one; a model of the hub by this name you fetch first"
            f" (`hf download {name}`)"
        )
    return name


def is_checkpoint(name: str, **hub: Any) -> bool:
    """Return True for the name of a saved TheWorld, and False for that of a base.

    Raises:
        ValueError: if it is the name of another model.
        OSError: as `kind_of`.
    """
    kind = kind_of(name, **hub)
    if base_of(kind) is None:
        raise ValueError(f"{name}: a model of type {kind!r}; expected {known_bases()} or a saved TheWorld")
    return is_saved(kind)


def kind_of(name: str, **hub: Any) -> str | None:
    """Return the type of a model as its configuration names it: `theworld`, `gemma3`, `qwen2_vl`, ...

    Raises:
        ValueError: for a configuration that cannot be read.
        OSError: for a folder that does not exist or has no model in it, or a repository that cannot be downloaded.
    """
    is_folder = Path(name).is_dir()
    if (is_folder or name.startswith((".", "/", "~"))) and not (Path(name) / "config.json").is_file():
        reason = "no config.json in this folder" if is_folder else "no such folder"
        raise FileNotFoundError(f"{name}: {reason}; expected a model's folder, a hub id, or {TINY_MODEL!r}")
    close = get_close_matches(name, (TINY_MODEL, TINY_FUSED_MODEL), n=1, cutoff=0.7)
    if close and not is_folder and name != TINY_MODEL and "/" not in name:  # a misspelling must not go to the hub
        raise FileNotFoundError(f"{name}: no such folder, and no id on the hub; did you mean {close[0]}?")
    path = _config_path(name, **hub)
    try:
        raw = read_json(path)
    except CheckpointError as error:
        if is_folder:
            raise
        raise CheckpointError(f"{name}: a file of it is damaged ({error})") from error
    kind = raw.get("model_type")
    if base_of(kind) is not None:
        check_config(path if is_folder else Path(name) / CONFIG_NAME, raw)
    return kind


def _config_path(name: str, **hub: Any) -> Path:
    """Return config.json of a model; from the hub it is downloaded.

    Raises:
        OSError: if it cannot be downloaded.
    """
    folder = base_folder(name)
    if Path(folder).is_dir():
        return Path(folder) / CONFIG_NAME
    try:
        path = cached_file(folder, CONFIG_NAME, **hub)
    except REFUSALS as error:  # transformers' own message names the model on its third line only
        raise OSError(f"{name}: no such folder, and not to be had from the hub: {remedy(name, error)}") from error
    if path is None:
        raise OSError(f"{name}: no {CONFIG_NAME} in this repository")
    return Path(path)
