"""Results over builds of the world and test splits, and the lead of arms with a world over opponents that can learn."""

from typing import Any

import numpy as np
import pytest

from theworld.evaluation.generation import Cost
from theworld.experiments.arms.claim import leads_of
from theworld.experiments.arms.parts import merged
from theworld.experiments.arms.results import Results, Run, cells_of, contrasts_of, read_results, write_results
from theworld.experiments.arms.table import to_markdown

ITEMS = {
    "dynamic": tuple(f"drop-varied-shift-seen-{number}-end" for number in range(8)),
    "shuffled": ("drop-varied-shift-seen-0-end",),
    "dynamic-test": ("drop-varied-test-0-end", "drop-varied-test-1-end"),
}
TAP = {"tap": "dit"}
ARMS = [
    {"name": "gemma", "reads": {"tap": "zero"}, "aligned_on": {"tap": "zero"}},
    {"name": "dit", "reads": TAP, "aligned_on": TAP, "num_clips": 100_000},
    {"name": "pixels", "kind": "pixels"},
    {"name": "places", "kind": "pixels", "answers": "places"},
]


def run(arm: str, seed: int, num_right: int, build: str = "a") -> Run:
    """An arm that answers the first test questions, one of the other split, and no controls."""
    right = {
        "dynamic": np.arange(8) < num_right,
        "shuffled": np.array([False]),
        "dynamic-test": np.array([True, False]),
    }
    return Run(arm, 100, seed, right, build)


def part(build: str, *runs: Run, **changes: Any) -> Results:
    model = {"gemma_model_name": f"{build}/gemma", "world": {"cosmos_model_name": f"{build}/cosmos"}}
    settings = {"arms": ARMS, "model": model, "world_build": build, "scenes": "varied"} | changes
    rates = {run.arm: {"chosen": {"aligned": None, "labels": {"100": 0.001}}} for run in runs}
    origin = {"commits": [build * 40], "settings": settings, "learning_rates": rates}
    names = {run.arm for run in runs}
    return Results(("dit", "pixels"), 100, ITEMS, runs, {name: Cost(0.1, 2.0) for name in names}, origin, {"pixels": 9})


def both() -> Results:
    """Two builds of two seeds: `dit` leads by half in one build, and by a quarter in the other."""
    first = [run(arm, seed, number) for arm, number in (("gemma", 2), ("dit", 6), ("pixels", 2)) for seed in (0, 1)]
    more = [run("places", 0, 8)]
    second = [run(arm, seed, number, "b") for arm, number in (("dit", 6), ("pixels", 4)) for seed in (0, 1)]
    return merged([part("a", *first, *more), part("b", *second)])


def test_builds_are_replicates_and_pair_only_runs_of_one_build():
    results = both()
    cells = {cell.arm: cell for cell in cells_of(results)}
    (primary,) = [contrast for contrast in contrasts_of(results) if contrast.is_primary]

    assert cells["dit"].seeds == (0, 1, 0, 1)
    assert (cells["dit"].static, cells["dit"].others["test"][0]) == (None, 0.5)
    assert primary.points == 37.5
    assert len(primary.p_by_seed) == 4
    assert primary.nested is not None
    assert primary.nested.low <= 0.25
    assert primary.nested.high >= 0.5


def test_the_lead_is_of_the_best_world_arm_over_the_best_opponent_and_not_over_a_reference_or_control():
    results = both()
    (lead,) = leads_of(results, cells_of(results))

    assert (lead.num_labels, lead.world, lead.opponent) == (100, "dit", "pixels")
    assert (lead.world_accuracy, lead.opponent_accuracy) == (0.75, 0.375)
    assert lead.interval.low <= 0.375 <= lead.interval.high


def test_builds_splits_and_parameters_are_written_and_read_back(tmp_path):
    results = both()
    write_results(results, cells_of(results), contrasts_of(results), tmp_path / "arms.json")

    again = read_results(tmp_path / "arms.json")

    assert [run.build for run in again.runs] == [run.build for run in results.runs]
    assert again.num_trained == {"pixels": 9}
    assert contrasts_of(again) == contrasts_of(results)


def test_the_table_shows_splits_intervals_over_builds_and_rates_by_number_of_labels():
    results = both()
    text = to_markdown(results, cells_of(results), contrasts_of(results))

    assert "The same on the split `test`." in text
    assert "| 100 | dit 75.0 | pixels 37.5 | +37.5 [" in text
    assert "| over builds and seeds |" in text
    assert "dit 0.001 with 100" in text
    assert "| unlabelled clips |" in text
    assert "static controls" in text


def test_parts_of_one_build_must_have_its_models_and_the_same_scenes():
    ours = part("a", run("dit", 0, 6))

    with pytest.raises(ValueError, match="differ in: scenes"):
        merged([ours, part("b", run("dit", 0, 6, "b"), scenes="plain")])
    with pytest.raises(ValueError, match="1 runs are in two parts"):
        merged([ours, part("a", run("dit", 0, 6))])
