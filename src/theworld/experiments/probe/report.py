"""What probes found: a table per task, and heat maps over blocks and noise levels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from theworld.config import loader
from theworld.config.data import TASK_NAMES
from theworld.config.experiments import ForesightProbe, ProbeSettings
from theworld.evaluation.statistics import wilson_interval
from theworld.experiments.probe.clips import DECISIVE, Labelled, open_labelled
from theworld.experiments.probe.probe import Probe, best_cells, probe, watch_futures
from theworld.io import write_whole
from theworld.report.tables import percent_range

_OF_SCENES = ("outcome", "contact", "position", "velocity")


def run_probes(own: ProbeSettings) -> dict[str, Any]:
    """Probe, and write the folder.

        output_dir/
          config.json
          probe.json    a row per task, tap, block, noise level, slot and quantity
          probe.md      what the imagined last pictures show, and the best read-outs, as tables
          probe.png     heat maps of what the probe is about, block by noise level

    Returns:
        The best cell of each kind of clip, the paths, and of Foresight what the imagined last pictures show, of public
        pictures their classes and how many are used.
    """
    found: dict[str, Any] = {}
    said = ""
    if isinstance(own, ForesightProbe):
        imagined = replace(own.world, tap="rollout")
        found["watched"] = watch_futures(imagined, own.tasks, own.num_test, batch_size=own.batch_size)
        said = watched_to_markdown(found["watched"])
    cells: list[Probe] = []
    for clips in open_labelled(own):
        if not isinstance(own, ForesightProbe):
            found["pictures"] = _counts(clips)
            said = pictures_to_markdown(clips)
        cells += probe(own, clips)
    loader.save(own, own.output_dir / "config.json")
    write_whole(own.output_dir / "probe.json", json.dumps([asdict(cell) for cell in cells], indent=1))
    write_whole(own.output_dir / "probe.md", said + to_markdown(cells))
    draw_heat_maps(cells, own.output_dir / "probe.png")
    best = {task: asdict(cell) for task, cell in best_cells(cells).items()}
    paths = {"table": str(own.output_dir / "probe.md"), "heat_maps": str(own.output_dir / "probe.png")}
    return {"best": best, **found, **paths}


def _counts(clips: Labelled) -> dict[str, Any]:
    """Of public pictures: the classes, and how many are used and not used."""
    num_test = len(clips.frames) - clips.num_fit
    return {"classes": list(clips.classes), "num_fit": clips.num_fit, "num_test": num_test, **clips.left_out}


def pictures_to_markdown(clips: Labelled) -> str:
    """Which classes are told apart, on how many pictures."""
    found = _counts(clips)
    return (
        f"Told apart: {', '.join(clips.classes)}. Fitted to {found['num_fit']:,} pictures, measured on"
        f" {found['num_test']:,} others; left out: {found['unreadable']:,} that cannot be read, and of those to fit to"
        f" {found['shared']:,} that are measured. Intervals hold at 95 % for all cells of a tap together, of which the"
        " best is shown.\n\n"
    )


def watched_to_markdown(watched: Mapping[str, Mapping[str, float]]) -> str:
    """How often the last picture shows what really happened: imagined, and the true one through the same VAE."""
    lines = ["## The last picture, watched", "", "| task | imagined | true, decoded | chance | n |", "|---" * 5 + "|"]
    for task, found in watched.items():
        shares = " | ".join(f"{found[name]:.1%}" for name in ("imagined", "decoded", "chance"))
        lines.append(f"| {task} | {shares} | {found['n']:.0f} |")
    return "\n".join([*lines, "", ""])


def to_markdown(cells: Sequence[Probe]) -> str:
    """For each task and tap the best slot, block and noise level for each quantity."""
    lines = []
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [cell for cell in cells if cell.task == task]
        quantities = _OF_SCENES if task in TASK_NAMES else tuple(dict.fromkeys(cell.quantity for cell in of_task))
        rule = "|---" * (1 + len(quantities)) + "|"
        lines += [f"## {task}", "", f"| tap | {' | '.join(quantities)} |", rule]
        for tap in dict.fromkeys(cell.tap for cell in of_task):
            found = [cell for cell in of_task if cell.tap == tap]
            row = [_best([cell for cell in found if cell.quantity == quantity]) for quantity in quantities]
            lines.append(f"| {tap} | " + " | ".join(row) + " |")
        lines.append("")
    return "\n".join(lines)


def _best(cells: Sequence[Probe]) -> str:
    if not cells:
        return ""
    best = max(cells, key=lambda cell: cell.score)
    where = [f"slot {best.slot}"] if best.task in TASK_NAMES else []
    if best.block is not None:
        where += [f"block {best.block}", f"t {best.noise_level}"]
    if best.quantity in ("outcome", "contact"):
        return f"{best.score:.1%} (majority {best.chance:.1%}; {', '.join(where)})"
    if best.quantity in ("position", "velocity"):
        return f"R² {best.score:.2f} ({', '.join(where)})"
    level = 1 - 0.05 / len(cells)  # Bonferroni: the best of many read-outs flatters itself
    interval = wilson_interval(round(best.score * best.num_test), best.num_test, level)
    beside = "; ".join([f"majority {best.chance:.1%}", *([", ".join(where)] if where else [])])
    return f"{best.score:.1%} {percent_range(interval)} of {best.num_test:,} ({beside})"


def draw_heat_maps(cells: Sequence[Probe], path: Path) -> None:
    """A panel per task and filling of the future: accuracy for what the probe is about in the last slot."""
    maps = [cell for cell in cells if cell.block is not None and cell.quantity in DECISIVE]
    tasks, taps = (list(dict.fromkeys(getattr(cell, name) for cell in maps)) for name in ("task", "tap"))
    if not maps:
        raise ValueError("no block was probed: there is no heat map to draw")
    last = max(cell.slot for cell in maps)
    figure = Figure(figsize=(3.4 * len(tasks), 2.9 * len(taps)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(taps), len(tasks), squeeze=False))
    for (row, tap), (column, task) in ((r, c) for r in enumerate(taps) for c in enumerate(tasks)):
        panel = [cell for cell in maps if (cell.tap, cell.task, cell.slot) == (tap, task, last)]
        blocks = sorted({cell.block for cell in panel if cell.block is not None})
        levels = sorted({cell.noise_level for cell in panel if cell.noise_level is not None})
        grid = np.full((len(blocks), len(levels)), np.nan)
        for cell in panel:
            grid[blocks.index(cell.block), levels.index(cell.noise_level)] = cell.score  # type: ignore[arg-type]
        axis = axes[row, column]
        axis.imshow(grid, cmap="viridis", vmin=min(cell.chance for cell in panel), vmax=1.0, origin="lower")
        for (y, x), value in np.ndenumerate(grid):
            axis.text(x, y, f"{100 * value:.0f}", ha="center", va="center", color="white", fontsize=8)
        axis.set_xticks(range(len(levels)), [f"{level:g}" for level in levels], fontsize=8)
        axis.set_yticks(range(len(blocks)), [str(block) for block in blocks], fontsize=8)
        axis.set_title(f"{task}, {tap}", fontsize=9)
        axis.set_xlabel("noise level t", fontsize=8)
        axis.set_ylabel("block", fontsize=8)
    figure.savefig(path, dpi=130)
