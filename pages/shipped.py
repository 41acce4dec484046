"""Accuracy of the embedded model with its world and without it, for the README, from the committed results.

`python -m pages.shipped EVALUATION AUDIT` collects the results from the folders of the README's commands, by kind of
scene. The row with the world is from the audit, which asks the same questions; the others are from the evaluation.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from pages.blocks import RESULTS
from theworld.datasets.foresight import TASKS
from theworld.environment import commit
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.predictions import read_identity, read_predictions
from theworld.evaluation.statistics import Interval
from theworld.evaluation.summary import summarise
from theworld.io import write_whole
from theworld.tables import markdown_lines, percent, percent_with_range

SHIPPED: Final = RESULTS / "foresight-shipped.json"

WORDS: Final = {
    "world": "with its world",
    "no-world-tokens": "the same model without its world",
    "blind": "without the picture, too",
}


def collect(evaluation: Path, audit: Path) -> dict[str, Any]:
    """Return counts, accuracies and intervals of each arm, and the identity of their runs."""
    files = {name: evaluation / "predictions" / f"{name}.jsonl" for name in WORDS}
    files["world"] = audit / "predictions" / "real.jsonl"
    arms = {
        name: summarise(read_predictions(file), group_by=("task",), scorer=score).to_dict()
        for name, file in files.items()
    }
    runs = {name: asdict(read_identity(file)) for name, file in files.items()}
    return {"arms": arms, "origin": {"summarised_by": commit(), "runs": runs}}


def table(results: dict[str, Any]) -> str:
    """Write accuracy over all questions with its interval, and by kind of scene; the last row is guessing."""
    world = results["arms"]["world"]
    tasks = [task for task in TASKS if task in world["groups"]["task"]]
    rows = []
    for name, words in WORDS.items():
        arm = results["arms"][name]
        overall = percent_with_range(arm["accuracy"]["value"], Interval(**arm["accuracy"]["wilson"]))
        by_task = [percent(arm["groups"]["task"][task]["accuracy"]["value"]) for task in tasks]
        rows.append([words, overall, *by_task])
    summaries = (world, *(world["groups"]["task"][task] for task in tasks))
    rows.append(["guessing among the choices", *(percent(summary["accuracy"]["guessing"]) for summary in summaries)])
    return "\n".join(markdown_lines(["", "right, % [95 % interval]", *tasks], rows))


def read_table() -> str:
    """Write the table of the committed results."""
    return table(json.loads(SHIPPED.read_text()))


if __name__ == "__main__":
    write_whole(SHIPPED, json.dumps(collect(*map(Path, sys.argv[1:3])), indent=1) + "\n")
