"""Checkpoints: exactly the tensors that were ever trained, read strictly and written atomically."""

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from theworld.io import whole_folder
from theworld.modeling.changes import parts_to_save, saved_name
from theworld.modeling.config_files import CheckpointError, check_parts, read_json
from theworld.modeling.configuration import MAY_CHANGE, WORLD_CONFIG_FIELDS, WorldFields
from theworld.modeling.freezing import PARTS, part_of
from theworld.modeling.fusion import Fusion
from theworld.modeling.loading import WEIGHTS_NAME
from theworld.modeling.projector import WorldBlock, WorldResidual
from theworld.modeling.tensor_files import check_header, read_tensors, write_tensors

_OPTIMIZER_NAME = "optimizer.safetensors"
_STATE_NAME = "training_state.json"
_OF_WORLD = ("world", "cosmos_vae")
_NAMES = {"config.json", "generation_config.json", WEIGHTS_NAME, _OPTIMIZER_NAME, _STATE_NAME}


def tensors_of(model: Fusion, parts: list[str], state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """Return every tensor of some parts under its name in checkpoints; tied copies once."""
    tied = set(model.all_tied_weights_keys)
    state = model.state_dict() if state is None else state
    return {saved_name(name): tensor for name, tensor in state.items() if part_of(name) in parts and name not in tied}


def write_model(model: Fusion, folder: Path, state: dict[str, Tensor] | None = None) -> None:
    """Write config.json, generation_config.json and the tensors of changed parts into a folder.

    Raises:
        CheckpointError: as `parts_to_save`.
    """
    state = model.state_dict() if state is None else state
    model.config.trained_parts = parts_to_save(model, state)
    tensors = tensors_of(model, model.config.trained_parts, state)
    write_tensors(tensors, folder / WEIGHTS_NAME)
    model.config.architectures = ["TheWorld"]  # the base is in model_type
    config: Any = copy.deepcopy(model.config)
    if getattr(config, "quantization_config", None) is not None:
        del config.quantization_config  # an option of loading, since the base's files are not quantized
    config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)


def check_world(config: WorldFields, folder: Path) -> None:
    """Check the names and shapes of a checkpoint's own layers by the file's header, before any memory is taken.

    Raises:
        CheckpointError: as `read_tensors`.
    """
    if not config.enable_world:
        return
    with torch.device("meta"):
        world = WorldBlock(config) if config.world_fusion == "tokens" else WorldResidual(config)
    expected = {f"world.{name}": tensor for name, tensor in world.state_dict().items()}
    check_header(folder / WEIGHTS_NAME, expected, lambda name: part_of(name) != "world")


def read_model(model: Fusion, folder: Path, parts: list[str], keeps_formats: bool = False) -> None:
    """Copy the trained tensors of a checkpoint into a loaded base, and add the parts to the model's trained parts.

    Args:
        model: a base with new layers.
        folder: of the checkpoint.
        parts: in the checkpoint.
        keeps_formats: give Gemma's frozen parts the number formats that they were saved in.

    Raises:
        CheckpointError: as `read_tensors`; the model is then unchanged.
    """
    path = Path(folder) / WEIGHTS_NAME
    if not model.config.enable_world:
        parts = [part for part in parts if part not in _OF_WORLD]
    expected = tensors_of(model, parts)
    left_out = () if model.config.enable_world else _OF_WORLD
    saved = read_tensors(path, expected, lambda name: part_of(name) in left_out)
    if keeps_formats:
        _take_formats(model, saved)
        expected = tensors_of(model, parts)
    with torch.no_grad():
        for name, tensor in saved.items():
            expected[name].copy_(_as_spread(tensor, expected[name]))
    model.config.trained_parts = [part for part in PARTS if part in {*parts, *(model.config.trained_parts or [])}]


def _take_formats(model: Fusion, saved: dict[str, Tensor]) -> None:
    """Give frozen weights of Gemma the formats of the saved tensors; parts that train, and the world's, are float32."""
    for name, parameter in model.named_parameters():
        tensor = saved.get(saved_name(name))
        if tensor is not None and not parameter.requires_grad and part_of(name) not in _OF_WORLD:
            parameter.data = parameter.data.to(tensor.dtype)


