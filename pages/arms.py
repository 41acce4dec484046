"""Tables of the comparison of arms in the README and docs/tiny.md, from the committed results."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from scipy.stats import t

from pages.blocks import RESULTS, ROOT, write_block
from theworld.evaluation.statistics import Interval
from theworld.experiments.arms.results import Cell, Contrast, Results, cells_of, contrasts_of, read_results
from theworld.experiments.arms.table import draw_curves
from theworld.tables import markdown_lines, percent, percent_range, points, points_range, points_with_range

ARMS: Final = RESULTS / "foresight-arms.json"
"""arms.json of `theworld arms configs/foresight/arms.yaml`."""
PAGES: Final = ("README.md", "docs/tiny.md")

WORDS: Final = {
    "gemma": "a control: tokens that carry nothing (`gemma`)",
    "gemma-frames": "a control: the same, and Gemma sees every frame that is given (`gemma-frames`)",
    "siglip-world": "SigLIP's patches through the same projector (`siglip-world`)",
    "vae": "the VAE latent of what is given (`vae`)",
    "random-world": "a control: the same world model, untrained (`random-world`)",
    "rollout": "one imagined future (`rollout`)",
    "rollout-mean": "the mean of four imagined futures (`rollout-mean`)",
    "dit": "states of one forward of the denoiser over noise (`dit`)",
    "true-future": "what really happened: an upper bound (`true-future`)",
}
"""The arms of configs/foresight/arms.yaml, in the order of the tables."""
_BOUND: Final = "true-future"

Grid: TypeAlias = tuple[list[str], list[list[str]]]
"""Columns and rows of a table."""


def blocks(results: Results) -> dict[str, str]:
    """Return the text between the marks of each page."""
    cells, contrasts = cells_of(results), contrasts_of(results)
    label_counts = _label_counts(cells)
    num_aligned = results.origin.get("settings", {}).get("num_aligned", 0)
    short = markdown_lines(*_accuracies(cells, label_counts[:2], num_aligned))
    columns, rows = _accuracies(cells, label_counts, num_aligned)
    more_columns, more_rows = _more(results, cells)
    long = markdown_lines(columns + more_columns, [row + more for row, more in zip(rows, more_rows, strict=True)])
    long += ["", *markdown_lines(*_differences(contrasts, label_counts, num_aligned))]
    return {
        page: "\n".join([*lines, "", _primary_comparison(results, contrasts, (ROOT / page).parent)])
        for page, lines in zip(PAGES, (short, long), strict=True)
    }


def write_tables() -> None:
    """Write the tables into the pages, and draw the curves.

    Raises:
        FileNotFoundError: if there are no results.
    """
    results = read_results(ARMS)
    for page, block in blocks(results).items():
        write_block(page, "arms", block)
    draw_curves(cells_of(results), ROOT / "docs" / "images" / "arms.png")


def _label_counts(cells: Sequence[Cell]) -> list[int]:
    return sorted({cell.num_labels for cell in cells})


def _names(cells: Sequence[Cell]) -> list[str]:
    """Return the arms of the comparison, in the order of the tables."""
    return [name for name in WORDS if any(cell.arm == name for cell in cells)]


def _accuracies(cells: Sequence[Cell], label_counts: Sequence[int], num_aligned: int) -> Grid:
    """Make a table of accuracy by arm and number of labels; the best of a column, but the upper bound, is bold."""
    num_seeds = max(len(cell.seeds) for cell in cells)
    seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
    shown = {}
    for num_labels in label_counts:
        column = [cell for cell in cells if cell.num_labels == num_labels]
        rivals = [cell.accuracy for cell in column if cell.arm != _BOUND]
        best = max(rivals) if len(rivals) > 1 else None
        for cell in column:
            value = percent(cell.accuracy)
            value = f"**{value}**" if cell.arm != _BOUND and cell.accuracy == best else value
            fewer = f" ({len(cell.seeds)})" if len(cell.seeds) < num_seeds else ""
            shown[cell.arm, num_labels] = f"{value} {percent_range(cell.interval)}{fewer}"
    columns = [
        f"arms at equal budget, {seeds}, % right [95 %]",
        *(_labels(count, num_aligned) for count in label_counts),
    ]
    rows = [
        [WORDS[name], *(shown.get((name, num_labels), "") for num_labels in label_counts)] for name in _names(cells)
    ]
    return columns, rows


def _more(results: Results, cells: Sequence[Cell]) -> Grid:
    """Make further columns: a partner's world and the controls, with the fewest labels; answer cost; learning rates."""
    fewest = {cell.arm: cell for cell in cells if cell.num_labels == _label_counts(cells)[0]}
    rates = {name: rate["chosen"] for name, rate in results.origin["learning_rates"].items()}
    rows = []
    for name in _names(cells):
        cell, cost = fewest.get(name), results.costs[name]
        shares = [None, None] if cell is None else [cell.shuffled, cell.static]
        controls = ["" if share is None else percent(share) for share in shares]
        chosen = f"{rates[name]['aligned']:g}, {rates[name]['labels']:g}"
        rows.append([*controls, f"{1000 * cost.seconds:.0f}, {cost.gflops:.1f}", chosen])
    return ["a partner's world", "controls", "ms, GFLOP an answer", "learning rates"], rows


