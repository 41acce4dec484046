"""The table of arms: accuracy by outcome labels with intervals, the one comparison named beforehand, and the curves."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from theworld.config.arms import Arm, ArmsSettings
from theworld.evaluation.costs import Cost
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.rules import score
from theworld.evaluation.statistics import Interval, bootstrap_difference, bootstrap_mean, holm, mcnemar
from theworld.files import write_whole
from theworld.training.arms import ASKED, COST_NAME, claim, folder_of, run_arms

CONTROLS = ("static", "shuffled")


@dataclass(frozen=True)
class Cell:
    """An arm after so many outcome labels, over all seeds that are done."""

    arm: str
    num_labels: int
    seeds: tuple[int, ...]
    num_items: int
    """Test questions about the future, the same for every seed."""
    accuracy: float
    interval: Interval
    """Bootstrap over items; an item's value is its mean over seeds."""
    by_seed: tuple[float, ...]
    by_task: dict[str, float]
    static: float
    """Accuracy on the controls."""
    shuffled: float
    """Accuracy with the world of a partner scene that has another answer."""


@dataclass(frozen=True)
class Contrast:
    """Two arms on the same items after the same number of labels."""

    first: str
    second: str
    num_labels: int
    points: float
    """Accuracy of the first minus that of the second, percentage points, the mean over seeds."""
    interval: Interval
    p_by_seed: tuple[float, ...]
    """Exact McNemar test of each seed."""
    is_primary: bool = False
    """Whether it was named beforehand."""
    adjusted_p: float | None = None
    """The largest of them, Holm-corrected over all contrasts but the one named beforehand; None for that one."""


def compare_arms(own: ArmsSettings) -> dict[str, Any]:
    """Do what is missing of a comparison (unless only a report is wanted), and write its table and curves.

        output_dir/arms.json, arms.md, arms.png

    Returns:
        What arms.json holds.

    Raises:
        ValueError: if nothing is done yet, or the folder holds another comparison.
    """
    if own.report:
        claim(own)
    else:
        run_arms(own)
    done = {(arm.name, budget): _right(own, arm, budget) for arm in own.arms for budget in own.budgets}
    done = {key: found for key, found in done.items() if found}
    if not done:
        raise ValueError(f"{own.output_dir}: no arm is done; run the comparison without report first")
    cells = [_cell(name, budget, found) for (name, budget), found in done.items()]
    contrasts = _contrasts(own, done)
    costs = {name: _cost(own, name) for name in dict.fromkeys(cell.arm for cell in cells)}
    table = {
        "cells": [asdict(cell) for cell in cells],
        "contrasts": [asdict(one) for one in contrasts],
        "costs": {name: asdict(cost) for name, cost in costs.items()},
    }
    write_whole(own.output_dir / "arms.json", json.dumps(table, indent=1))
    write_whole(own.output_dir / "arms.md", to_markdown(own, cells, contrasts, costs))
    draw_curves(cells, own.output_dir / "arms.png")
    return table


def _cost(own: ArmsSettings, name: str) -> Cost:
    return Cost(**json.loads((own.output_dir / "arms" / name / COST_NAME).read_text()))


_Right = dict[int, dict[str, dict[str, float]]]
"""Seed, file of predictions, sample id: 1 for a right answer."""


def _right(own: ArmsSettings, arm: Arm, budget: int) -> _Right:
    found: _Right = {}
    for seed in own.seeds:
        folder = folder_of(own, arm, seed, budget) / "predictions"
        if all((folder / f"{name}.done").exists() for name in ASKED):
            found[seed] = {name: _read(folder / f"{name}.jsonl") for name in ASKED}
    return found


def _read(path: Path) -> dict[str, float]:
    rows = read_predictions(path)
    if errors := [row for row in rows if row.error is not None]:
        raise ValueError(
            f"{path}: {len(errors)} of {len(rows)} rows are errors, which are no answers (the first:"
            f" {errors[0].error}); delete {path.with_suffix('.done').name} beside it and run the comparison again"
        )
    return {row.sample_id: float(score(row).state == "right") for row in rows}


def _cell(name: str, budget: int, found: _Right) -> Cell:
    ids = sorted(next(iter(found.values()))["dynamic"])
    values = np.array([[files["dynamic"][one] for one in ids] for files in found.values()])
    tasks = np.array([one.partition("-")[0] for one in ids])
    return Cell(
        arm=name,
        num_labels=budget,
        seeds=tuple(found),
        num_items=len(ids),
        accuracy=float(values.mean()),
        interval=bootstrap_mean(values.mean(0)),
        by_seed=tuple(values.mean(1).tolist()),
        by_task={task: float(values[:, tasks == task].mean()) for task in dict.fromkeys(tasks.tolist())},
        static=_mean(found, "static"),
        shuffled=_mean(found, "shuffled"),
    )


def _mean(found: _Right, name: str) -> float:
    return float(np.mean([value for files in found.values() for value in files[name].values()]))


