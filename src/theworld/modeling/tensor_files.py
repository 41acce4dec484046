"""Files of trained tensors: safetensors with a checksum, checked against the model before anything changes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from theworld.modeling.config_files import CheckpointError

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
    _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """Put the metadata in order, which safetensors leaves to chance: equal tensors give equal files."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(length)
        if len(text) == length:  # only the order differs; another spelling of a later safetensors stays as it is
            file.seek(8)
            file.write(text)


def read_tensors(
    path: Path, expected: Mapping[str, Tensor], is_left_out: Callable[[str], bool] = lambda name: False
) -> dict[str, Tensor]:
    """Read the tensors of a file that the model expects.

    Args:
        path: of the file.
        expected: tensors of the model, by their names in the file.
        is_left_out: true for the names of tensors that stay in the file.

    Raises:
        CheckpointError: as `check_header`; for another checksum than was written; for a tensor that is not finite.
    """
    check_header(path, expected, is_left_out)
    with _reporting_damage(path), safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        saved = (file.metadata() or {}).get(CHECKSUM)
    if saved is not None and saved != checksum(tensors):
        raise CheckpointError(f"{path}: damaged (its tensors do not have the checksum written with them); {_REMEDY}")
    for name in expected:
        if not _is_finite(tensors[name]):
            raise CheckpointError(f"{path}: {name} holds NaN or infinite weights; {_REMEDY}")
    return {name: tensors[name] for name in expected}


def check_header(path: Path, expected: Mapping[str, Tensor], is_left_out: Callable[[str], bool]) -> None:
    """Compare the names, shapes and number formats of a file with those that a model expects; no tensor is read.

    Raises:
        CheckpointError: for a damaged file; a missing or foreign tensor; one of another shape or of no floating-point
            format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path.parent}: no {path.name}")
    with _reporting_damage(path), safe_open(path, "pt") as file:
        names = {name for name in file.keys() if not is_left_out(name)}  # noqa: SIM118  # not a mapping
        missing, foreign = sorted(expected.keys() - names), sorted(names - expected.keys())
        if missing or foreign:
            raise CheckpointError(f"{path}: missing tensors {missing or 'none'}, foreign tensors {foreign or 'none'}")
        for name, tensor in expected.items():
            stored = file.get_slice(name)
            shape, form = tuple(stored.get_shape()), stored.get_dtype()
            if shape != tuple(tensor.shape):
                raise CheckpointError(f"{path}: {name} has shape {shape}, expected {tuple(tensor.shape)}")
            if form not in _FORMATS:
                raise CheckpointError(
                    f"{path}: {name} has the number format {form}, expected one of {', '.join(_FORMATS)}"
                )


@contextmanager
def _reporting_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({' '.join(str(error).split())}); {_REMEDY}") from error


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
    content: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(content).hexdigest()


def _is_finite(tensor: Tensor) -> bool:
    return tensor.numel() == 0 or bool(torch.stack(torch.aminmax(tensor)).isfinite().all())
