"""The table of arms: accuracy by number of outcome labels with intervals, primary comparison, and curves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from theworld.config.arm_settings import Arm, ArmsSettings, WorldArm
from theworld.evaluation.statistics import Interval
from theworld.experiments.arms.claim import arms_of, claim_lines
from theworld.experiments.arms.parts import check_parts, merged
from theworld.experiments.arms.results import (
    Cell,
    Contrast,
    Results,
    cells_of,
    collect,
    contrasts_of,
    read_results,
    values_of,
    write_results,
)
from theworld.experiments.arms.run import claim, run_arms
from theworld.io import write_whole
from theworld.locks import in_use
from theworld.tables import markdown_lines, percent, percent_with_range, points_range

_LATER: Final = ("trained parameters", "unlabelled clips", "over builds and seeds")
"""Columns that results of earlier versions, or settings that do not name them, leave empty."""


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
        of_this_build = [run for other in others for run in other.runs if run.build == (settings.world_build or "")]
        run_arms(settings, [(run.arm, run.num_labels, run.seed) for run in of_this_build])
    results = merged([collect(settings), *others])
    cells, contrasts = cells_of(results), contrasts_of(results)
    path = settings.output_dir / "arms.json"
    write_results(results, cells, contrasts, path)
    write_whole(path.with_suffix(".md"), to_markdown(results, cells, contrasts))
    draw_curves(cells, path.with_suffix(".png"))
    return {
        "results": str(path),
        **values_of(cells, contrasts),
        "costs": {name: asdict(cost) for name, cost in results.costs.items()},
    }


def to_markdown(results: Results, cells: Sequence[Cell], contrasts: Sequence[Contrast]) -> str:
    """Return three tables: accuracy by labels with the cost of an answer; controls; differences."""
    arms = arms_of(results)
    label_counts = sorted({cell.num_labels for cell in cells})
    names = list(dict.fromkeys(cell.arm for cell in cells))
    by_key = {(cell.arm, cell.num_labels): cell for cell in cells}
    lines = ["Accuracy on questions about the future, % [95 % interval], by outcome labels.", ""]
    columns = ["arm", *(f"{num_labels:,}" for num_labels in label_counts)]
    columns += ["ms an answer", "GFLOP an answer", "trained parameters", "unlabelled clips"]
    rows = []
    for name in names:
        accuracies = [_accuracy(by_key.get((name, num_labels))) for num_labels in label_counts]
        rows.append([_title(name, arms.get(name)), *accuracies, *_price(results, name, arms.get(name))])
    lines += [*_filled(columns, rows), ""]
    for split in dict.fromkeys(split for cell in cells for split in cell.others):
        lines += [f"The same on the split `{split}`.", ""]
        shares = {key: cell.others[split] for key, cell in by_key.items() if split in cell.others}
        columns = ["arm", *(f"{num_labels:,}" for num_labels in label_counts)]
        rows = [[name, *(_share(shares.get((name, num_labels))) for num_labels in label_counts)] for name in names]
        lines += [*markdown_lines(columns, rows), ""]
    lines += claim_lines(results, cells)
    columns = ["arm", "labels", "seeds", "static controls", "shuffled world", "by task"]
    lines += markdown_lines(columns, map(_control_cells, cells))
    rates = {name: report["chosen"] for name, report in results.origin.get("learning_rates", {}).items()}
    if rates:
        texts = [f"{name} {_rates(chosen)}" for name, chosen in rates.items()]
        lines += ["", f"Learning rates chosen on validation, of the alignment and of labels: {', '.join(texts)}."]
    primary = f"{results.primary[0]} against {results.primary[1]} after {results.primary_labels:,} labels"
    lines += ["", f"Primary comparison: {primary}. p: exact McNemar test, per seed.", ""]
    columns = ["arm", "against", "labels", "points", "over builds and seeds", "p", "p, Holm"]
    lines += _filled(columns, list(map(_contrast_cells, contrasts)))
    return "\n".join(lines) + "\n"


def _filled(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table; columns that earlier results cannot fill are left out if they are empty."""
    filled = [name not in _LATER or any(row[place] for row in rows) for place, name in enumerate(columns)]
    kept = [place for place, is_filled in enumerate(filled) if is_filled]
    return markdown_lines([columns[place] for place in kept], [[row[place] for place in kept] for row in rows])


def _title(name: str, arm: Arm | None) -> str:
    """Name an arm in the table, with its part in the comparison if it is no competitor."""
    if arm is None or arm.role in ("world", "opponent"):
        return name
    if arm.role == "control":
        carries = "tokens that carry nothing" if isinstance(arm, WorldArm) and arm.reads.tap == "zero" else "untrained"
        return f"{name} (control: {carries})"
    return f"{name} (reference)"


def _price(results: Results, name: str, arm: Arm | None) -> list[str]:
    """Return what an answer and its training cost; empty where results do not say."""
    cost, num_trained = results.costs[name], results.num_trained.get(name)
    num_clips = None if arm is None else arm.num_clips
    counts = ["" if number is None else f"{number:,}" for number in (num_trained, num_clips)]
    return [f"{1000 * cost.seconds:.1f}", f"{cost.gflops:.2f}", *counts]


def _rates(chosen: Mapping[str, Any]) -> str:
    """Return the learning rates of an arm: of the alignment, if it has one, and of labels."""
    labels = chosen.get("labels", {})
    by_number = labels if isinstance(labels, Mapping) else {"": labels}
    texts = [f"{rate:g}{f' with {int(number):,}' if number else ''}" for number, rate in by_number.items()]
    return " and ".join(([] if chosen["aligned"] is None else [f"{chosen['aligned']:g}"]) + [", ".join(texts)])


def _share(share: tuple[float, Interval] | None) -> str:
    return "not done" if share is None else percent_with_range(*share)


def _accuracy(cell: Cell | None) -> str:
    if cell is None:
        return "not done"
    return percent_with_range(cell.accuracy, cell.interval)


def _control_cells(cell: Cell) -> list[str]:
    tasks = ", ".join(f"{task} {percent(value)}" for task, value in cell.by_task.items())
    counts = [f"{cell.num_labels:,}", str(len(cell.seeds))]
    static = "" if cell.static is None else percent(cell.static)
    return [cell.arm, *counts, static, percent(cell.shuffled), tasks]


def _contrast_cells(contrast: Contrast) -> list[str]:
    low, high = 100 * contrast.interval.low, 100 * contrast.interval.high
    return [
        contrast.first,
        contrast.second,
        f"{contrast.num_labels:,}",
        f"{contrast.points:+.1f} [{low:+.1f}, {high:+.1f}]",
        "" if contrast.nested is None else points_range(contrast.nested),
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
