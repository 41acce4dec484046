"""The lead of arms that read a world model over opponents that can learn without one, at each number of labels."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydantic import TypeAdapter

from theworld.config.arm_settings import Arm, ArmRole
from theworld.evaluation.statistics import Interval, bootstrap_nested
from theworld.experiments.arms.results import Cell, Results, paired
from theworld.experiments.arms.run import FUTURE
from theworld.tables import markdown_lines, percent, points_with_range

_COMPARED: Final[tuple[ArmRole, ArmRole]] = ("world", "opponent")


@dataclass(frozen=True)
class Lead:
    """The best world arm and the best opponent after a number of labels, by their accuracy on the test questions."""

    num_labels: int
    world: str
    opponent: str
    world_accuracy: float
    opponent_accuracy: float
    interval: Interval
    """Of the difference, over builds of the world, seeds, and questions. It does not count the choice of the best."""


def arms_of(results: Results) -> dict[str, Arm]:
    """Return the arms of a comparison by name, as its settings have them; none for results without settings."""
    rows = results.origin.get("settings", {}).get("arms", ())
    return {row["name"]: TypeAdapter(Arm).validate_json(json.dumps(row)) for row in rows}


def leads_of(results: Results, cells: Sequence[Cell]) -> list[Lead]:
    """Compare the best world arm with the best opponent at each number of labels that both have.

    Opponents are all arms that learn and read no world model: Gemma trained itself, a network of pixels, and encoders
    of the given frames. Controls, references and the true future are none.
    """
    arms = arms_of(results)
    leads = []
    for num_labels in sorted({cell.num_labels for cell in cells}):
        here = [cell for cell in cells if cell.num_labels == num_labels and cell.arm in arms]
        world, opponent = (_best(here, [name for name in arms if arms[name].role == role]) for role in _COMPARED)
        if world is None or opponent is None:
            continue
        runs = [
            [run for run in results.runs if (run.arm, run.num_labels) == (cell.arm, num_labels)]
            for cell in (world, opponent)
        ]
        pairs = paired(*runs)
        if not pairs:
            continue
        differences = np.array([first.right[FUTURE].astype(float) - second.right[FUTURE] for first, second in pairs])
        interval = bootstrap_nested(differences, [first.build for first, _ in pairs])
        leads.append(Lead(num_labels, world.arm, opponent.arm, world.accuracy, opponent.accuracy, interval))
    return leads


def _best(cells: Sequence[Cell], names: Sequence[str]) -> Cell | None:
    return max((cell for cell in cells if cell.arm in names), key=lambda cell: cell.accuracy, default=None)


def claim_lines(results: Results, cells: Sequence[Cell]) -> list[str]:
    """Return the table of leads in Markdown; nothing without opponents."""
    leads = leads_of(results, cells)
    if not leads:
        return []
    rows = [
        [
            f"{lead.num_labels:,}",
            f"{lead.world} {percent(lead.world_accuracy)}",
            f"{lead.opponent} {percent(lead.opponent_accuracy)}",
            points_with_range(lead.world_accuracy - lead.opponent_accuracy, lead.interval),
        ]
        for lead in leads
    ]
    title = "Best arm with a world model and best opponent; the interval counts builds, seeds and questions."
    columns = ["labels", "with a world model", "opponent", "points [95 %]"]
    return [title, "", *markdown_lines(columns, rows), ""]
