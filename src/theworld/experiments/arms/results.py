"""Results of a comparison of arms: right answers by question in one small file, with accuracies and tests."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool
from pydantic import TypeAdapter

from theworld.config.experiments import ArmsSettings
from theworld.config.model import ModelSettings
from theworld.config.optim import OptimSettings
from theworld.config.renamed import with_former_names
from theworld.environment import commit
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.generation import Cost
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.statistics import Interval, bootstrap_difference, bootstrap_mean, holm, mcnemar
from theworld.experiments.arms.arm import folder_of
from theworld.experiments.arms.run import ASKED, COST_NAME, FREE, RATES_NAME
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
    """By file of predictions (`dynamic`, `shuffled`, `static`), in the order of `Results.items`."""


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
    static: float
    """Accuracy on the controls."""
    shuffled: float
    """Accuracy with the world of a partner scene that has a different answer."""


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
                if all((folder / f"{name}.done").exists() for name in ASKED):
                    right = {name: _right(folder / f"{name}.jsonl", items) for name in ASKED}
                    runs.append(Run(arm.name, num_labels, seed, right))
    if not runs:
        raise ValueError(f"{settings.output_dir}: no arm is finished; run the comparison without report first")
    costs = {run.arm: _cost(settings, run.arm) for run in runs}
    return Results(settings.primary, settings.primary_labels, items, tuple(runs), costs, _origin(settings))


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


def _cost(settings: ArmsSettings, name: str) -> Cost:
    return Cost(**json.loads((settings.output_dir / "arms" / name / COST_NAME).read_text()))


def _origin(settings: ArmsSettings) -> dict[str, Any]:
    saved = _saved_settings(settings)
    environments = [json.loads(path.read_text()) for path in sorted(settings.output_dir.rglob(ENVIRONMENT_NAME))]
    rates = sorted(settings.output_dir.glob(f"arms/*/{RATES_NAME}"))
    libraries = {json.dumps(environment["libraries"], sort_keys=True) for environment in environments}
    return {
        "settings_hash": fingerprint(with_former_names(saved)),
        "commits": sorted({str(environment["commit"]) for environment in environments}),
        "summarised_by": commit(),
        "libraries": [json.loads(text) for text in sorted(libraries)],
        "number_formats": _distinct(environment.get("number_formats") for environment in environments),
        "settings": saved,
        "learning_rates": {path.parent.name: json.loads(path.read_text()) for path in rates},
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Return each value once, in the order of first appearance, without None."""
    texts = dict.fromkeys(json.dumps(value) for value in values if value is not None)
    return [json.loads(text) for text in texts]


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
                "num_right": {name: int(right.sum()) for name, right in run.right.items()},
                "right": {
                    name: base64.b64encode(np.packbits(right).tobytes()).decode() for name, right in run.right.items()
                },
            }
            for run in results.runs
        ],
        "costs": {name: asdict(cost) for name, cost in results.costs.items()},
        "cells": [asdict(cell) for cell in cells],
        "contrasts": [asdict(contrast) for contrast in contrasts],
    }
    write_whole(path, json.dumps(content, indent=1) + "\n")


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
        run = Run(row["arm"], row["num_labels"], row["seed"], right)
        if counted != row["num_right"]:
            raise ValueError(f"{path}: {run.arm}, seed {run.seed}: {counted} right by item, {row['num_right']} in all")
        runs.append(run)
    costs = {name: Cost(**cost) for name, cost in content["costs"].items()}
    primary: Any = tuple(content["primary"])
    return Results(primary, content["primary_labels"], items, tuple(runs), costs, content["origin"])


def _saved_settings(settings: ArmsSettings) -> dict[str, Any]:
    return TypeAdapter(ArmsSettings).dump_python(settings, mode="json", exclude={"output_dir", "also", "report"})


def check_parts(settings: ArmsSettings, others: Sequence[Results]) -> None:
    """Check that results from other folders are parts of this comparison.

    Raises:
        ValueError: if settings or arms differ.
    """
    for other in others:
        _refuse(_differing(_saved_settings(settings), other))


def merged(parts: Sequence[Results]) -> Results:
    """Merge the parts of a comparison from several folders; arms and primary comparison come from the first part.

    Raises:
        ValueError: if parts differ in their settings, an arm, its learning rates or their questions, or have the same
            run.
    """
    first, *others = parts
    runs, costs, origin = list(first.runs), dict(first.costs), dict(first.origin)
    for other in others:
        _check_same(first, other)
        known = {(run.arm, run.num_labels, run.seed) for run in runs}
        if twice := [run for run in other.runs if (run.arm, run.num_labels, run.seed) in known]:
            raise ValueError(
                f"{len(twice)} runs are in two parts of the comparison, such as {twice[0].arm}, seed {twice[0].seed},"
                f" {twice[0].num_labels} labels; expected each once: leave that file out of --also, or choose"
                " other --seeds"
            )
        runs += other.runs
        costs = {**other.costs, **costs}
        origin["commits"] = sorted({*origin["commits"], *other.origin["commits"]})
        for name in ("libraries", "number_formats"):
            origin[name] = _distinct([*origin.get(name, ()), *other.origin.get(name, ())])
        origin["learning_rates"] = {**other.origin["learning_rates"], **origin["learning_rates"]}
    order = [arm["name"] for arm in origin["settings"]["arms"]]
    runs.sort(key=lambda run: (order.index(run.arm), run.num_labels, run.seed))
    return replace(first, runs=tuple(runs), costs=costs, origin=origin)


