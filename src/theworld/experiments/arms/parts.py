"""Parts of a comparison of arms from several folders or machines: check that they fit, and merge their runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic import TypeAdapter

from theworld.config.arm_settings import ArmsSettings
from theworld.config.model import ModelSettings
from theworld.config.optim import OptimSettings
from theworld.experiments.arms.results import LATER, Results, distinct, saved_settings
from theworld.experiments.arms.run import FREE


def check_parts(settings: ArmsSettings, others: Sequence[Results]) -> None:
    """Check that results from other folders are parts of this comparison.

    Raises:
        ValueError: if settings or arms differ.
    """
    for other in others:
        _refuse(_differing(saved_settings(settings), other))


def merged(parts: Sequence[Results]) -> Results:
    """Merge the parts of a comparison from several folders; arms and primary comparison come from the first part.

    Raises:
        ValueError: if parts differ in their settings, an arm, its learning rates or their questions, or have the same
            run.
    """
    first, *others = parts
    runs, costs, origin = list(first.runs), dict(first.costs), dict(first.origin)
    num_trained = dict(first.num_trained)
    for other in others:
        _check_same(first, other)
        known = {(run.arm, run.num_labels, run.seed, run.build) for run in runs}
        if twice := [run for run in other.runs if (run.arm, run.num_labels, run.seed, run.build) in known]:
            raise ValueError(
                f"{len(twice)} runs are in two parts of the comparison, such as {twice[0].arm}, seed {twice[0].seed},"
                f" {twice[0].num_labels} labels; expected each once: leave that file out of --also, or choose"
                " other --seeds"
            )
        runs += other.runs
        costs, num_trained = {**other.costs, **costs}, {**other.num_trained, **num_trained}
        origin["commits"] = sorted({*origin["commits"], *other.origin["commits"]})
        for name in ("libraries", "number_formats"):
            origin[name] = distinct([*origin.get(name, ()), *other.origin.get(name, ())])
        origin["learning_rates"] = {**other.origin["learning_rates"], **origin["learning_rates"]}
    order = [arm["name"] for arm in origin["settings"]["arms"]]
    runs.sort(key=lambda run: (order.index(run.arm), run.num_labels, run.build, run.seed))
    return replace(first, runs=tuple(runs), costs=costs, num_trained=num_trained, origin=origin)


def _check_same(first: Results, other: Results) -> None:
    differing = _differing(first.origin["settings"], other)
    rates, other_rates = (part.origin["learning_rates"] for part in (first, other))
    if first.origin["settings"].get("world_build") == other.origin["settings"].get("world_build"):
        differing += [f"learning rates of {name}" for name in rates if not _agree(rates[name], other_rates.get(name))]
    if first.items != other.items:
        differing.append("questions")
    _refuse(differing)


def _agree(first: Any, second: Any) -> bool:
    """Return True if two reports of learning rates agree wherever both have an entry."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return all(_agree(value, second[name]) for name, value in first.items() if name in second)
    return second is None or first == second


def _differing(ours: dict[str, Any], other: Results) -> list[str]:
    """Return the settings and arms in which a part differs from this comparison."""
    theirs = other.origin["settings"]
    names = [*ours, *(name for name in LATER if name in theirs and name not in ours)]
    our_arms, their_arms = ({arm["name"]: arm for arm in settings["arms"]} for settings in (ours, theirs))
    return [
        *(name for name in names if name not in FREE and _comparable(name, ours) != _comparable(name, theirs)),
        *(f"arm {run.arm}" for run in other.runs if _set_of(our_arms.get(run.arm)) != _set_of(their_arms[run.arm])),
    ]


def _set_of(arm: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the settings of an arm that are set, for comparison: results of earlier versions lack later settings."""
    if arm is None:
        return None
    return {name: value for name, value in {"kind": "world", **arm}.items() if value is not None}


def _comparable(name: str, settings: dict[str, Any]) -> Any:
    """Return a setting for comparison, without number formats: those may differ between machines.

    Settings that an earlier version did not have count as their defaults. Where settings name the build of the world,
    the folders of its models differ.
    """
    value = settings.get(name)
    if value is None or name not in _DEFAULTS:
        return value
    value = _filled(value, _DEFAULTS[name])
    if name != "model":
        return value
    free, free_in_world = ["dtype"], ["dtype"]
    if settings.get("world_build"):
        free += ["gemma_model_name"]
        free_in_world += ["cosmos_model_name", "siglip_model_name"]
    return {**value, **dict.fromkeys(free), "world": {**value["world"], **dict.fromkeys(free_in_world)}}


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
