"""Results of a comparison of arms: written small, read back whole, and all that a table says follows from them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theworld.evaluation.generation import Cost
from theworld.experiments.arms.parts import merged
from theworld.experiments.arms.results import Results, Run, cells_of, contrasts_of, read_results, write_results

ITEMS = {
    "dynamic": ("drop-test-0-end", "drop-test-1-end", "hide-test-0-end", "hide-test-1-end"),
    "shuffled": ("drop-test-0-end",),
    "static": ("drop-test-0-ball", "drop-test-1-ball"),
}


def run(arm: str, num_labels: int, seed: int, dynamic: str) -> Run:
    """An arm that answered as the digits say, 1 for a right answer; all controls rightly, no partner's world."""
    right = {"dynamic": dynamic, "shuffled": "0", "static": "11"}
    return Run(arm, num_labels, seed, {name: np.array([one == "1" for one in bits]) for name, bits in right.items()})


def results(*more: Run) -> Results:
    runs = (run("gemma", 0, 0, "1000"), run("rollout", 0, 0, "1110"), run("rollout", 0, 1, "1010"), *more)
    costs = {name: Cost(0.1, 2.0) for name in ("gemma", "rollout", "vae")}
    return Results(("rollout", "gemma"), 0, ITEMS, runs, costs, {"commits": ["a" * 40]})


def write(found: Results, path: Path) -> None:
    write_results(found, cells_of(found), contrasts_of(found), path)


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    found = results()
    write(found, tmp_path / "arms.json")

    again = read_results(tmp_path / "arms.json")

    assert (again.primary, again.primary_labels, again.items, again.costs) == (
        found.primary,
        found.primary_labels,
        found.items,
        found.costs,
    )
    assert [(one.arm, one.num_labels, one.seed) for one in again.runs] == [
        ("gemma", 0, 0),
        ("rollout", 0, 0),
        ("rollout", 0, 1),
    ]
    for one, other in zip(again.runs, found.runs, strict=True):
        assert all((one.right[name] == other.right[name]).all() for name in ITEMS)
    assert (cells_of(again), contrasts_of(again)) == (cells_of(found), contrasts_of(found))


def test_a_cell_is_the_mean_over_seeds_and_knows_its_tasks_and_counts():
    cell = cells_of(results())[1]

    assert (cell.arm, cell.seeds, cell.num_items, cell.num_right) == ("rollout", (0, 1), 4, (3, 2))
    assert cell.accuracy == 0.625
    assert cell.by_task == {"drop": 0.75, "hide": 0.5}
    assert (cell.static, cell.shuffled) == (1.0, 0.0)


def test_arms_are_held_against_each_other_on_the_seeds_that_both_have():
    (primary,) = contrasts_of(results())

    assert (primary.first, primary.second, primary.is_primary, primary.adjusted_p) == ("rollout", "gemma", True, None)
    assert primary.points == 50.0  # of seed 0 alone
    assert primary.p_by_seed == (0.5,)  # two items differ, both in favour of one


def test_another_arm_is_held_against_both_and_its_p_values_are_adjusted():
    found = contrasts_of(results(run("vae", 0, 0, "1100")))

    assert [(one.first, one.second, one.adjusted_p) for one in found] == [
        ("rollout", "gemma", None),
        ("vae", "gemma", 1.0),
        ("rollout", "vae", 1.0),
    ]


def test_counts_that_are_not_those_of_the_bits_are_refused(tmp_path):
    path = tmp_path / "arms.json"
    write(results(), path)
    told = json.loads(path.read_text())
    told["runs"][0]["num_right"]["dynamic"] = 2
    path.write_text(json.dumps(told))

    with pytest.raises(ValueError, match="gemma, seed 0"):
        read_results(path)


def part(*runs: Run, **changes: Any) -> Results:
    """What one machine did of a comparison of two arms."""
    settings = {"arms": [{"name": name} for name in ("gemma", "rollout")], "seeds": [0], "align_steps": 600}
    rates = {name: {"chosen": {"aligned": 0.003, "labels": 0.003}} for name in {run.arm for run in runs}}
    origin = {"commits": ["a" * 40], "libraries": [{"torch": "2"}], "settings": settings, "learning_rates": rates}
    costs = {run.arm: Cost(0.1, 2.0) for run in runs}
    return Results(("rollout", "gemma"), 0, ITEMS, runs, costs, {**origin, **changes})


def test_parts_of_a_comparison_that_were_done_apart_are_one_table():
    whole = merged(
        [
            part(run("rollout", 0, 1, "1010"), run("rollout", 0, 0, "1110")),
            part(run("gemma", 0, 0, "1000"), run("rollout", 100, 0, "1111"), commits=["b" * 40]),
        ]
    )

    assert [(one.arm, one.num_labels, one.seed) for one in whole.runs] == [
        ("gemma", 0, 0),
        ("rollout", 0, 0),
        ("rollout", 0, 1),
        ("rollout", 100, 0),
    ]
    assert contrasts_of(whole)[0].points == 50.0
    assert whole.origin["commits"] == ["a" * 40, "b" * 40]
    assert whole.origin["libraries"] == [{"torch": "2"}]
    assert set(whole.origin["learning_rates"]) == set(whole.costs) == {"gemma", "rollout"}


def test_parts_of_different_comparisons_and_runs_that_were_done_twice_are_refused():
    ours = part(run("rollout", 0, 0, "1110"))
    settings = ours.origin["settings"]

    with pytest.raises(ValueError, match="1 runs are in two parts of the comparison, such as rollout, seed 0"):
        merged([ours, part(run("rollout", 0, 0, "1110"))])
    theirs = run("rollout", 0, 1, "1111")
    slower = {**settings, "align_steps": 700, "seeds": [1]}
    with pytest.raises(ValueError, match=r"differ in: align_steps$"):
        merged([ours, part(theirs, settings=slower)])
    renamed = {**settings, "arms": [{"name": "rollout", "images": "clip"}]}
    with pytest.raises(ValueError, match=r"differ in: arm rollout$"):
        merged([ours, part(theirs, settings=renamed)])
    rates = {"rollout": {"chosen": {"aligned": 0.01, "labels": 0.003}}}
    with pytest.raises(ValueError, match=r"differ in: learning rates of rollout$"):
        merged([ours, part(theirs, learning_rates=rates)])
    with pytest.raises(ValueError, match=r"differ in: questions$"):
        merged([ours, replace(part(theirs), items={**ITEMS, "static": ()})])


@pytest.mark.parametrize("content", ["", "[1]", '{"arms": {}}', "\ufeff{"])
def test_a_file_that_holds_no_results_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "arms.json"
    path.write_text(content)

    with pytest.raises(ValueError, match="no results of a comparison; expected an"):
        read_results(path)
