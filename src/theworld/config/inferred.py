"""Settings that follow from others: a run's data for its evaluation, and the embedded model for your own data."""

import json
import logging
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter

from theworld.config.data import CONVERSATION_NAMES, DataSettings, ForesightData
from theworld.config.flags import flag_of
from theworld.config.loader import load, merged
from theworld.config.strict_yaml import SettingsError, read_mapping
from theworld.config.training import TrainingConfig
from theworld.config.world import TINY_WORLD
from theworld.constants import DEFAULT_COSMOS_MODEL, DEFAULT_GEMMA_MODEL, TINY_MODEL
from theworld.io import flattened

notes = logging.getLogger("theworld.notes")

CONFIG_NAME: Final = "config.json"
MODEL_NAME: Final = "model"
"""Settings and trained model in the folder of a run."""

EMBEDDED: Final[Mapping[str, Any]] = {
    "num_steps": 300,
    "batch_size": 16,
    "save_steps": 100,
    "num_workers": 0,
    "model": {
        "gemma_model_name": TINY_MODEL,
        "world_grid": 4,
        "world": {
            "cosmos_model_name": TINY_MODEL,
            "siglip_model_name": TINY_MODEL,
            "image_size_px": 64,
            "frame_rate_hz": 6.0,
        },
    },
    "optim": {"learning_rate": 1e-2, "weight_decay": 0.0},
}
"""Settings of a run on your own data that names no model: it trains on a CPU in minutes. A grid of 4 gives 16 world
tokens beside the 16 image tokens of the embedded Gemma."""