def _check_same(first: Results, other: Results) -> None:
    differing = _differing(first.origin["settings"], other)
    rates, other_rates = (part.origin["learning_rates"] for part in (first, other))
    differing += [f"learning rates of {name}" for name in rates if other_rates.get(name, rates[name]) != rates[name]]
    if first.items != other.items:
        differing.append("questions")
    _refuse(differing)


def _differing(ours: dict[str, Any], other: Results) -> list[str]:
    """Return the settings and arms in which a part differs from this comparison."""
    theirs = other.origin["settings"]
    our_arms, their_arms = ({arm["name"]: arm for arm in settings["arms"]} for settings in (ours, theirs))
    return [
        *(name for name in ours if name not in FREE and _comparable(name, ours) != _comparable(name, theirs)),
        *(f"arm {run.arm}" for run in other.runs if _set_of(our_arms.get(run.arm)) != _set_of(their_arms[run.arm])),
    ]


def _set_of(arm: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the settings of an arm that are set, for comparison: results of earlier versions lack later settings."""
    return arm if arm is None else {name: value for name, value in arm.items() if value is not None}


def _comparable(name: str, settings: dict[str, Any]) -> Any:
    """Return a setting for comparison, without number formats: those may differ between machines.

    Settings that an earlier version did not have count as their defaults.
    """
    value = settings.get(name)
    if value is None or name not in _DEFAULTS:
        return value
    value = _filled(value, _DEFAULTS[name])
    return {**value, "dtype": None, "world": {**value["world"], "dtype": None}} if name == "model" else value


_DEFAULTS: Final = {
    "model": json.loads(TypeAdapter(ModelSettings).dump_json(ModelSettings())),
    "optim": json.loads(TypeAdapter(OptimSettings).dump_json(OptimSettings())),
}


def _filled(value: Any, defaults: Any) -> Any:
    """Return a mapping with the defaults of the keys that it lacks, at every depth."""
    if not isinstance(value, dict) or not isinstance(defaults, dict):
        return value
    return {**defaults, **{key: _filled(part, defaults.get(key)) for key, part in value.items()}}


def _refuse(differing: Sequence[str]) -> None:
    if differing:
        raise ValueError(
            "the files of --also must come from the same settings and arms as this folder; they are parts of different"
            f" comparisons, which differ in: {', '.join(dict.fromkeys(differing))}"
        )


_Done = Mapping[tuple[str, int], Sequence[Run]]
"""Runs by arm and number of labels: one per seed."""


def _done(results: Results) -> _Done:
    done: dict[tuple[str, int], list[Run]] = {}
    for run in results.runs:
        done.setdefault((run.arm, run.num_labels), []).append(run)
    return done


def cells_of(results: Results) -> list[Cell]:
    """Return a cell for each arm and number of labels."""
    tasks = np.array([sample_id.partition("-")[0] for sample_id in results.items["dynamic"]])
    cells = []
    for (arm, num_labels), runs in _done(results).items():
        values = np.array([run.right["dynamic"] for run in runs], dtype=float)
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
                static=float(np.mean([run.right["static"] for run in runs])),
                shuffled=float(np.mean([run.right["shuffled"] for run in runs])),
            )
        )
    return cells


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


def _contrast(results: Results, num_labels: int, firsts: Sequence[Run], seconds: Sequence[Run]) -> Iterator[Contrast]:
    """Yield the contrast of two arms over the seeds that both have; nothing without such a seed."""
    pairs = [(first, second) for first in firsts for second in seconds if first.seed == second.seed]
    if not pairs:
        return
    ours = np.array([pair[0].right["dynamic"] for pair in pairs], dtype=float)
    theirs = np.array([pair[1].right["dynamic"] for pair in pairs], dtype=float)
    first, second = pairs[0][0].arm, pairs[0][1].arm
    yield Contrast(
        first=first,
        second=second,
        num_labels=num_labels,
        points=100 * float(ours.mean() - theirs.mean()),
        interval=bootstrap_difference(theirs.mean(0), ours.mean(0)),
        p_by_seed=tuple(mcnemar(a.tolist(), b.tolist()).p_value for a, b in zip(ours, theirs, strict=True)),
        is_primary=(first, second) == results.primary and num_labels == results.primary_labels,
    )
