"""Files of trained tensors: safetensors with a checksum, checked against the model before anything changes."""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from theworld.modeling.loading import CheckpointError

CHECKSUM: Final = "sha256"
"""Key of the metadata. The checksum lies in the file itself, so that no copy or upload can lose it; files of earlier
versions and of other programs have none."""

_FORMATS: Final = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_REMEDY: Final = "take an older checkpoint, or fetch or copy this one again"


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors with their checksum.

    Raises:
        CheckpointError: for a tensor that `read_tensors` would refuse: not a number, infinite, or of another number
            format than float32, bfloat16 and float16.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    for name, tensor in whole.items():
        if tensor.dtype not in _FORMATS.values():
            raise CheckpointError(
                f"{name} is {tensor.dtype}: checkpoints hold float32, bfloat16 and float16; convert it"
            )
        if not _is_finite(tensor):
            raise CheckpointError(f"{name} holds NaN or infinite weights: not saved; go back to an earlier checkpoint")
    save_file(whole, path, metadata={"format": "pt", CHECKSUM: checksum(whole)})


def read_tensors(
    path: Path, expected: Mapping[str, Tensor], is_left_out: Callable[[str], bool] = lambda name: False
) -> dict[str, Tensor]:
    """Read the tensors of a file that the model expects; names, shapes and formats are checked before any is read.

    Args:
        path: of the file.
        expected: tensors of the model, by their names in the file.
        is_left_out: true for the names of tensors that stay in the file.

    Raises:
        CheckpointError: for a damaged file; a missing or foreign tensor; one of another shape or of no floating-point
            format; one that is not finite.
    """
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            _check_header(path, file, expected, {name for name in names if not is_left_out(name)})
            tensors = {name: file.get_tensor(name) for name in names}
            saved = (file.metadata() or {}).get(CHECKSUM)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({' '.join(str(error).split())}); {_REMEDY}") from error
    if saved is not None and saved != checksum(tensors):
        raise CheckpointError(f"{path}: damaged (its tensors do not have the checksum written with them); {_REMEDY}")
    tensors = {name: tensors[name] for name in expected}
    for name, tensor in tensors.items():
        if not _is_finite(tensor):
            raise CheckpointError(f"{path}: {name} holds NaN or infinite weights; {_REMEDY}")
    return tensors


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, formats, shapes and bytes; tensors are hashed side by side."""
    names = sorted(tensors)
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_digest, (tensors[name] for name in names)))
    lines = (
        f"{name} {tensors[name].dtype} {list(tensors[name].shape)} {digest}\n"
        for name, digest in zip(names, digests, strict=True)
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.reshape(-1).view(torch.uint8).numpy()).hexdigest()


def _check_header(path: Path, file: safe_open, expected: Mapping[str, Tensor], names: set[str]) -> None:
    missing, foreign = sorted(expected.keys() - names), sorted(names - expected.keys())
    if missing or foreign:
        raise CheckpointError(f"{path}: missing tensors {missing or 'none'}, foreign tensors {foreign or 'none'}")
    for name, tensor in expected.items():
        stored = file.get_slice(name)
        shape, form = tuple(stored.get_shape()), stored.get_dtype()
        if shape != tuple(tensor.shape):
            raise CheckpointError(f"{path}: {name} has shape {shape}, expected {tuple(tensor.shape)}")
        if form not in _FORMATS:
            raise CheckpointError(f"{path}: {name} has the number format {form}, expected one of {', '.join(_FORMATS)}")


def _is_finite(tensor: Tensor) -> bool:
    return tensor.numel() == 0 or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())
