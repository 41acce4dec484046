"""Doctor: what would stop a run, found before it starts; each finding with its remedy."""

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from huggingface_hub import get_token
from packaging.requirements import Requirement

from theworld.config.commands import DoctorSettings
from theworld.constants import TINY_FUSED_MODEL
from theworld.planning.plan import Plan, plan_run
from theworld.precision import DTYPE_OF, describe_device, fastest_dtype, is_emulated


class Finding(NamedTuple):
    """One thing that was looked at."""

    state: Literal["ok", "warning", "fault"]
    what: str
    found: str
    """What was found, and of warnings and faults the remedy; never a secret."""


def examine(settings: DoctorSettings) -> Iterator[Finding]:
    """Look at the installation and, where the settings name a run, at what it needs."""
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
    except (ValueError, OSError) as error:  # a repository that refuses, a folder that lacks a file, data that is away
        yield Finding("fault", "models and data", " ".join(str(error).split()))
        return
    yield Finding("ok", "models and data", "configuration files and samples can be read")
    yield _asked_formats(plan)
    yield _memory(plan)
    yield _disk(plan)


def _libraries() -> Finding:
    wrong = []
    for line in requires("theworld") or ():
        needed = Requirement(line)
        if needed.marker is not None:  # of an extra
            continue
        try:
            installed = version(needed.name)
        except PackageNotFoundError:
            installed = "absent"
        if installed == "absent" or not needed.specifier.contains(installed, prereleases=True):
            wrong.append(f"{needed.name} {installed}, needed {needed.specifier}")
    if wrong:
        return Finding("fault", "libraries", f"{'; '.join(wrong)}: install with constraints.txt")
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
            "fault", "a forward pass", "the embedded model gives numbers that are not finite: reinstall torch"
        )
    return Finding("ok", "a forward pass", "the embedded model runs")


def _number_formats() -> Finding:
    return Finding("ok", "number formats", f"{describe_device()}: 'auto' computes in {fastest_dtype()}")


def _asked_formats(plan: Plan) -> Finding:
    """The formats of the run; one that this machine emulates was asked for, and a run elsewhere may well compute it."""
    precision, dtype = plan.settings.precision, plan.settings.model.dtype
    found = f"precision {precision}, weights in {dtype}"
    slow = {one for one in (DTYPE_OF[precision], dtype, plan.settings.model.world.dtype) if is_emulated(one)}
    if slow:
        remedy = "for a run here set precision, model.dtype and model.world.dtype to 'auto'"
        return Finding("warning", "formats of the run", f"{found}: this machine emulates {', '.join(slow)}; {remedy}")
    return Finding("ok", "formats of the run", found)


def _writable(name: str, folder: Path) -> Finding:
    there = _nearest(folder)
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Finding("fault", name, f"{there} cannot be written to: choose another {name}")
    return Finding("ok", name, f"{folder} can be written to")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _memory(plan: Plan) -> Finding:
    if torch.cuda.is_available():
        there = torch.cuda.get_device_properties(0).total_memory
    else:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = plan.memory.peak
    said = f"{needed / 1e9:.1f} GB of {there / 1e9:.1f} GB a device"
    if needed > there:
        remedy = "a smaller batch_size, gradient_checkpointing, or more devices with --sharding fsdp"
        return Finding("fault", "memory", f"{said}: {remedy}")
    return Finding("warning" if needed > 0.9 * there else "ok", "memory", said)


def _disk(plan: Plan) -> Finding:
    """Checkpoints hold what trains and its two moments; one more is written before the oldest goes."""
    parts = plan.memory.parts.values()
    one = sum(part.gradients + part.optimizer for part in parts)
    settings = plan.settings
    kept = settings.save_total_limit or -(-settings.num_steps // settings.save_steps)
    needed, free = one * (kept + 1), shutil.disk_usage(_nearest(settings.output_dir)).free
    said = f"checkpoints take {needed / 1e9:.2f} GB, {free / 1e9:.1f} GB are free"
    if needed > free:
        return Finding("fault", "disk", f"{said}: free space, or lower save_total_limit")
    return Finding("ok", "disk", said)
