"""Packing a finished build as package data: float16 weights in the folder layouts of the real checkpoints."""

import json
import shutil
from pathlib import Path
from typing import Final

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from theworld.constants import TINY_MODEL
from theworld.files import whole_folder

MOST_BYTES: Final = 25_000_000
"""What the package may grow by."""

PARTS: Final = ("gemma", "cosmos", "fused")
_NEEDED: Final = ("gemma", "cosmos/vae", "cosmos/transformer", "cosmos/scheduler", "fused")


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


def pack(build: Path, target: Path) -> int:
    """Copy a finished build to `target`, whole or not at all; the fused model then names its base "tiny".

    Returns:
        The size of what was written, bytes.

    Raises:
        ValueError: if a stage is missing, or all of it is larger than MOST_BYTES.
    """
    if missing := [part for part in _NEEDED if not (build / part).is_dir()]:
        raise ValueError(f"{build}: no {', '.join(missing)}; build all stages first")
    with whole_folder(target) as aside:
        for part in PARTS:
            shutil.copytree(build / part, aside / part)
        config = aside / "fused" / "config.json"
        names = dict.fromkeys(("base_model_name", "cosmos_model_name", "siglip_model_name"), TINY_MODEL)
        config.write_text(json.dumps({**json.loads(config.read_text()), **names}, indent=2) + "\n")
        size = sum(path.stat().st_size for path in aside.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise ValueError(f"{build}: {size:,} bytes, at most {MOST_BYTES:,} are allowed")
    return size
