"""What the README and docs/tiny.md show of the comparison of arms is what the committed results say."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from theworld import tiny
from theworld.evaluation.generation import Cost
from theworld.experiments.arms.results import Results, Run, cells_of, contrasts_of, read_results, write_results

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from pages.arms import ARMS, PAGES, WORDS, blocks  # noqa: E402  # no part of the package
from pages.blocks import with_block  # noqa: E402
from pages.shipped import SHIPPED, read_table  # noqa: E402


def small() -> Results:
    """Two arms and the upper bound on twenty questions; the second budget has one seed, and not every arm."""
    items = {
        "dynamic": tuple(f"drop-test-{number:02}-end" for number in range(20)),
        "shuffled": ("drop-test-00-end",),
        "static": ("drop-test-00-ball", "drop-test-01-ball"),
    }
    rest = {"shuffled": np.array([False]), "static": np.array([True, False])}

    def run(arm: str, num_labels: int, seed: int, num_right: int) -> Run:
        return Run(arm, num_labels, seed, {"dynamic": np.arange(20) < num_right, **rest})

    runs = (
        *(run("gemma", 0, seed, 8) for seed in (0, 1)),
        run("gemma", 100, 0, 9),
        *(run("rollout", 0, seed, 16) for seed in (0, 1)),
        *(run("true-future", 0, seed, 20) for seed in (0, 1)),
    )
    costs = {name: Cost(0.0124, 0.36) for name in ("gemma", "rollout", "true-future")}
    rates = {name: {"chosen": {"aligned": 0.003, "labels": 0.0003}} for name in costs}
    origin = {"commits": ["0123456789" * 4], "learning_rates": rates, "settings": {"num_aligned": 50}}
    return Results(("rollout", "gemma"), 0, items, runs, costs, origin)


def test_a_table_has_a_row_for_each_arm_that_was_compared_and_marks_the_best_and_what_is_missing():
    readme = blocks(small())["README.md"].splitlines()

    assert readme[0] == (
        "| arms at equal budget, 2 seeds, % right [95 %] | 0 labels, 50 annotated scenes"
        " | 100 labels, 100 annotated scenes |"
    )
    assert readme[2] == f"| {WORDS['gemma']} | 40.0 [20.0, 60.0] | 45.0 [20.0, 65.0] (1) |"
    assert readme[3] == f"| {WORDS['rollout']} | **80.0** [60.0, 95.0] |  |"
    assert readme[4] == f"| {WORDS['true-future']} | 100.0 [100.0, 100.0] |  |"
    assert readme[6] == (
        "`rollout` against `gemma` without labels was named beforehand: +40.0 points [+20.0, +60.0] over questions,"
        " [+40.0, +40.0] over 2 seeds; 20 test questions ([foresight-arms.json](docs/results/foresight-arms.json),"
        " commit 0123456). The seeds are of the projector: there is one build of the world."
    )


def test_the_long_table_also_tells_the_controls_the_cost_and_the_learning_rates():
    tiny = blocks(small())["docs/tiny.md"].splitlines()

    assert tiny[0].endswith("| a partner's world | controls | ms, GFLOP an answer | learning rates |")
    assert tiny[2].endswith("| 0.0 | 50.0 | 12, 0.4 | 0.003, 0.0003 |")
    assert len({row.count("|") for row in tiny[:5]}) == 1
    assert tiny[6] == (
        "| difference in points [95 %] | 0 labels, 50 annotated scenes | 100 labels, 100 annotated scenes |"
    )
    assert tiny[8] == "| `rollout` over `gemma` | **+40.0 [+20.0, +60.0], p = 0.008** |  |"
    assert tiny[9].startswith("| `true-future` over `gemma` | +60.0 [+40.0, +80.0], p = ")
    assert "](results/foresight-arms.json)" in tiny[-1]


def test_a_block_takes_the_place_of_the_one_before_and_of_nothing_else():
    page = "above\n<!-- arms: written by `make pages` -->\nold\n<!-- end of arms -->\nbelow\n"

    assert with_block(page, "arms", "new") == page.replace("old", "new")
    with pytest.raises(ValueError, match="each once"):
        with_block(page, "others", "new")


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_have_marks_and_between_them_what_the_committed_results_say(page: str) -> None:
    text = (ROOT / page).read_text()
    assert with_block(text, "arms", "") != text
    if ARMS.exists():
        assert with_block(text, "arms", blocks(read_results(ARMS))[page]) == text, "run `make pages`"


def test_the_readme_shows_of_the_shipped_model_what_its_results_say() -> None:
    readme = (ROOT / "README.md").read_text()

    assert with_block(readme, "shipped", read_table()) == readme, "run `make pages`"
    found = json.loads(SHIPPED.read_text())
    assert [found["arms"][name]["num_items"] for name in ("world", "no-world-tokens", "blind")] == [2_000] * 3
    assert [found["arms"][name]["world_read"] for name in ("world", "no-world-tokens", "blind")] == [2_000, 0, 0]
    assert {run["checkpoint"] for run in found["origin"]["runs"].values()} == {"tiny 3cb8e1b2911649e0"}


def test_the_readme_tells_of_the_audit_what_the_file_beside_the_model_says() -> None:
    found = json.loads((tiny.WEIGHTS / "fused" / "audit.json").read_text())
    readme = " ".join((ROOT / "README.md").read_text().split())

    assert found["verdict"] == "used"
    for one, told in zip(
        found["deciding"],
        ("a different outcome lowers accuracy by {} points [{}, {}]", "mean world lowers it by {} [{}, {}]"),
        strict=True,
    ):
        figures = (100 * one["drop"], 100 * one["interval"]["low"], 100 * one["interval"]["high"])
        assert told.format(*(f"{figure:.1f}" for figure in figures)) in readme


@pytest.mark.skipif(not ARMS.exists(), reason="no results are committed")
def test_the_committed_results_are_small_and_say_where_they_come_from(tmp_path: Path) -> None:
    found = read_results(ARMS)

    assert ARMS.stat().st_size < 400_000
    assert all(re.fullmatch(r"[0-9a-f]{40}\+?", commit) for commit in found.origin["commits"])
    assert found.origin["commits"]
    write_results(found, cells_of(found), contrasts_of(found), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == ARMS.read_text()
