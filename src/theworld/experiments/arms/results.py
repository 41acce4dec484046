"""Results of a comparison of arms: right answers by question in one small file, with accuracies and tests."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float
from pydantic import TypeAdapter

from theworld.config.arm_settings import ArmsSettings
from theworld.config.renamed import with_former_names
from theworld.environment import commit
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.generation import Cost
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.statistics import (
    Interval,
    bootstrap_difference,
    bootstrap_mean,
    bootstrap_nested,
    holm,
    mcnemar,
)
from theworld.experiments.arms.arm import folder_of
from theworld.experiments.arms.run import COST_NAME, FUTURE, PRESENT, RATES_NAME, SHUFFLED, asked_of, is_done
from theworld.io import fingerprint, write_whole

ENVIRONMENT_NAME = "environment.json"
"""File in each training folder of a comparison, about the machine and the libraries."""


@dataclass(frozen=True)
class Run:
    """An arm that was trained from one seed on a number of outcome labels, with its right answers."""

    arm: str
    num_labels: int
    seed: int
    right: dict[str, Bool[np.ndarray, " items"]]
    """By file of predictions (`dynamic`, `shuffled`, `static`, `dynamic-SPLIT`), in the order of `Results.items`."""
    build: str = ""
    """Build of the world model and Gemma; empty: not named."""


@dataclass(frozen=True)
class Results:
    """The raw results of a comparison; intervals and tests are functions of them."""

    primary: tuple[str, str]
    """The primary comparison, named in the settings."""
    primary_labels: int
    items: dict[str, tuple[str, ...]]
    """Sorted ids of the questions in each file of predictions."""
    runs: tuple[Run, ...]
    costs: dict[str, Cost]
    origin: dict[str, Any] = field(default_factory=dict)
    """Settings and their hash, each arm's learning rates with the accuracies behind the choice, commits of the
    trainings and of this summary, versions of the libraries, number formats of the trainings."""
    num_trained: dict[str, int] = field(default_factory=dict)
    """Parameters that the training of an arm changes, by its name."""


@dataclass(frozen=True)
class Cell:
    """An arm after a number of outcome labels, over all finished seeds."""

    arm: str
    num_labels: int
    seeds: tuple[int, ...]
    num_items: int
    """Test questions about the future, the same for every seed."""
    num_right: tuple[int, ...]
    """Right answers of each seed."""
    accuracy: float
    interval: Interval
    """Bootstrap over items; an item's value is its mean over seeds."""
    by_task: dict[str, float]
    static: float | None
    """Accuracy on the controls; None: the arm is not asked them."""
    shuffled: float
    """Accuracy with the world of a partner scene that has a different answer."""
    others: dict[str, tuple[float, Interval]] = field(default_factory=dict)
    """Accuracy on each further test split, with its bootstrap interval over items."""


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
    """True for the primary comparison."""
    adjusted_p: float | None = None
    """The largest p of all seeds, Holm-corrected over all contrasts but the primary one; None for the primary one."""
    nested: Interval | None = None
    """Bootstrap over builds, their seeds, and items; None: the results name no build."""


def collect(settings: ArmsSettings) -> Results:
    """Read the finished runs of a comparison from its folder.

    Raises:
        ValueError: if no run is finished, a row is an error, or two runs answered different questions.
    """
    items: dict[str, tuple[str, ...]] = {}
    runs = []
    for arm in settings.arms:
        for num_labels in settings.num_labels:
            for seed in settings.seeds:
                folder = folder_of(settings, arm, seed, num_labels) / "predictions"
                if is_done(settings, arm, seed, num_labels):
                    right = {name: _right(folder / f"{name}.jsonl", items) for name in asked_of(settings, arm)}
                    runs.append(Run(arm.name, num_labels, seed, right, settings.world_build or ""))
    if not runs:
        raise ValueError(f"{settings.output_dir}: no arm is finished; run the comparison without report first")
    measured = {run.arm: _measured(settings, run.arm) for run in runs}
    costs = {name: Cost(values["seconds"], values["gflops"]) for name, values in measured.items()}
    num_trained = {name: values["num_trained"] for name, values in measured.items() if "num_trained" in values}
    primary, primary_labels = settings.primary, settings.primary_labels
    return Results(primary, primary_labels, items, tuple(runs), costs, _origin(settings), num_trained)


def _right(path: Path, items: dict[str, tuple[str, ...]]) -> Bool[np.ndarray, " items"]:
    """Return which items of a file are right, in the order of their ids; all files of one name share the ids."""
    rows = read_predictions(path)
    if errors := [row for row in rows if row.error is not None]:
        raise ValueError(
            f"{path}: {len(errors)} of {len(rows)} rows are errors instead of answers (the first: {errors[0].error});"
            f" delete {path.with_suffix('.done').name} beside it and run the comparison again"
        )
    right = {row.sample_id: score(row).state == "right" for row in rows}
    ids = tuple(sorted(right))
    if ids != items.setdefault(path.stem, ids):
        raise ValueError(f"{path}: it answers other questions than the arms before; delete it and run again")
    return np.array([right[sample_id] for sample_id in ids])