def _differences(contrasts: Sequence[Contrast], label_counts: Sequence[int], num_aligned: int) -> Grid:
    """Make a table of differences in points, with intervals and the worst seed's p-value.

    P-values are adjusted after Holm, except for the primary comparison.
    """
    shown = {}
    for contrast in contrasts:
        p_value = max(contrast.p_by_seed) if contrast.adjusted_p is None else contrast.adjusted_p
        text = f"{points_with_range(contrast.points / 100, contrast.interval)}, p = {p_value:.1g}"
        key = (contrast.first, contrast.second, contrast.num_labels)
        shown[key] = f"**{text}**" if contrast.is_primary else text
    rows = [
        [f"`{first}` over `{second}`", *(shown.get((first, second, num_labels), "") for num_labels in label_counts)]
        for first, second in dict.fromkeys(key[:2] for key in shown)
    ]
    return ["difference in points [95 %]", *(_labels(count, num_aligned) for count in label_counts)], rows


def _labels(number: int, num_aligned: int) -> str:
    """Name a column: labels, and annotated scenes in all, since the alignment asks about outcomes, too.

    The labelled scenes are the first of the aligned ones, and reach beyond them only if they are more.
    """
    return f"{number:,} labels, {max(number, num_aligned):,} annotated scenes"


def _primary_comparison(results: Results, contrasts: Sequence[Contrast], folder: Path) -> str:
    """State the comparison that was named beforehand, and the source of the numbers."""
    commits = sorted({*results.origin.get("commits", ())})
    num_changed = sum(commit.endswith("+") for commit in commits)
    changed = f", {num_changed} of them with uncommitted changes" if num_changed else ""
    places = f"trained at {len(commits)} states of the code{changed}, named there"
    origin = f"commit {commits[0][:7]}" if len(commits) == 1 else places
    source = f"[{ARMS.name}]({ARMS.relative_to(folder)}), {origin}"
    num_items = f"{len(results.items['dynamic']):,} test questions"
    primary = next((contrast for contrast in contrasts if contrast.is_primary), None)
    if primary is None:
        return f"{num_items} ({source})."
    labels = "without labels" if primary.num_labels == 0 else f"after {primary.num_labels:,} labels"
    named = f"`{primary.first}` against `{primary.second}` {labels} was named beforehand"
    size = f"{points(primary.points / 100)} points {points_range(primary.interval)} over questions"
    seeds = _over_seeds(results, primary)
    one_world = "The seeds are of the projector: there is one build of the world."
    return f"{named}: {size}{seeds}; {num_items} ({source}). {one_world}"


def _over_seeds(results: Results, contrast: Contrast) -> str:
    """Return the interval of Student's t over the seeds' differences; empty for a single seed."""
    shares = {
        (run.arm, run.seed): run.right["dynamic"].mean()
        for run in results.runs
        if run.num_labels == contrast.num_labels
    }
    seeds = [seed for arm, seed in shares if arm == contrast.first and (contrast.second, seed) in shares]
    if len(seeds) < 2:
        return ""
    values = np.array([shares[contrast.first, seed] - shares[contrast.second, seed] for seed in seeds])
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return (
        f", {points_range(Interval(float(values.mean()) - half, float(values.mean()) + half))} over {len(values)} seeds"
    )
