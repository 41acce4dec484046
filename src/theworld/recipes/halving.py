"""Finished stages are stored in float16: half the bytes, in the folder layouts of the real checkpoints."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def halve(folder: Path) -> None:
    """Store the weights of a folder in float16; they load in the format that is asked for, at first float32.

    What is lost is a 2048th of each weight.

    Raises:
        ValueError: if a weight does not fit.
    """
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        if large := [name for name, tensor in halved.items() if not torch.isfinite(tensor).all()]:
            raise ValueError(f"{path}: {large[:3]} do not fit float16")
        save_file(halved, path, metadata=metadata)
