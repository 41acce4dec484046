"""The plan of a run as tables: what one device holds, when it holds most, and how long a step takes."""

from typing import Any

from theworld.config.commands import PlanSettings
from theworld.planning.plan import Plan, plan_run
from theworld.precision import DTYPE_OF, warn_if_emulated
from theworld.report.tables import Table


def planned(settings: PlanSettings) -> tuple[list[Table], dict[str, Any]]:
    """The tables of a plan, and the same as values in bytes.

    Raises:
        ValueError: for configuration files or samples that cannot be had.
    """
    plan = plan_run(settings)
    warn_if_emulated(DTYPE_OF[plan.settings.precision], plan.settings.model.dtype)
    return [_parts(plan), _moments(plan), _time(plan)], _values(plan)


def _parts(plan: Plan) -> Table:
    rows, memory = plan.rows, plan.memory
    lines = [
        (part, *(_gb(size) for size in (held.weights, held.gradients, held.optimizer, held.activations)))
        for part, held in memory.parts.items()
    ]
    how = "as its first samples are" if rows.seen else "as stated"
    devices = plan.settings.num_devices
    return Table(
        "What each part holds on a device, GB",
        ("part", "weights", "gradients", "optimiser", "activations"),
        (*lines, ("logits", "", "", "", _gb(memory.logits)), ("cache, in evaluation", "", "", "", _gb(memory.cache))),
        f"{rows.num_rows} rows of {rows.length} tokens, {how}: {rows.num_supervised} supervised tokens,"
        f" {rows.num_pictures} pictures, {rows.num_clips} clips in all. {devices} device{'s' * (devices > 1)}"
        f"{', ' + plan.settings.sharding if devices > 1 else ''}. 1 GB is 10^9 bytes.",
    )


def _moments(plan: Plan) -> Table:
    memory = plan.memory
    return Table(
        "When it holds most, GB",
        ("moment", "held"),
        (*((name, _gb(size)) for name, size in memory.moments.items()), ("peak", _gb(memory.peak))),
        "Tensors alone: CUDA's own memory (about 0.5 GB), an allocator's unused blocks, and on a CPU the process itself"
        " come on top.",
    )


def _time(plan: Plan) -> Table:
    seconds, steps = plan.seconds, plan.settings.num_steps
    return Table(
        "Time of a step, at the least",
        ("operations, 10^12", "device's peak, 10^12 a second", "seconds a step", "hours of the run"),
        (
            (
                f"{plan.flops / 1e12:.4g}",
                f"{plan.peak_flops / 1e12:.4g}",
                f"{seconds:.3g}",
                f"{seconds * steps / 3600:.3g}",
            ),
        ),
        f"In {plan.settings.precision}, weights in {plan.settings.model.dtype}."
        " At the device's peak, which no training reaches: divide by the share that yours does."
        " Operations that checkpointing repeats, waiting for data and talk between devices are not in it.",
        num_text_columns=0,
    )


def _values(plan: Plan) -> dict[str, Any]:
    memory, rows = plan.memory, plan.rows
    return {
        "peak_bytes": memory.peak,
        "parts": {
            part: {
                "weights": held.weights,
                "gradients": held.gradients,
                "optimizer": held.optimizer,
                "activations": held.activations,
            }
            for part, held in memory.parts.items()
        },
        "logits": memory.logits,
        "cache": memory.cache,
        "moments": memory.moments,
        "flops_per_step": plan.flops,
        "peak_flops": plan.peak_flops,
        "seconds_per_step": plan.seconds,
        "precision": plan.settings.precision,
        "dtype": plan.settings.model.dtype,
        "rows": {name: getattr(rows, name) for name in ("num_rows", "length", "num_supervised", "num_pictures")},
    }


def _gb(size: int) -> str:
    return f"{size / 1e9:.3f}"
