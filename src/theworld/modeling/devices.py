"""Placement of a model on several devices: the device map and offloaded parts."""

from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import torch
from torch import nn

from theworld.modeling.freezing import part_of

OFFLOADED: Final = ("cpu", "disk")
"""Values of a device map for offloaded parts, which are copied to the accelerator for each forward."""

_EMBEDDINGS: Final = "model.language_model.embed_tokens"
_WORLD: Final = "world"


def keep_world_in_memory(device_map: MutableMapping[str, Any], parts: Iterable[str]) -> None:
    """Put our own layers on the device of Gemma's embeddings in a device map, on an accelerator if the map has one.

    They are in no file of the base, so accelerate could not read them back from disk, and they may train. accelerate
    places modules in their order, which would put them last: on the last device, or on disk.

    Args:
        device_map: module to device, as in transformers; changed in place. `{"": device}` is a whole model.
        parts: names of the model's direct submodules.
    """
    if len({str(device) for device in device_map.values()}) == 1 and not _is_on_disk(device_map):
        return
    accelerators = [device for device in device_map.values() if str(device) not in OFFLOADED]
    place = _device_of(_EMBEDDINGS, device_map)
    if str(place) in OFFLOADED:
        place = accelerators[0] if accelerators else "cpu"
    if "" in device_map:  # a rule for all other modules, which would offload ours, too
        rest = device_map.pop("")
        for part in parts:
            if not any(name == part or name.startswith(f"{part}.") for name in device_map):
                device_map[part] = rest
    for name in [name for name in device_map if name == _WORLD or name.startswith(f"{_WORLD}.")]:
        del device_map[name]
    device_map[_WORLD] = place


def _is_on_disk(device_map: MutableMapping[str, Any]) -> bool:
    return "disk" in map(str, device_map.values())


def _device_of(name: str, device_map: MutableMapping[str, Any]) -> Any:
    """Return the device of the nearest module above `name`, itself included, in the map."""
    while name and name not in device_map:
        name = name.rpartition(".")[0]
    return device_map.get(name, "cpu")


def refuse_offloaded(model: nn.Module, parts: set[str]) -> None:
    """Refuse to offload parts that train or have trained weights.

    Raises:
        ValueError: naming the parts.
    """
    if not hasattr(model, "hf_device_map"):
        return
    offloaded = {part_of(name) for name, weight in model.named_parameters() if weight.is_meta} & parts
    if offloaded:
        names = ", ".join(sorted(map(str, offloaded)))
        raise ValueError(
            f"device_map leaves {names} on the CPU or the disk between two forwards, but"
            " these parts train or were trained: give a device_map or max_memory that keeps them in memory"
        )


def execution_device(module: nn.Module) -> torch.device:
    """Return the device that a module computes on; between two forwards its offloaded weights are on `meta`."""
    hook: Any = getattr(module, "_hf_hook", None)
    for part in getattr(hook, "hooks", (hook,)):
        if getattr(part, "execution_device", None) is not None:
            return torch.device(part.execution_device)
    return next(module.parameters()).device
