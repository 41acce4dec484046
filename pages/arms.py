"""Tables of the comparison of arms, as the README and docs/tiny.md show them, from the results that are committed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pages.blocks import RESULTS, ROOT, write_block
from theworld.experiments.arms.results import Cell, Contrast, Results, cells_of, contrasts_of, read_results
from theworld.experiments.arms.table import draw_curves
from theworld.report.tables import percent, percent_range, points, points_range

ARMS: Final = RESULTS / "foresight-arms.json"
"""arms.json of `theworld arms configs/foresight/arms.yaml`."""
PAGES: Final = ("README.md", "docs/tiny.md")

WORDS: Final = {
    "gemma": "tokens that carry nothing (`gemma`)",
    "gemma-frames": "the same, and Gemma sees every frame that is given (`gemma-frames`)",
    "siglip-world": "SigLIP's patches through the same projector (`siglip-world`)",
    "vae": "the VAE latent of what is given (`vae`)",
    "random-world": "the same world model, untrained (`random-world`)",
    "rollout": "one imagined future (`rollout`)",
    "rollout-mean": "the mean of four imagined futures (`rollout-mean`)",
    "dit": "states of one forward of the denoiser over noise (`dit`)",
    "true-future": "what really happened: an upper bound (`true-future`)",
}
"""The arms of configs/foresight/arms.yaml, in the order of the tables."""
_BOUND: Final = "true-future"


def blocks(results: Results) -> dict[str, str]:
    """By page, what stands between its marks."""
    cells, contrasts = cells_of(results), contrasts_of(results)
    short = _rows(cells, _budgets(cells)[:2])
    long = [row + more for row, more in zip(_rows(cells, _budgets(cells)), _more(results, cells), strict=True)]
    long += ["", *_differences(contrasts, _budgets(cells))]
    return {
        page: "\n".join([*rows, "", _named_beforehand(results, contrasts, (ROOT / page).parent)])
        for page, rows in zip(PAGES, (short, long), strict=True)
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


def _budgets(cells: Sequence[Cell]) -> list[int]:
    return sorted({cell.num_labels for cell in cells})


def _names(cells: Sequence[Cell]) -> list[str]:
    """The arms that were compared, in the order of the tables."""
    return [name for name in WORDS if any(cell.arm == name for cell in cells)]


def _rows(cells: Sequence[Cell], budgets: Sequence[int]) -> list[str]:
    """Accuracy by arm and number of labels; the best of a column is bold, the upper bound aside."""
    num_seeds = max(len(cell.seeds) for cell in cells)
    seeds = "1 seed" if num_seeds == 1 else f"{num_seeds} seeds"
    rows = [f"| arms at equal budget, {seeds}, % right [95 %] | {' | '.join(map(_labels, budgets))} |"]
    rows.append("|---" * (len(budgets) + 1) + "|")
    shown = {}
    for budget in budgets:
        column = [cell for cell in cells if cell.num_labels == budget]
        rivals = [cell.accuracy for cell in column if cell.arm != _BOUND]
        best = max(rivals) if len(rivals) > 1 else None
        for cell in column:
            value = percent(cell.accuracy)
            value = f"**{value}**" if cell.arm != _BOUND and cell.accuracy == best else value
            fewer = f" ({len(cell.seeds)})" if len(cell.seeds) < num_seeds else ""
            shown[cell.arm, budget] = f"{value} {percent_range(cell.interval)}{fewer}"
    for name in _names(cells):
        rows.append(f"| {WORDS[name]} | {' | '.join(shown.get((name, budget), '') for budget in budgets)} |")
    return rows


def _more(results: Results, cells: Sequence[Cell]) -> list[str]:
    """Further columns: a partner's world and the controls, with the fewest labels; what an answer costs; the rates."""
    fewest = {cell.arm: cell for cell in cells if cell.num_labels == _budgets(cells)[0]}
    rates = {name: one["chosen"] for name, one in results.origin["learning_rates"].items()}
    more = [" a partner's world | controls | ms, GFLOP an answer | learning rates |", "---|---|---|---|"]
    for name in _names(cells):
        cell, cost = fewest.get(name), results.costs[name]
        told = " |" if cell is None else f"{percent(cell.shuffled)} | {percent(cell.static)}"
        chosen = f"{rates[name]['aligned']:g}, {rates[name]['labels']:g}"
        more.append(f" {told} | {1000 * cost.seconds:.0f}, {cost.gflops:.1f} | {chosen} |")
    return more


def _differences(contrasts: Sequence[Contrast], budgets: Sequence[int]) -> list[str]:
    """Differences in points with intervals, and the p-value of the worst seed, after Holm but for the one named."""
    rows = [f"| difference in points [95 %] | {' | '.join(map(_labels, budgets))} |", "|---" * (len(budgets) + 1) + "|"]
    shown = {}
    for one in contrasts:
        p_value = max(one.p_by_seed) if one.adjusted_p is None else one.adjusted_p
        told = f"{points(one.points / 100)} {points_range(one.interval)}, p = {p_value:.1g}"
        shown[one.first, one.second, one.num_labels] = f"**{told}**" if one.is_primary else told
    for first, second in dict.fromkeys(key[:2] for key in shown):
        row = [shown.get((first, second, budget), "") for budget in budgets]
        rows.append(f"| `{first}` over `{second}` | {' | '.join(row)} |")
    return rows


def _labels(number: int) -> str:
    return "no outcome label" if number == 0 else f"{number:,} labels"


def _named_beforehand(results: Results, contrasts: Sequence[Contrast], folder: Path) -> str:
    """The comparison named beforehand, and where the numbers come from."""
    commits = sorted({one[:7] for one in results.origin.get("commits", ())})
    told = f"commit {commits[0]}" if len(commits) == 1 else f"trained at {len(commits)} commits, named there"
    source = f"[{ARMS.name}]({ARMS.relative_to(folder)}), {told}"
    num_items = f"{len(results.items['dynamic']):,} test questions"
    primary = next((one for one in contrasts if one.is_primary), None)
    if primary is None:
        return f"{num_items} ({source})."
    labels = "without labels" if primary.num_labels == 0 else f"after {primary.num_labels:,} labels"
    told = f"{points(primary.points / 100)} points {points_range(primary.interval)}, {_below(max(primary.p_by_seed))}"
    named = f"`{primary.first}` against `{primary.second}` {labels} was named beforehand"
    return f"{named}: {told} in each seed; {num_items} ({source})."


def _below(p_value: float) -> str:
    """The power of ten that a p-value lies below."""
    power = math.floor(math.log10(p_value)) + 1 if p_value > 0 else -300
    return f"p below 1e{power}" if power < -3 else f"p = {p_value:.2g} at most"