def save_checkpoint(
    model: Fusion, folder: Path, optimizer: torch.optim.Optimizer | None = None, epoch: int = 0
) -> None:
    """Write model, optimiser and epoch atomically, in place of an older checkpoint.

    Raises:
        CheckpointError: if the folder holds anything but a checkpoint.
    """
    folder = Path(folder)
    if folder.is_dir() and (others := sorted({path.name for path in folder.iterdir()} - _NAMES)):
        raise CheckpointError(f"{folder} holds {others}: a checkpoint replaces its folder, so name one of its own")
    with whole_folder(folder) as aside:
        write_model(model, aside)
        state: dict[str, Any] = {"epoch": epoch}
        if optimizer is not None:
            tensors, state["optimizer"] = _flatten(optimizer.state_dict())
            save_file(tensors, aside / _OPTIMIZER_NAME)
        (aside / _STATE_NAME).write_text(json.dumps(state))


def load_checkpoint(model: Fusion, folder: Path, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Read a checkpoint into a model of the same configuration.

    Returns:
        {"epoch": the epoch given to `save_checkpoint`}

    Raises:
        CheckpointError: for another base, another tap or other settings, and as `read_model`.
    """
    folder = Path(folder)
    saved = _check_same(model, folder)
    read_model(model, folder, saved["trained_parts"])
    if model.config.world_fingerprint is None and saved["world_dtype"] == model.config.world_dtype:
        model.config.world_fingerprint = saved["world_fingerprint"]  # checked from now on
    state: dict[str, Any] = {"epoch": 0}
    if (folder / _STATE_NAME).is_file():
        state = read_json(folder / _STATE_NAME)
        if type(state.get("epoch")) is not int:
            raise CheckpointError(f"{folder / _STATE_NAME}: epoch={state.get('epoch')!r}: expected a whole number")
    if optimizer is not None:
        if "optimizer" not in state:
            raise CheckpointError(f"{folder}: it holds no optimiser state; drop optimizer=")
        _load_optimizer(optimizer, folder, state["optimizer"])
    return {"epoch": state["epoch"]}


def _as_spread(tensor: Tensor, like: Tensor) -> Tensor:
    """Return the whole tensor, or this process's part of it if the model is sharded."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)


def _load_optimizer(optimizer: torch.optim.Optimizer, folder: Path, rest: Any) -> None:
    path = folder / _OPTIMIZER_NAME
    try:
        optimizer.load_state_dict(_unflatten(load_file(path), rest))
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} and {_STATE_NAME}: damaged or of another optimiser ({' '.join(str(error).split())}); take an older"
            " checkpoint, or drop optimizer="
        ) from error


def _check_same(model: Fusion, folder: Path) -> dict[str, Any]:
    """Read the configuration of a checkpoint, and check that it belongs to this model."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder}: no checkpoint here (config.json is missing)")
    saved, config = read_json(path), model.config.to_dict()
    check_parts(path, saved)
    fixed = set(WORLD_CONFIG_FIELDS) - MAY_CHANGE - {"model_type", "trained_parts"}
    worlds = saved.get("world_fingerprint"), config["world_fingerprint"]
    if None in worlds or saved.get("world_dtype") != config["world_dtype"]:
        fixed.remove("world_fingerprint")  # no world was attached yet, or the same world in another number format
    other = [
        f"{key}: saved {saved.get(key)!r}, here {config[key]!r}"
        for key in sorted(fixed)
        if saved.get(key) != config[key]
    ]
    if other:
        raise CheckpointError(f"{folder}: the checkpoint belongs to another model: {'; '.join(other)}")
    return saved


def _flatten(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Split an optimiser's state into tensors, named `index.key`, and values for JSON."""
    tensors, numbers = {}, {}
    for index, entry in state["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value.detach().cpu().contiguous()
            else:
                numbers[f"{index}.{key}"] = value
    return tensors, {"numbers": numbers, "param_groups": state["param_groups"]}


def _unflatten(tensors: dict[str, Tensor], rest: dict[str, Any]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **rest["numbers"]}.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    return {"state": state, "param_groups": rest["param_groups"]}
