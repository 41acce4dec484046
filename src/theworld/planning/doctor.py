"""Doctor: find problems of the installation and of a run before it starts, each with its remedy."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from huggingface_hub import get_token

from theworld.config.commands import DoctorSettings
from theworld.constants import TINY_FUSED_MODEL
from theworld.environment import unmet_requirements
from theworld.planning.plan import Plan, plan_run
from theworld.precision import DTYPE_OF, describe_device, fastest_dtype, is_emulated


class Finding(NamedTuple):
    """The result of one check."""

    state: Literal["ok", "warning", "fault"]
    what: str
    """Name of the check."""
    found: str
    """The result, with the remedy of a warning or fault; never a secret."""


def examine(settings: DoctorSettings) -> Iterator[Finding]:
    """Check the installation and, if the settings name a run, the needs of the run."""
    yield _libraries()
    yield _token()
    yield _forward()
    yield _number_formats()
    if settings.output_dir == Path():
        return
    yield _writable("output_dir", settings.output_dir)
    if settings.store_dir is not None:
        yield _writable("store_dir", settings.store_dir)
    try:
        plan = plan_run(settings)
    except (ValueError, OSError) as error:  # no access to a repository, a missing file, missing data
        yield Finding("fault", "models and data", " ".join(str(error).split()))
        return
    yield Finding("ok", "models and data", "configuration files and samples can be read")
    yield Finding("ok", "world model", plan.world)
    yield Finding("ok", "steps", f"{plan.num_steps:,}")
    yield _formats_of_run(plan)
    yield _memory(plan.memory.peak)
    yield _disk(plan)


def _libraries() -> Finding:
    if unmet := unmet_requirements():
        return Finding("fault", "libraries", unmet)
    return Finding("ok", "libraries", f"as pyproject.toml asks; torch {torch.__version__}")


def _token() -> Finding:
    if get_token() is None:
        return Finding("warning", "token", "none: gated models need one (`hf auth login`)")
    return Finding("ok", "token", "there is one")


def _forward() -> Finding:
    from theworld.modeling import TheWorld

    try:
        model = TheWorld.from_pretrained(TINY_FUSED_MODEL, load_world=False, enable_world=False)
    except (ValueError, OSError) as error:
        return Finding("fault", "a forward pass", f"{' '.join(str(error).split())}: install the package anew")
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[2, 5, 6]])).logits
    if not bool(logits.isfinite().all()):
        return Finding(
            "fault", "a forward pass", "the embedded model returns numbers that are not finite: reinstall torch"
        )
    return Finding("ok", "a forward pass", "the embedded model runs")


def _number_formats() -> Finding:
    return Finding("ok", "number formats", f"{describe_device()}: 'auto' computes in {fastest_dtype()}")


def _formats_of_run(plan: Plan) -> Finding:
    """Warn of formats that this machine emulates; the run may be meant for another machine."""
    precision, dtype = plan.settings.precision, plan.settings.model.dtype
    formats = f"precision {precision}, weights in {dtype}"
    emulated = {name for name in (DTYPE_OF[precision], dtype, plan.settings.model.world.dtype) if is_emulated(name)}
    if emulated:
        text = f"{formats}: this machine emulates {', '.join(emulated)}; for a run here set precision, model.dtype and"
        return Finding("warning", "formats of the run", f"{text} model.world.dtype to 'auto'")
    return Finding("ok", "formats of the run", formats)


def _writable(name: str, folder: Path) -> Finding:
    existing = _nearest(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding("fault", name, f"{existing} cannot be written to: choose another {name}")
    return Finding("ok", name, f"{folder} can be written to")


def _nearest(folder: Path) -> Path:
    """Return the folder, or the nearest parent that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _memory(needed: int) -> Finding:
    """Compare the peak of the plan, bytes, with the memory of the device."""
    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
    else:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    text = f"{needed / 1e9:.1f} GB of {total / 1e9:.1f} GB a device"
    if needed > total:
        remedy = "a smaller batch_size, gradient_checkpointing, or more devices with --sharding fsdp"
        return Finding("fault", "memory", f"{text}: {remedy}")
    return Finding("warning" if needed > 0.9 * total else "ok", "memory", text)


def _disk(plan: Plan) -> Finding:
    """Compare the size of all checkpoints with the free space.

    A checkpoint holds the trained weights and their two moments. A run writes a new one before it deletes the oldest.
    """
    parts = plan.memory.parts.values()
    checkpoint = sum(part.gradients + part.optimizer for part in parts)
    settings = plan.settings
    kept = settings.save_total_limit or -(-plan.num_steps // settings.save_steps)
    needed, free = checkpoint * (kept + 1), shutil.disk_usage(_nearest(settings.output_dir)).free
    text = f"checkpoints take {needed / 1e9:.2f} GB, {free / 1e9:.1f} GB are free"
    if needed > free:
        return Finding("fault", "disk", f"{text}: free space, or lower save_total_limit")
    return Finding("ok", "disk", text)