def for_training(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the settings of a training run on your own data leave open: its folder, and without a model a small one.

    Args:
        values: the settings that are given, nested.
    """
    data, model = values.get("data"), values.get("model", {})
    if not isinstance(data, Mapping) or not isinstance(model, Mapping) or values.get("mixture"):
        return dict(values)
    if data.get("dataset", DataSettings.default_tag(data)) not in ("own", "video"):
        return dict(values)
    if not isinstance(data.get("source"), str):
        return dict(values)
    defaults: dict[str, Any] = {"output_dir": f"runs/{Path(data['source']).resolve().stem}"}
    if model.get("gemma_model_name") in (None, TINY_MODEL) and model.get("checkpoint") is None:
        defaults |= EMBEDDED
        if model.get("gemma_model_name") is None:
            notes.info(
                "no model is named: the small embedded one is trained, as a first look; for real use give"
                " --model.gemma-model-name %s and a GPU",
                DEFAULT_GEMMA_MODEL,
            )
    return merged(defaults, values)


def for_surprise(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the settings of a measure of surprise leave open: a folder for each source, and without a world model
    the embedded one, its side and its frame rate.

    Args:
        values: the settings that are given, nested.
    """
    if isinstance(source := values.get("source"), str) and source:
        path = Path(source).resolve()
        values = {"output_dir": f"surprise/{path.name if path.is_dir() else path.stem}", **values}
    world = values.get("world", {})
    if not isinstance(world, Mapping) or world.get("cosmos_model_name") not in (None, TINY_MODEL):
        return dict(values)
    if world.get("cosmos_model_name") is None:
        notes.info(
            "no world model is named: the small embedded one, which knows simulated scenes alone, is measured; for real"
            " videos give --world.cosmos-model-name %s and a GPU",
            DEFAULT_COSMOS_MODEL,
        )
    return merged({"world": TINY_WORLD}, values)


def for_evaluation(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the settings of an evaluation leave open and the checkpoint's run knows: its questions and its folder.

    Args:
        values: the settings that are given, nested; the checkpoint may be the folder of a run.

    Raises:
        SettingsError: for the folder of a run without a trained model.
    """
    run, checkpoint = _run_of(values.get("checkpoint"))
    if checkpoint is None:
        return dict(values)
    defaults: dict[str, Any] = {"output_dir": str(checkpoint.parent / "evaluation")}
    if run is None:
        return merged(defaults, values)
    config = saved_run(run / CONFIG_NAME)
    defaults["data"] = data = _questions(values, config, run)
    if data.get("dataset") == "own" and config.model.enable_world:
        defaults["arms"] = ["world", "no-world-tokens"]
    return merged(defaults, {**values, "checkpoint": str(checkpoint)})


def for_audit(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add what the settings of an audit leave open; its folder is beside the model, where `theworld app` looks.

    Args:
        values: as for `for_evaluation`.

    Raises:
        SettingsError: as `for_evaluation`.
    """
    run, checkpoint = _run_of(values.get("checkpoint"))
    if checkpoint is None:
        return dict(values)
    defaults: dict[str, Any] = {"output_dir": str(checkpoint.parent / "audit")}
    if run is None:
        return merged(defaults, values)
    defaults["data"] = data = _questions(values, saved_run(run / CONFIG_NAME), run)
    if data.get("dataset") == "foresight" and data.get("questions") == "both":
        data["questions"] = "future"  # an audit asks one kind
    return merged(defaults, {**values, "checkpoint": str(checkpoint)})


def audit_command(checkpoint: Path, data: DataSettings) -> str:
    """Return the command that audits a model on these data: without flags if they are those of its run."""
    run, _ = _run_of(checkpoint)
    words = ["theworld", "audit", str(checkpoint if run is None else run)]
    if run is None or _data_of(saved_run(run / CONFIG_NAME)) != data:
        usual = flattened(TypeAdapter(dict[str, Any]).dump_python(DataSettings.defaults(), mode="json"))
        changed = {name: value for name, value in flattened(_plain(data)).items() if value != usual.get(name)}
        for name, value in changed.items():
            words += [flag_of(f"data.{name}"), *(map(str, value) if isinstance(value, list) else [str(value)])]
    return shlex.join(words)


def saved_run(path: Path) -> TrainingConfig:
    """Read the settings that a training run saved; a run of a former version keeps its rule of held-out samples and
    the number format of its store.

    Raises:
        SettingsError: for other settings.
    """
    config = load(TrainingConfig, path)
    content = read_mapping(path)
    parts = [content.get("data"), *(part.get("data") for part in content.get("mixture", []))]
    parts += content.get("validation", {}).get("data", [])
    if config.store_dir is not None and "store_dtype" not in content:
        config, content["store_dtype"] = replace(config, store_dtype="float32"), "float32"
    if not any(_is_former(part) for part in parts):
        return config
    for part in filter(_is_former, parts):
        part["held_out_by"] = "id"
    return TypeAdapter(TrainingConfig).validate_json(json.dumps(content))


def with_rule_of(config: TrainingConfig, earlier: TrainingConfig) -> TrainingConfig:
    """Return the settings of a run that continues an earlier one, with the earlier rule of held-out samples."""

    def kept(data: DataSettings, before: DataSettings) -> DataSettings:
        is_former = getattr(before, "held_out_by", None) == "id" and type(data) is type(before)
        return replace(data, held_out_by="id") if is_former else data

    data = kept(config.data, earlier.data)
    pairs = list(zip(config.mixture, earlier.mixture, strict=False))
    mixture = tuple(replace(part, data=kept(part.data, before.data)) for part, before in pairs)
    measured = tuple(map(kept, config.validation.data, earlier.validation.data))
    if len(mixture) < len(config.mixture) or len(measured) < len(config.validation.data):
        return config  # of another run, which the caller refuses
    return replace(config, data=data, mixture=mixture, validation=replace(config.validation, data=measured))


def _is_former(data: Any) -> bool:
    return isinstance(data, dict) and data.get("dataset") in ("hf", "llava") and "held_out_by" not in data


def _run_of(checkpoint: Any) -> tuple[Path | None, Path | None]:
    """The folder of the run that a checkpoint belongs to, if there is one, and the folder of the model."""
    if not isinstance(checkpoint, str | Path):
        return None, None
    folder = Path(checkpoint)
    if _is_run(folder):
        if not (folder / MODEL_NAME).is_dir():
            others = sorted(path.name for path in folder.glob("checkpoint-*"))
            remedy = f"name {folder / others[-1]}, or continue it" if others else "train it first"
            raise SettingsError(f"{folder}: a run without {MODEL_NAME}/: it has not finished; {remedy}")
        return folder, folder / MODEL_NAME
    return (folder.parent if folder.is_dir() and _is_run(folder.absolute().parent) else None), folder


def _is_run(folder: Path) -> bool:
    """Return whether a folder holds the settings of a training run."""
    try:
        content = json.loads((folder / CONFIG_NAME).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "num_steps" in content and "output_dir" in content and "data" in content


def _questions(values: Mapping[str, Any], config: TrainingConfig, run: Path) -> dict[str, Any]:
    """The data of a run, to measure on; empty if the settings name other data."""
    data = _data_of(config)
    given = values.get("data", {})
    if given.get("dataset", data.dataset) != data.dataset or given.get("source", _source(data)) != _source(data):
        return {}
    name = " ".join([data.dataset, *([_source(data)] if _source(data) else [])])
    notes.info("%s was trained on %s; it is asked the split %r of these data", run, name, data.validation_split)
    return _plain(data)


def _data_of(config: TrainingConfig) -> DataSettings:
    """The data that a run can be measured on."""
    data = config.data
    if config.mixture and data == DataSettings():  # the settings of a mixture may leave data out
        data = next(iter(config.validation.data), config.mixture[0].data)
    if isinstance(data, ForesightData) and data.questions in CONVERSATION_NAMES:
        return replace(data, questions="future")
    return data


def _source(data: DataSettings) -> Any:
    return getattr(data, "source", None)


def _plain(data: DataSettings) -> dict[str, Any]:
    return TypeAdapter(DataSettings).dump_python(data, mode="json")
