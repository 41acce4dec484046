"""The table of arms: accuracy by number of outcome labels with intervals, primary comparison, and curves."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from theworld.config.experiments import ArmsSettings
from theworld.experiments.arms.results import (
    Cell,
    Contrast,
    Results,
    cells_of,
    check_parts,
    collect,
    contrasts_of,
    merged,
    read_results,
    write_results,
)
from theworld.experiments.arms.run import claim, run_arms
from theworld.io import write_whole
from theworld.locks import in_use
from theworld.tables import markdown_lines, percent, percent_with_range


def compare_arms(settings: ArmsSettings) -> dict[str, Any]:
    """Run the rest of a comparison (not with `report`), and write its table and curves.

        output_dir/arms.json, arms.md, arms.png

    arms.json holds everything that the others show, and the right answers by item: read it with `read_results`.

    Returns:
        The path of arms.json, and the cells, contrasts and costs in it.

    Raises:
        ValueError: if no run is finished, the folder holds another comparison, or one of `also` belongs to another
            comparison or has a run of this folder.
    """
    others = [read_results(path) for path in settings.also]
    check_parts(settings, others)  # fail before hours of training
    with in_use(settings.output_dir):
        return _compare(settings, others)


def _compare(settings: ArmsSettings, others: Sequence[Results]) -> dict[str, Any]:
    settings = claim(settings)
    if not settings.report:
        run_arms(settings, [(run.arm, run.num_labels, run.seed) for other in others for run in other.runs])
    results = merged([collect(settings), *others])
    cells, contrasts = cells_of(results), contrasts_of(results)
    path = settings.output_dir / "arms.json"
    write_results(results, cells, contrasts, path)
    write_whole(path.with_suffix(".md"), to_markdown(results, cells, contrasts))
    draw_curves(cells, path.with_suffix(".png"))
    return {
        "results": str(path),
        "cells": [asdict(cell) for cell in cells],
        "contrasts": [asdict(contrast) for contrast in contrasts],
        "costs": {name: asdict(cost) for name, cost in results.costs.items()},
    }


def to_markdown(results: Results, cells: Sequence[Cell], contrasts: Sequence[Contrast]) -> str:
    """Return three tables: accuracy by labels with the cost of an answer; controls; differences."""
    costs = results.costs
    label_counts = sorted({cell.num_labels for cell in cells})
    names = list(dict.fromkeys(cell.arm for cell in cells))
    by_key = {(cell.arm, cell.num_labels): cell for cell in cells}
    lines = ["Accuracy on questions about the future, % [95 % interval], by outcome labels.", ""]
    columns = ["arm", *(f"{num_labels:,}" for num_labels in label_counts), "ms an answer", "GFLOP an answer"]
    rows = []
    for name in names:
        accuracies = [_accuracy(by_key.get((name, num_labels))) for num_labels in label_counts]
        rows.append([name, *accuracies, f"{1000 * costs[name].seconds:.1f}", f"{costs[name].gflops:.2f}"])
    lines += [*markdown_lines(columns, rows), ""]
    columns = ["arm", "labels", "seeds", "static controls", "shuffled world", "by task"]
    lines += markdown_lines(columns, map(_control_cells, cells))
    rates = {name: report["chosen"] for name, report in results.origin.get("learning_rates", {}).items()}
    if rates:
        texts = [f"{name} {chosen['aligned']:g} and {chosen['labels']:g}" for name, chosen in rates.items()]
        lines += ["", f"Learning rates chosen on validation, of the alignment and of labels: {', '.join(texts)}."]
    primary = f"{results.primary[0]} against {results.primary[1]} after {results.primary_labels:,} labels"
    lines += ["", f"Primary comparison: {primary}. p: exact McNemar test, per seed.", ""]
    columns = ["arm", "against", "labels", "points", "p", "p, Holm"]
    lines += markdown_lines(columns, map(_contrast_cells, contrasts))
    return "\n".join(lines) + "\n"


def _accuracy(cell: Cell | None) -> str:
    if cell is None:
        return "not done"
    return percent_with_range(cell.accuracy, cell.interval)


def _control_cells(cell: Cell) -> list[str]:
    tasks = ", ".join(f"{task} {percent(value)}" for task, value in cell.by_task.items())
    counts = [f"{cell.num_labels:,}", str(len(cell.seeds))]
    return [cell.arm, *counts, percent(cell.static), percent(cell.shuffled), tasks]


def _contrast_cells(contrast: Contrast) -> list[str]:
    low, high = 100 * contrast.interval.low, 100 * contrast.interval.high
    return [
        contrast.first,
        contrast.second,
        f"{contrast.num_labels:,}",
        f"{contrast.points:+.1f} [{low:+.1f}, {high:+.1f}]",
        ", ".join(f"{p_value:.2g}" for p_value in contrast.p_by_seed),
        "" if contrast.adjusted_p is None else f"{contrast.adjusted_p:.2g}",
    ]


def draw_curves(cells: Sequence[Cell], path: Path) -> None:
    """Draw accuracy by number of outcome labels: a line for each arm, an interval around each point."""
    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    axes = figure.subplots()
    label_counts = sorted({cell.num_labels for cell in cells})
    for number, name in enumerate(dict.fromkeys(cell.arm for cell in cells)):
        line = sorted((cell for cell in cells if cell.arm == name), key=lambda cell: cell.num_labels)
        places = [label_counts.index(cell.num_labels) + 0.02 * number for cell in line]
        values = [100 * cell.accuracy for cell in line]
        low = [100 * (cell.accuracy - cell.interval.low) for cell in line]
        high = [100 * (cell.interval.high - cell.accuracy) for cell in line]
        axes.errorbar(places, values, yerr=[low, high], marker="o", capsize=2, linewidth=1.4, label=name)
    axes.set_xticks(range(len(label_counts)), [f"{num_labels:,}" for num_labels in label_counts])
    axes.set_xlabel("outcome labels")
    axes.set_ylabel("accuracy on the future, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=130)
