"""Results of a comparison of arms as one small file: which questions each run answered rightly, and what follows."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from pydantic import TypeAdapter

from theworld.config.experiments import ArmsSettings
from theworld.environment import commit
from theworld.evaluation.benchmarks.dispatch import score
from theworld.evaluation.generation import Cost
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.statistics import Interval, bootstrap_difference, bootstrap_mean, holm, mcnemar
from theworld.experiments.arms.arm import folder_of
from theworld.experiments.arms.run import ASKED, COST_NAME, FREE, RATES_NAME
from theworld.io import fingerprint, write_whole

ENVIRONMENT_NAME = "environment.json"
"""What each training of a comparison left about where it ran."""


@dataclass(frozen=True)
class Run:
    """An arm, trained from one seed on so many outcome labels, and what it answered rightly."""

    arm: str
    num_labels: int
    seed: int
    right: dict[str, Bool[np.ndarray, " items"]]
    """By file of predictions (`dynamic`, `shuffled`, `static`), in the order of `Results.items`."""


@dataclass(frozen=True)
class Results:
    """What a comparison found; intervals and tests are functions of it."""

    primary: tuple[str, str]
    """The comparison named beforehand."""
    primary_labels: int
    items: dict[str, tuple[str, ...]]
    """Ids of the questions of each file of predictions, sorted."""
    runs: tuple[Run, ...]
    costs: dict[str, Cost]
    origin: dict[str, Any] = field(default_factory=dict)
    """Settings and their hash, each arm's learning rates and how they were chosen, commits of the trainings and of this
    summary, versions of the libraries, number formats that the trainings computed in."""


@dataclass(frozen=True)
class Cell:
    """An arm after so many outcome labels, over all seeds that are done."""

    arm: str
    num_labels: int
    seeds: tuple[int, ...]
    num_items: int
    """Test questions about the future, the same for every seed."""
    num_right: tuple[int, ...]
    """Of each seed."""
    accuracy: float
    interval: Interval
    """Bootstrap over items; an item's value is its mean over seeds."""
    by_task: dict[str, float]
    static: float
    """Accuracy on the controls."""
    shuffled: float
    """Accuracy with the world of a partner scene that has another answer."""


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
    """Whether it was named beforehand."""
    adjusted_p: float | None = None
    """The largest of them, Holm-corrected over all contrasts but the one named beforehand; None for that one."""


def collect(own: ArmsSettings) -> Results:
    """Read what is done of a comparison from its folder.

    Raises:
        ValueError: if nothing is done yet, a row is an error, or two runs answered different questions.
    """
    items: dict[str, tuple[str, ...]] = {}
    runs = []
    for arm in own.arms:
        for budget in own.budgets:
            for seed in own.seeds:
                folder = folder_of(own, arm, seed, budget) / "predictions"
                if all((folder / f"{name}.done").exists() for name in ASKED):
                    right = {name: _right(folder / f"{name}.jsonl", items) for name in ASKED}
                    runs.append(Run(arm.name, budget, seed, right))
    if not runs:
        raise ValueError(f"{own.output_dir}: no arm is done; run the comparison without report first")
    costs = {run.arm: _cost(own, run.arm) for run in runs}
    return Results(own.primary, own.primary_labels, items, tuple(runs), costs, _origin(own))


def _right(path: Path, items: dict[str, tuple[str, ...]]) -> Bool[np.ndarray, " items"]:
    """Which items of a file are right, in the order of their ids, which all files of its name share."""
    rows = read_predictions(path)
    if errors := [row for row in rows if row.error is not None]:
        raise ValueError(
            f"{path}: {len(errors)} of {len(rows)} rows are errors, which are no answers (the first:"
            f" {errors[0].error}); delete {path.with_suffix('.done').name} beside it and run the comparison again"
        )
    found = {row.sample_id: score(row).state == "right" for row in rows}
    ids = tuple(sorted(found))
    if ids != items.setdefault(path.stem, ids):
        raise ValueError(f"{path}: it answers other questions than the arms before; delete it and run again")
    return np.array([found[one] for one in ids])


def _cost(own: ArmsSettings, name: str) -> Cost:
    return Cost(**json.loads((own.output_dir / "arms" / name / COST_NAME).read_text()))


def _origin(own: ArmsSettings) -> dict[str, Any]:
    settings = _settings(own)
    places = sorted(own.output_dir.rglob(ENVIRONMENT_NAME))
    environments = [json.loads(path.read_text()) for path in places]
    rates = sorted(own.output_dir.glob(f"arms/*/{RATES_NAME}"))
    libraries = {json.dumps(one["libraries"], sort_keys=True) for one in environments}
    return {
        "settings_hash": fingerprint(settings),
        "commits": sorted({str(one["commit"]) for one in environments}),
        "summarised_by": commit(),
        "libraries": [json.loads(one) for one in sorted(libraries)],
        "number_formats": _distinct(one.get("number_formats") for one in environments),
        "settings": settings,
        "learning_rates": {path.parent.name: json.loads(path.read_text()) for path in rates},
    }


def _distinct(found: Iterable[Any]) -> list[Any]:
    """Each value once, in the order of their first places; None is none."""
    return [json.loads(one) for one in dict.fromkeys(json.dumps(one) for one in found if one is not None)]


def write_results(results: Results, cells: Sequence[Cell], contrasts: Sequence[Contrast], path: Path) -> None:
    """Write results as JSON: right answers as packed bits in base64, ids as one text; and what follows from them."""
    found = {
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
        "contrasts": [asdict(one) for one in contrasts],
    }
    write_whole(path, json.dumps(found, indent=1) + "\n")