def _measured(settings: ArmsSettings, name: str) -> dict[str, Any]:
    return json.loads((settings.output_dir / "arms" / name / COST_NAME).read_text())


def _origin(settings: ArmsSettings) -> dict[str, Any]:
    saved = saved_settings(settings)
    environments = [json.loads(path.read_text()) for path in sorted(settings.output_dir.rglob(ENVIRONMENT_NAME))]
    rates = sorted(settings.output_dir.glob(f"arms/*/{RATES_NAME}"))
    libraries = {json.dumps(environment["libraries"], sort_keys=True) for environment in environments}
    return {
        "settings_hash": fingerprint(with_former_names(saved)),
        "commits": sorted({str(environment["commit"]) for environment in environments}),
        "summarised_by": commit(),
        "libraries": [json.loads(text) for text in sorted(libraries)],
        "number_formats": distinct(environment.get("number_formats") for environment in environments),
        "settings": saved,
        "learning_rates": {path.parent.name: json.loads(path.read_text()) for path in rates},
    }


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return each value once, in the order of first appearance, without None."""
    texts = dict.fromkeys(json.dumps(value) for value in values if value is not None)
    return [json.loads(text) for text in texts]


LATER: Final = (
    "scenes",
    "test_splits",
    "aligned_questions",
    "aligned_split",
    "first_label",
    "label_passes",
    "choose_for_each",
)
"""Settings of a comparison that are younger than the first results; at their defaults they are left out."""


def saved_settings(settings: ArmsSettings) -> dict[str, Any]:
    """Return the settings as results hold them; later ones at their defaults are left out, as before they existed."""
    unused = {"output_dir", "also", "report"} | ({"world_build"} if settings.world_build is None else set())
    saved = TypeAdapter(ArmsSettings).dump_python(settings, mode="json", exclude=unused)
    defaults = {entry.name: entry.default for entry in fields(ArmsSettings)}
    idle = [name for name in LATER if getattr(settings, name) == defaults[name]]
    return {name: value for name, value in saved.items() if name not in idle}


def write_results(results: Results, cells: Sequence[Cell], contrasts: Sequence[Contrast], path: Path) -> None:
    """Write results as JSON: right answers as packed bits in base64, ids as one text; also cells and contrasts."""
    content = {
        "origin": results.origin,
        "primary": list(results.primary),
        "primary_labels": results.primary_labels,
        "items": {name: " ".join(ids) for name, ids in results.items.items()},
        "runs": [
            {
                "arm": run.arm,
                "num_labels": run.num_labels,
                "seed": run.seed,
                **({"build": run.build} if run.build else {}),
                "num_right": {name: int(right.sum()) for name, right in run.right.items()},
                "right": {
                    name: base64.b64encode(np.packbits(right).tobytes()).decode() for name, right in run.right.items()
                },
            }
            for run in results.runs
        ],
        "costs": {name: asdict(cost) for name, cost in results.costs.items()},
        **({"num_trained": results.num_trained} if results.num_trained else {}),
        **values_of(cells, contrasts),
    }
    write_whole(path, json.dumps(content, indent=1) + "\n")


def values_of(cells: Sequence[Cell], contrasts: Sequence[Contrast]) -> dict[str, Any]:
    """Return cells and contrasts as plain values; what earlier results do not have is left out if it is empty."""
    return {
        "cells": [_without(asdict(cell), "others") for cell in cells],
        "contrasts": [_without(asdict(contrast), "nested") for contrast in contrasts],
    }


def _without(values: dict[str, Any], name: str) -> dict[str, Any]:
    """Return values without an empty one that earlier results do not have."""
    return {key: value for key, value in values.items() if key != name or value}


def read_results(path: Path) -> Results:
    """Read the results that `write_results` wrote, without cells and contrasts, which are functions of them.

    Raises:
        ValueError: for another file, or if a run's number of right answers is not that of its bits.
    """
    try:
        content = json.loads(path.read_text())
    except ValueError:
        content = None
    parts = {"origin", "primary", "primary_labels", "items", "runs", "costs"}
    if not isinstance(content, dict) or not parts <= content.keys():
        raise ValueError(f"{path}: no results of a comparison; expected an arms.json that `theworld arms` wrote")
    items = {name: tuple(ids.split()) for name, ids in content["items"].items()}
    runs = []
    for row in content["runs"]:
        packed = {name: np.frombuffer(base64.b64decode(text), np.uint8) for name, text in row["right"].items()}
        right = {name: np.unpackbits(bits, count=len(items[name])).astype(bool) for name, bits in packed.items()}
        counted = {name: int(bits.sum()) for name, bits in right.items()}
        run = Run(row["arm"], row["num_labels"], row["seed"], right, row.get("build", ""))
        if counted != row["num_right"]:
            raise ValueError(f"{path}: {run.arm}, seed {run.seed}: {counted} right by item, {row['num_right']} in all")
        runs.append(run)
    costs = {name: Cost(**cost) for name, cost in content["costs"].items()}
    primary: Any = tuple(content["primary"])
    num_trained = content.get("num_trained", {})
    return Results(primary, content["primary_labels"], items, tuple(runs), costs, content["origin"], num_trained)


_Done = Mapping[tuple[str, int], Sequence[Run]]
"""Runs by arm and number of labels: one per seed."""


def _done(results: Results) -> _Done:
    done: dict[tuple[str, int], list[Run]] = {}
    for run in results.runs:
        done.setdefault((run.arm, run.num_labels), []).append(run)
    return done


def cells_of(results: Results) -> list[Cell]:
    """Return a cell for each arm and number of labels."""
    tasks = np.array([sample_id.partition("-")[0] for sample_id in results.items[FUTURE]])
    cells = []
    for (arm, num_labels), runs in _done(results).items():
        values = _values(runs, FUTURE)
        cells.append(
            Cell(
                arm=arm,
                num_labels=num_labels,
                seeds=tuple(run.seed for run in runs),
                num_items=values.shape[1],
                num_right=tuple(int(row.sum()) for row in values),
                accuracy=float(values.mean()),
                interval=bootstrap_mean(values.mean(0)),
                by_task={task: float(values[:, tasks == task].mean()) for task in dict.fromkeys(tasks.tolist())},
                static=float(_values(runs, PRESENT).mean()) if PRESENT in runs[0].right else None,
                shuffled=float(_values(runs, SHUFFLED).mean()),
                others={
                    name.removeprefix(f"{FUTURE}-"): (
                        float(_values(runs, name).mean()),
                        bootstrap_mean(_values(runs, name).mean(0)),
                    )
                    for name in runs[0].right
                    if name.startswith(f"{FUTURE}-")
                },
            )
        )
    return cells


def _values(runs: Sequence[Run], name: str) -> Float[np.ndarray, "runs items"]:
    """Return 1 for each right answer of a file of predictions."""
    return np.array([run.right[name] for run in runs], dtype=float)


def contrasts_of(results: Results) -> list[Contrast]:
    """Compare every arm with the partner without a world, and the world arm with every other arm."""
    done = _done(results)
    world, partner = results.primary
    contrasts: list[Contrast] = []
    for name, num_labels in done:
        pairs = [(name, partner)] if name != partner else []
        pairs += [(world, name)] if name not in results.primary else []
        for first, second in pairs:
            if (first, num_labels) in done and (second, num_labels) in done:
                contrasts += _contrast(results, num_labels, done[first, num_labels], done[second, num_labels])
    others = [contrast for contrast in contrasts if not contrast.is_primary]
    adjusted = iter(holm([max(contrast.p_by_seed) for contrast in others]))
    return [contrast if contrast.is_primary else replace(contrast, adjusted_p=next(adjusted)) for contrast in contrasts]


def paired(firsts: Sequence[Run], seconds: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Return the runs of two arms that have the same build and seed."""
    return [
        (first, second)
        for first in firsts
        for second in seconds
        if (first.build, first.seed) == (second.build, second.seed)
    ]


def _contrast(results: Results, num_labels: int, firsts: Sequence[Run], seconds: Sequence[Run]) -> Iterator[Contrast]:
    """Yield the contrast of two arms over the seeds of a build that both have; nothing without such a seed."""
    pairs = paired(firsts, seconds)
    if not pairs:
        return
    ours, theirs = (_values(runs, FUTURE) for runs in zip(*pairs, strict=True))
    builds = [first.build for first, _ in pairs]
    first, second = pairs[0][0].arm, pairs[0][1].arm
    yield Contrast(
        first=first,
        second=second,
        num_labels=num_labels,
        points=100 * float(ours.mean() - theirs.mean()),
        interval=bootstrap_difference(theirs.mean(0), ours.mean(0)),
        p_by_seed=tuple(mcnemar(a.tolist(), b.tolist()).p_value for a, b in zip(ours, theirs, strict=True)),
        is_primary=(first, second) == results.primary and num_labels == results.primary_labels,
        nested=bootstrap_nested(ours - theirs, builds) if all(builds) else None,
    )
