"""Heading of a report: what was run, on which data, and when."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from theworld.constants import TINY_FUSED_MODEL
from theworld.report.folder import RunFolder

_DEMO_SETTING = "num_audited"
"""A setting that only the demo has."""


def title_of(run: RunFolder) -> str:
    """Name the model and the data of a run, as its settings do."""
    model, data = model_of(run), data_of(run)
    return " on ".join(part for part in (model, data) if part) or "Report"


def origin_of(run: RunFolder) -> list[str]:
    """List the number of items, the date and the commit, as far as they are known."""
    counts = {summary.num_items for summary in run.results.arms.values()} if run.results is not None else set()
    environment = run.environment or {}
    commit, version = environment.get("commit"), environment.get("theworld")
    parts = [
        f"{max(counts):,} questions" if counts else None,
        environment.get("date"),
        None if version is None else f"TheWorld {version}",
        None if commit is None else f"commit {commit[:8]}{'+' if commit.endswith('+') else ''}",
    ]
    return [part for part in parts if part]


def model_of(run: RunFolder) -> str | None:
    """Return the checkpoint of an evaluation or audit, or the model of a training, by name."""
    config = _mapping(run.config)
    if _DEMO_SETTING in config:
        return TINY_FUSED_MODEL
    model = _mapping(config.get("model"))
    name = config.get("checkpoint") or model.get("checkpoint") or model.get("gemma_model_name")
    return None if name is None else _short(str(name))


def data_of(run: RunFolder) -> str | None:
    """Return the data set and its source."""
    config = _mapping(run.config)
    if _DEMO_SETTING in config:
        return "Foresight"
    data = _mapping(config.get("data"))
    name, source = data.get("dataset"), data.get("source")
    return None if name is None else f"{name} ({PurePath(str(source)).name})" if source else str(name)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _short(name: str) -> str:
    """Shorten `runs/NAME/model`, the place where training leaves a model, to NAME."""
    parts = PurePath(name).parts
    return parts[-2] if len(parts) > 1 and parts[-1] == "model" else name
