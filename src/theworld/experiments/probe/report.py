"""Run probes and report them: a table per task, and heat maps over blocks and noise levels."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from theworld.config import loader
from theworld.config.data import TASK_NAMES
from theworld.config.experiments import ForesightProbe, ProbeSettings, VideoProbe
from theworld.evaluation.statistics import wilson_interval
from theworld.experiments.probe.clips import DECISIVE, LabelledClips, open_labelled_clips
from theworld.experiments.probe.diagnostics import as_rows, diagnose, diagnostics_table, draw_diagnostics
from theworld.experiments.probe.probe import Probe, best_cells, probe, watch_futures
from theworld.io import write_whole
from theworld.locks import in_use
from theworld.tables import markdown_lines, percent_range
from theworld.tables import to_markdown as to_markdown_table

_OF_SCENES = ("outcome", "contact", "position", "velocity")


def run_probes(settings: ProbeSettings) -> dict[str, Any]:
    """Run all probes and write their folder.

        output_dir/
          config.json
          probe.json    a row per task, tap, block, noise level, slot and quantity
          probe.md      outcomes in the imagined last pictures, and the best read-outs, as tables
          probe.png     heat maps of the main quantity, block by noise level

    Of videos without labels, the distances of imagined latents by slot take the place of the probes.

    Returns:
        The best cell of each kind of clip, and the paths; for videos a row per slot; for Foresight also the outcomes in
        the imagined last pictures, for public pictures also their classes and numbers.
    """
    with in_use(settings.output_dir):
        return _run(settings)


def _run(settings: ProbeSettings) -> dict[str, Any]:
    return _diagnosed(settings) if isinstance(settings, VideoProbe) else _probed(settings)


def _diagnosed(settings: VideoProbe) -> dict[str, Any]:
    """Measure imagined futures on videos, and write the folder: a row per slot, a table, and curves."""
    results, counts = diagnose(settings)
    table = diagnostics_table(results, counts)
    rows = as_rows(results)
    loader.save(settings, settings.output_dir / "config.json")
    write_whole(settings.output_dir / "probe.json", json.dumps(rows, indent=1))
    write_whole(settings.output_dir / "probe.md", f"## {table.heading}\n\n{to_markdown_table(table)}\n\n{table.note}\n")
    draw_diagnostics(results, settings.output_dir / "probe.png")
    paths = {"table": str(settings.output_dir / "probe.md"), "curves": str(settings.output_dir / "probe.png")}
    return {"slots": rows, **counts, **paths}


def _probed(settings: ProbeSettings) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    introduction = ""
    if isinstance(settings, ForesightProbe):
        imagined = replace(settings.world, tap="rollout")
        extra["watched"] = watch_futures(imagined, settings.tasks, settings.num_test, batch_size=settings.batch_size)
        introduction = watched_to_markdown(extra["watched"])
    cells: list[Probe] = []
    for clips in open_labelled_clips(settings):
        if not isinstance(settings, ForesightProbe):
            extra["pictures"] = _counts(clips)
            introduction = pictures_to_markdown(clips)
        cells += probe(settings, clips)
    loader.save(settings, settings.output_dir / "config.json")
    write_whole(settings.output_dir / "probe.json", json.dumps([asdict(cell) for cell in cells], indent=1))
    write_whole(settings.output_dir / "probe.md", introduction + to_markdown(cells))
    draw_heat_maps(cells, settings.output_dir / "probe.png")
    best = {task: asdict(cell) for task, cell in best_cells(cells).items()}
    paths = {"table": str(settings.output_dir / "probe.md"), "heat_maps": str(settings.output_dir / "probe.png")}
    return {"best": best, **extra, **paths}


def _counts(clips: LabelledClips) -> dict[str, Any]:
    """Return the classes of public pictures, and the numbers of used and unused pictures."""
    num_test = len(clips.frames) - clips.num_fit
    return {"classes": list(clips.classes), "num_fit": clips.num_fit, "num_test": num_test, **clips.left_out}


def pictures_to_markdown(clips: LabelledClips) -> str:
    """Return a paragraph with the classes and the numbers of pictures."""
    counts = _counts(clips)
    return (
        f"Classes: {', '.join(clips.classes)}. {counts['num_fit']:,} training pictures, {counts['num_test']:,} test"
        f" pictures; left out: {counts['unreadable']:,} unreadable pictures, and {counts['shared']:,} training pictures"
        " that are test pictures, too. The table shows the best cell of each tap; its intervals hold at 95 % for all"
        " cells of the tap together.\n\n"
    )


def watched_to_markdown(watched: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of how often the last picture shows the true outcome: imagined, and true through the same VAE."""
    rows = [
        [task, *(f"{result[name]:.1%}" for name in ("imagined", "decoded", "chance")), f"{result['n']:.0f}"]
        for task, result in watched.items()
    ]
    table = markdown_lines(["task", "imagined", "true, decoded", "chance", "n"], rows)
    return "\n".join(["## Outcome in the last picture", "", *table, "", ""])


def to_markdown(cells: Sequence[Probe]) -> str:
    """Return a table for each task: the best slot, block and noise level of each tap, by quantity."""
    lines = []
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [cell for cell in cells if cell.task == task]
        quantities = _OF_SCENES if task in TASK_NAMES else tuple(dict.fromkeys(cell.quantity for cell in of_task))
        rows = []
        for tap in dict.fromkeys(cell.tap for cell in of_task):
            of_tap = [cell for cell in of_task if cell.tap == tap]
            rows.append([tap, *(_best([cell for cell in of_tap if cell.quantity == name]) for name in quantities)])
        lines += [f"## {task}", "", *markdown_lines(["tap", *quantities], rows), ""]
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
    level = 1 - 0.05 / len(cells)  # Bonferroni, since this is the best of many read-outs
    interval = wilson_interval(round(best.score * best.num_test), best.num_test, level)
    beside = "; ".join([f"majority {best.chance:.1%}", *([", ".join(where)] if where else [])])
    return f"{best.score:.1%} {percent_range(interval)} of {best.num_test:,} ({beside})"


def draw_heat_maps(cells: Sequence[Probe], path: Path) -> None:
    """Draw a panel per task and way to fill the future: accuracy of the main quantity in the last slot."""
    maps = [cell for cell in cells if cell.block is not None and cell.quantity in DECISIVE]
    tasks, taps = (list(dict.fromkeys(getattr(cell, name) for cell in maps)) for name in ("task", "tap"))
    if not maps:
        raise ValueError("no block was probed, so there is no heat map to draw")
    last = max(cell.slot for cell in maps)
    figure = Figure(figsize=(3.4 * len(tasks), 2.9 * len(taps)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(taps), len(tasks), squeeze=False))
    for (row, tap), (column, task) in ((r, c) for r in enumerate(taps) for c in enumerate(tasks)):
        panel = [cell for cell in maps if (cell.tap, cell.task, cell.slot) == (tap, task, last)]
        blocks = sorted({cell.block for cell in panel if cell.block is not None})
        levels = sorted({cell.noise_level for cell in panel if cell.noise_level is not None})
        grid = np.full((len(blocks), len(levels)), np.nan)
        for cell in panel:
            assert cell.block is not None
            assert cell.noise_level is not None
            grid[blocks.index(cell.block), levels.index(cell.noise_level)] = cell.score
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
