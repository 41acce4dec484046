"""Packing a finished build as package data: float16 weights in the folder layouts of the real checkpoints."""

import shutil
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from theworld.files import whole_folder

MOST_BYTES: Final = 25_000_000
"""What the package may grow by."""

_PARTS: Final = ("gemma", "cosmos/vae", "cosmos/transformer", "cosmos/scheduler")


def pack(build: Path, target: Path) -> int:
    """Write `target/gemma` and `target/cosmos` from the folder of a finished build; the folder is whole or absent.

    Weights are stored in float16 and loaded in the format that their configuration names, float32: what is lost is a
    2048th of each.

    Returns:
        The size of what was written, bytes.

    Raises:
        ValueError: if a stage is missing, a weight does not fit float16, or all of it is larger than MOST_BYTES.
    """
    if missing := [part for part in _PARTS if not (build / part).is_dir()]:
        raise ValueError(f"{build}: no {', '.join(missing)}; build all stages first")
    with whole_folder(target) as aside:
        for part in ("gemma", "cosmos"):
            shutil.copytree(build / part, aside / part)
        for path in aside.rglob("*.safetensors"):
            _halve(path)
        size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise ValueError(f"{build}: {size:,} bytes packed, at most {MOST_BYTES:,} are allowed")
    return size


def _halve(path: Path) -> None:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    if large := [name for name, tensor in halved.items() if not torch.isfinite(tensor).all()]:
        raise ValueError(f"{path}: {large[:3]} do not fit float16")
    save_file(halved, path, metadata=metadata)
