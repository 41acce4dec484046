"""Number formats: those that a device computes natively, and the one that `auto` stands for."""

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
"""Number formats of weights that a model can train in, by its precision."""

_INSTRUCTIONS: Final = {
    "bfloat16": {"avx512_bf16", "amx_bf16", "bf16"},
    "float16": {"avx512_fp16", "amx_fp16", "asimdhp"},
}
"""Flags of x86 and Arm processors in /proc/cpuinfo, any of which makes a format native."""

_OLDER_INSTRUCTIONS: Final = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
"""Values of oneDNN's ONEDNN_MAX_CPU_ISA (or DNNL_MAX_CPU_ISA) that keep it from using the instructions above."""

_FIRST_CUDA_WITH_BFLOAT16: Final = (8, 0)
_CPUINFO: Final = Path("/proc/cpuinfo")


class Formats(NamedTuple):
    """The number formats of a run."""

    precision: str
    """fp32, bf16 or fp16."""
    dtype: str
    """Of the weights: float32, bfloat16 or float16."""


def fastest_dtype(device: "torch.device | None" = None) -> Literal["float32", "bfloat16"]:
    """The number format that `auto` stands for: bfloat16 on a device that computes it natively, else float32.

    Args:
        device: None: a GPU if there is one, else the processor.
    """
    return "float32" if is_emulated("bfloat16", device) else "bfloat16"


def is_emulated(dtype: str, device: "torch.device | None" = None) -> bool:
    """Whether a device computes a number format through float32, which takes many times as long as float32 itself.

    CUDA computes bfloat16 from capability 8.0 on (Ampere). A processor needs instructions for it: avx512_bf16 or
    amx_bf16 on x86, bf16 on Arm; ONEDNN_MAX_CPU_ISA and DNNL_MAX_CPU_ISA may switch them off. Where the system does
    not list its processor's instructions, as on macOS, bfloat16 counts as emulated.

    Args:
        dtype: float32, bfloat16 or float16.
        device: None: a GPU if there is one, else the processor.
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
    """Instruction sets of this machine's processor, as Linux lists them; empty where it does not."""
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.is_file() else []
    listed = (line.partition(":")[2] for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(listed, "").split())


def concrete_dtype(dtype: str, device: "torch.device | None" = None) -> str:
    """A number format by its name: itself, or what `auto` stands for."""
    return fastest_dtype(device) if dtype == "auto" else dtype


def training_formats(precision: str, dtype: str, device: "torch.device | None" = None) -> Formats:
    """The number formats of a training run, with `auto` replaced; what was asked for explicitly stays.

    Weights follow the precision: float32 for fp32 and fp16, bfloat16 for bf16. Precision follows weights that were
    asked for in bfloat16, since fp32 computes in the weights' own format.
    """
    if precision == "auto":
        precision = "bf16" if "bfloat16" in (dtype, fastest_dtype(device)) else "fp32"
    if dtype == "auto":
        dtype = "bfloat16" if precision == "bf16" else "float32"
    return Formats(precision, dtype)


def loading_dtype(asked: Any, saved: Any, argument: str = "dtype") -> Any:
    """The number format in which weights are loaded.

    Args:
        asked: a torch dtype or its name, which is obeyed; None or "auto": as saved, but float32 in the place of a
            format that this machine emulates.
        saved: the format in the model's files, a torch dtype or its name; None: unknown.
        argument: its name, for the warning.
    """
    if asked not in (None, "auto"):
        warn_if_emulated(name_of(asked))
        return asked
    if saved is None or not is_emulated(name_of(saved)):
        return "auto"
    _say_replaced(argument, name_of(saved))
    return "float32"


def name_of(dtype: Any) -> str:
    """`bfloat16` of `torch.bfloat16`, or of its name."""
    return str(dtype).removeprefix("torch.")


def warn_if_emulated(*dtypes: str, device: "torch.device | None" = None) -> None:
    """Warn once in a process of a number format that the device emulates."""
    for dtype in dtypes:
        if is_emulated(dtype, device):
            _warn(dtype)


@cache
def _warn(dtype: str) -> None:
    logger.warning("%s is emulated by this machine: many times slower than float32", dtype)


@cache
def _say_replaced(argument: str, dtype: str) -> None:
    logger.warning(
        "saved in %s, which this machine emulates: float32 takes its place (%s=%r keeps it)", dtype, argument, dtype
    )


def describe_device() -> str:
    """The device that computes here: `AMD EPYC, bfloat16 emulated`."""
    import torch

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor_name()
    return f"{name}, bfloat16 {'emulated' if is_emulated('bfloat16') else 'native'}"


def _processor_name() -> str:
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _cuda_capability(device: "torch.device | None") -> tuple[int, int] | None:
    """CUDA capability of a device; None: it is the processor."""
    import torch

    if device is None:
        return torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None