def read_results(path: Path) -> Results:
    """Results as `write_results` wrote them; what follows from them is not read but can be made again.

    Raises:
        ValueError: for another file, or if a run's number of right answers is not that of its bits.
    """
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    parts = {"origin", "primary", "primary_labels", "items", "runs", "costs"}
    if not isinstance(found, dict) or not parts <= found.keys():
        raise ValueError(f"{path}: no results of a comparison; expected an arms.json that `theworld arms` wrote")
    items = {name: tuple(ids.split()) for name, ids in found["items"].items()}
    runs = []
    for one in found["runs"]:
        packed = {name: np.frombuffer(base64.b64decode(text), np.uint8) for name, text in one["right"].items()}
        right = {name: np.unpackbits(bits, count=len(items[name])).astype(bool) for name, bits in packed.items()}
        counted = {name: int(bits.sum()) for name, bits in right.items()}
        run = Run(one["arm"], one["num_labels"], one["seed"], right)
        if counted != one["num_right"]:
            raise ValueError(f"{path}: {run.arm}, seed {run.seed}: {counted} right by item, {one['num_right']} in all")
        runs.append(run)
    costs = {name: Cost(**cost) for name, cost in found["costs"].items()}
    primary: Any = tuple(found["primary"])
    return Results(primary, found["primary_labels"], items, tuple(runs), costs, found["origin"])


def _settings(own: ArmsSettings) -> dict[str, Any]:
    return TypeAdapter(ArmsSettings).dump_python(own, mode="json", exclude={"output_dir", "also", "report"})


def check_parts(own: ArmsSettings, others: Sequence[Results]) -> None:
    """Refuse parts of another comparison.

    Raises:
        ValueError: if settings or arms differ.
    """
    for other in others:
        _refuse(_differing(_settings(own), other))


def merged(parts: Sequence[Results]) -> Results:
    """One comparison of parts that were done apart; arms, budgets and what was named beforehand are the first one's.

    Raises:
        ValueError: if parts differ in their settings, an arm, its learning rates or their questions, or have the same
            run.
    """
    first, *others = parts
    runs, costs, origin = list(first.runs), dict(first.costs), dict(first.origin)
    for other in others:
        _check_same(first, other)
        have = {(run.arm, run.num_labels, run.seed) for run in runs}
        if twice := [run for run in other.runs if (run.arm, run.num_labels, run.seed) in have]:
            raise ValueError(
                f"{len(twice)} runs are in two parts of the comparison, such as {twice[0].arm}, seed {twice[0].seed},"
                f" {twice[0].num_labels} labels; expected each once"
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
    _refuse(differing + ["questions"] * (first.items != other.items))


def _differing(ours: dict[str, Any], other: Results) -> list[str]:
    """Settings and arms in which a part is of another comparison."""
    theirs = other.origin["settings"]
    known, given = ({arm["name"]: arm for arm in settings["arms"]} for settings in (ours, theirs))
    return [
        *(name for name in ours if name not in FREE and _comparable(name, ours) != _comparable(name, theirs)),
        *(f"arm {run.arm}" for run in other.runs if known.get(run.arm) != given[run.arm]),
    ]


def _comparable(name: str, settings: dict[str, Any]) -> Any:
    """A setting as parts are held against each other by it: machines differ in the number formats that they compute."""
    value = settings.get(name)
    if name != "model" or value is None:
        return value
    return {**value, "dtype": None, "world": {**value["world"], "dtype": None}}


def _refuse(differing: Sequence[str]) -> None:
    if differing:
        raise ValueError(f"parts of different comparisons, which differ in: {', '.join(dict.fromkeys(differing))}")


_Done = Mapping[tuple[str, int], Sequence[Run]]
"""Runs by arm and number of labels: one per seed."""


def _done(results: Results) -> _Done:
    done: dict[tuple[str, int], list[Run]] = {}
    for run in results.runs:
        done.setdefault((run.arm, run.num_labels), []).append(run)
    return done


def cells_of(results: Results) -> list[Cell]:
    """A cell for each arm and number of labels."""
    tasks = np.array([one.partition("-")[0] for one in results.items["dynamic"]])
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
    """Every arm against the partner without a world, and the world arm against every other arm."""
    done = _done(results)
    world, partner = results.primary
    found: list[Contrast] = []
    for name, budget in done:
        pairs = [(name, partner)] if name != partner else []
        pairs += [(world, name)] if name not in results.primary else []
        for first, second in pairs:
            if (first, budget) in done and (second, budget) in done:
                found += _contrast(results, budget, done[first, budget], done[second, budget])
    others = [one for one in found if not one.is_primary]
    adjusted = iter(holm([max(one.p_by_seed) for one in others]))
    return [one if one.is_primary else replace(one, adjusted_p=next(adjusted)) for one in found]


def _contrast(results: Results, budget: int, firsts: Sequence[Run], seconds: Sequence[Run]) -> Iterator[Contrast]:
    """The one contrast of two arms over the seeds that both have; none without such a seed."""
    pairs = [(one, other) for one in firsts for other in seconds if one.seed == other.seed]
    if not pairs:
        return
    ours, theirs = (np.array([pair[which].right["dynamic"] for pair in pairs], dtype=float) for which in (0, 1))
    first, second = pairs[0][0].arm, pairs[0][1].arm
    yield Contrast(
        first=first,
        second=second,
        num_labels=budget,
        points=100 * float(ours.mean() - theirs.mean()),
        interval=bootstrap_difference(theirs.mean(0), ours.mean(0)),
        p_by_seed=tuple(mcnemar(a.tolist(), b.tolist()).p_value for a, b in zip(ours, theirs, strict=True)),
        is_primary=(first, second) == results.primary and budget == results.primary_labels,
    )
