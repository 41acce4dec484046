"""Number formats: native formats of a device, and the choice for `auto`."""

import logging
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""Number format of a forward pass; `auto`: bf16 on a device that computes it natively, else fp32."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
"""Number format of weights."""

DTYPE_OF: Final[dict[str, str]] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

WEIGHTS_FOR: Final[dict[str, tuple[str, ...]]] = {
    "auto": ("float32", "bfloat16"),
    "fp32": ("float32",),
    "bf16": ("float32", "bfloat16"),
    "fp16": ("float32",),
}
"""Number formats of trainable weights, by precision."""

_INSTRUCTIONS: Final = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}
"""Flags in /proc/cpuinfo (x86 and Arm); any of them makes a format native."""

_OLDER_INSTRUCTIONS: Final = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of oneDNN's ONEDNN_MAX_CPU_ISA (or DNNL_MAX_CPU_ISA) that disable the instructions above."""

_FIRST_CUDA_WITH_BFLOAT16: Final = (8, 0)
_CPUINFO: Final = Path("/proc/cpuinfo")


class Formats(NamedTuple):
    """The number formats of a run."""

    precision: str
    """fp32, bf16 or fp16."""
    dtype: str
    """Format of the weights: float32, bfloat16 or float16."""


def fastest_dtype(device: "torch.device | None" = None) -> Literal["float32", "bfloat16"]:
    """Return the number format for `auto`: bfloat16 on a device that computes it natively, else float32.

    Args:
        device: None: a GPU if there is one, else the CPU.
    """
    return "float32" if is_emulated("bfloat16", device) else "bfloat16"


def is_emulated(dtype: str, device: "torch.device | None" = None) -> bool:
    """Return whether a device emulates a number format through float32, many times slower than float32 itself.

    CUDA computes bfloat16 from capability 8.0 on (Ampere). A CPU needs instructions for it: avx512_bf16 or amx_bf16 on
    x86, bf16 on Arm; ONEDNN_MAX_CPU_ISA and DNNL_MAX_CPU_ISA may disable them. If the system does not list its CPU's
    instructions, as on macOS, bfloat16 counts as emulated.

    Args:
        dtype: float32, bfloat16 or float16.
        device: None: a GPU if there is one, else the CPU.
    """
    if dtype not in _INSTRUCTIONS:
        return False
    cuda = _cuda_capability(device)
    if cuda is not None:
        return dtype == "bfloat16" and cuda < _FIRST_CUDA_WITH_BFLOAT16
    limits = (os.environ.get(name, "").upper() for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"))
    return any(limit in _OLDER_INSTRUCTIONS for limit in limits) or not _INSTRUCTIONS[dtype] & processor_flags()


@cache
def processor_flags() -> frozenset[str]:
    """Return the instruction sets of this machine's CPU, as Linux lists them; empty on other systems."""
    lines = _CPUINFO.read_text().split("\n") if _CPUINFO.is_file() else []
    listed = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(listed, "").split())


def concrete_dtype(dtype: str, device: "torch.device | None" = None) -> str:
    """Return a number format by name, with `auto` replaced."""
    return fastest_dtype(device) if dtype == "auto" else dtype


def training_formats(precision: str, dtype: str, device: "torch.device | None" = None) -> Formats:
    """Return the number formats of a training run, with `auto` replaced; explicit formats stay.

    Weights follow the precision: float32 for fp32 and fp16, bfloat16 for bf16. Precision follows explicit bfloat16
    weights, because fp32 computes in the weights' own format.
    """
    if precision == "auto":
        precision = "bf16" if "bfloat16" in (dtype, fastest_dtype(device)) else "fp32"
    if dtype == "auto":
        dtype = "bfloat16" if precision == "bf16" else "float32"
    return Formats(precision, dtype)


def loading_dtype(requested: Any, saved: Any, argument: str = "dtype") -> Any:
    """Return the number format to load weights in.

    Args:
        requested: a torch dtype or its name, which is final; None or "auto": as saved, but float32 instead of a format
            that this machine emulates.
        saved: format in the model's files, a torch dtype or its name; None: unknown.
        argument: name of the argument, for the warning.
    """
    if requested not in (None, "auto"):
        warn_if_emulated(name_of(requested))
        return requested
    if saved is None or not is_emulated(name_of(saved)):
        return "auto"
    _warn_replaced(argument, name_of(saved))
    return "float32"


def name_of(dtype: Any) -> str:
    """Return the name of a torch dtype: `bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


def warn_if_emulated(*dtypes: str, device: "torch.device | None" = None) -> None:
    """Warn once per process of a number format that the device emulates."""
    for dtype in dtypes:
        if is_emulated(dtype, device):
            _warn(dtype)


@cache
def _warn(dtype: str) -> None:
    logger.warning("%s is emulated by this machine: many times slower than float32", dtype)


@cache
def _warn_replaced(argument: str, dtype: str) -> None:
    logger.warning(
        "saved in %s, which this machine emulates: float32 takes its place (%s=%r keeps it)", dtype, argument, dtype
    )


def describe_device() -> str:
    """Return the name of the device: `AMD EPYC, bfloat16 emulated`."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor_name()
    return f"{name}, bfloat16 {'emulated' if is_emulated('bfloat16') else 'native'}"


def _processor_name() -> str:
    lines = _CPUINFO.read_text().split("\n") if _CPUINFO.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _cuda_capability(device: "torch.device | None") -> tuple[int, int] | None:
    """CUDA capability of a device; None: the CPU."""
    import torch

    if device is None:
        return torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None