def _contrasts(own: ArmsSettings, done: dict[tuple[str, int], _Right]) -> list[Contrast]:
    """Every arm against the partner without a world, and the world arm against every other arm."""
    world, partner = own.primary
    found: list[Contrast] = []
    for name, budget in done:
        pairs = [(name, partner)] if name != partner else []
        pairs += [(world, name)] if name not in own.primary else []
        for first, second in pairs:
            if (first, budget) in done and (second, budget) in done:
                found += _contrast(own, budget, first, done[first, budget], second, done[second, budget])
    others = [one for one in found if not one.is_primary]
    adjusted = iter(holm([max(one.p_by_seed) for one in others]))
    return [one if one.is_primary else replace(one, adjusted_p=next(adjusted)) for one in found]


def _contrast(
    own: ArmsSettings, budget: int, first: str, of_first: _Right, second: str, of_second: _Right
) -> Iterator[Contrast]:
    """The one contrast of two arms over the seeds that both have; none without such a seed."""
    seeds = [seed for seed in of_first if seed in of_second]
    if not seeds:
        return
    ids = sorted(of_first[seeds[0]]["dynamic"])
    ours, theirs = (
        np.array([[found[seed]["dynamic"][one] for one in ids] for seed in seeds]) for found in (of_first, of_second)
    )
    yield Contrast(
        first=first,
        second=second,
        num_labels=budget,
        points=100 * float(ours.mean() - theirs.mean()),
        interval=bootstrap_difference(theirs.mean(0), ours.mean(0)),
        p_by_seed=tuple(mcnemar(a.tolist(), b.tolist()).p_value for a, b in zip(ours, theirs, strict=True)),
        is_primary=(first, second) == own.primary and budget == own.primary_labels,
    )


def to_markdown(
    own: ArmsSettings, cells: Sequence[Cell], contrasts: Sequence[Contrast], costs: Mapping[str, Cost]
) -> str:
    """Three tables: accuracy by labels and what an answer costs; controls; differences."""
    budgets = sorted({cell.num_labels for cell in cells})
    names = list(dict.fromkeys(cell.arm for cell in cells))
    by_key = {(cell.arm, cell.num_labels): cell for cell in cells}
    lines = ["Accuracy on questions about the future, % [95 % interval], by outcome labels.", ""]
    head = [*(f"{budget:,}" for budget in budgets), "ms an answer", "GFLOP an answer"]
    lines += [f"| arm | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for name in names:
        row = [_accuracy(by_key.get((name, budget))) for budget in budgets]
        row += [f"{1000 * costs[name].seconds:.1f}", f"{costs[name].gflops:.2f}"]
        lines.append(f"| {name} | {' | '.join(row)} |")
    lines += ["", "| arm | labels | seeds | static controls | shuffled world | by task |", "|---" * 6 + "|"]
    for cell in cells:
        tasks = ", ".join(f"{task} {100 * value:.1f}" for task, value in cell.by_task.items())
        lines.append(
            f"| {cell.arm} | {cell.num_labels:,} | {len(cell.seeds)} | {100 * cell.static:.1f}"
            f" | {100 * cell.shuffled:.1f} | {tasks} |"
        )
    named = f"{own.primary[0]} against {own.primary[1]} after {own.primary_labels:,} labels"
    lines += ["", f"Named beforehand: {named}. p: exact McNemar test, per seed.", ""]
    lines += ["| arm | against | labels | points | p | p, Holm |", "|---" * 6 + "|"]
    for one in contrasts:
        low, high = 100 * one.interval.low, 100 * one.interval.high
        adjusted = "" if one.adjusted_p is None else f"{one.adjusted_p:.2g}"
        lines.append(
            f"| {one.first} | {one.second} | {one.num_labels:,} | {one.points:+.1f} [{low:+.1f}, {high:+.1f}]"
            f" | {', '.join(f'{p:.2g}' for p in one.p_by_seed)} | {adjusted} |"
        )
    return "\n".join(lines) + "\n"


def _accuracy(cell: Cell | None) -> str:
    if cell is None:
        return "not done"
    return f"{100 * cell.accuracy:.1f} [{100 * cell.interval.low:.1f}, {100 * cell.interval.high:.1f}]"


def draw_curves(cells: Sequence[Cell], path: Path) -> None:
    """Accuracy against the number of outcome labels, one line an arm, an interval around each point."""
    figure = Figure(figsize=(8.0, 4.8), layout="constrained")
    axes = figure.subplots()
    budgets = sorted({cell.num_labels for cell in cells})
    for number, name in enumerate(dict.fromkeys(cell.arm for cell in cells)):
        own = sorted((cell for cell in cells if cell.arm == name), key=lambda cell: cell.num_labels)
        places = [budgets.index(cell.num_labels) + 0.02 * number for cell in own]
        values = [100 * cell.accuracy for cell in own]
        low = [100 * (cell.accuracy - cell.interval.low) for cell in own]
        high = [100 * (cell.interval.high - cell.accuracy) for cell in own]
        axes.errorbar(places, values, yerr=[low, high], marker="o", capsize=2, linewidth=1.4, label=name)
    axes.set_xticks(range(len(budgets)), [f"{budget:,}" for budget in budgets])
    axes.set_xlabel("outcome labels")
    axes.set_ylabel("accuracy on the future, %")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=130)
