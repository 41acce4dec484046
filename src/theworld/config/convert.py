"""Convert settings files of the original prototype into those of today."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from theworld.config.evaluation import EvaluationConfig
from theworld.config.flags import kinds_of
from theworld.config.loader import load
from theworld.config.prototype import EVALUATION, SAVE, TRAINING, Former, is_of_prototype
from theworld.config.strict_yaml import SettingsError, read_mapping, shown
from theworld.config.training import TrainingConfig
from theworld.constants import TOKEN
from theworld.io import write_whole

_NEEDED: Final = {
    "llava": {"source": "data/llava/chat.json"},
    "datacomp": {"source": "data/datacomp"},
    "hf": {"source": "data/pictures"},
    "vsr": {"image_dir": "data/coco"},
    "open-spatial": {"image_dir": "data/openimages"},
}
"""Settings that a data set cannot do without, with the places that the pages use."""


@dataclass
class Converted:
    """A settings file of today."""

    settings: dict[str, Any] = field(default_factory=dict)
    """Nested, by name."""
    notes: list[str] = field(default_factory=list)
    """A line for each setting that has no counterpart, or needs a look."""

    def put(self, name: str, value: Any) -> None:
        """Set a value by its dotted name."""
        *groups, last = name.split(".")
        place = self.settings
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value

    def take(self, name: str) -> Any:
        """Remove a value of `data`, and return it."""
        return self.settings.get("data", {}).pop(name, None)

    def text(self, title: str) -> str:
        """Return the file: the notes as comments, then the settings."""
        lines = [f"# {TOKEN.sub('(a token)', line)}" for line in (title, *self.notes)]
        return "\n".join(lines) + "\n" + yaml.safe_dump(self.settings, sort_keys=False, allow_unicode=True)


def is_evaluation(old: Mapping[str, Any]) -> bool:
    """Return whether settings of the prototype are those of an evaluation."""
    return "model" in old and "model_name" not in old


def converted(old: Mapping[str, Any], kept: Collection[str]) -> Converted:
    """Convert settings of the prototype.

    Args:
        old: settings of a training or an evaluation, by flat names; names that begin with `_` are its comments.
        kept: names that settings have today.
    """
    evaluates = is_evaluation(old)
    table = EVALUATION if evaluates else TRAINING
    result = Converted()
    for name, value in old.items():
        former = table.get(name, Former(name) if name in kept else Former(note="no setting of either"))
        if name.startswith("_"):
            result.notes.append(f"{name.strip('_')}: {_one_line(value)}")
        elif former.now is None:
            given = "" if name.endswith("token") else f" {_one_line(value)}"
            result.notes.append(f"{name}:{given} has no counterpart; {former.note}")
        elif value is not None and name not in ("push_to_hub", "hub_strategy"):
            result.put(former.now, former.values.get(value, value) if isinstance(value, str) else value)
    if evaluates:
        _settle_evaluation(result)
    else:
        _settle_training(result, old)
    return result


def _settle_training(result: Converted, old: Mapping[str, Any]) -> None:
    """Settle what depends on several settings: logger, length, validation, upload, world and data."""
    settings, notes = result.settings, result.notes
    loggers = [name for name in ("wandb", "tensorboard") if old.get(f"log_to_{name}")]
    if "log_to_wandb" in old or "log_to_tensorboard" in old:
        settings["log_to"] = loggers[0] if loggers else "none"
    if len(loggers) > 1:
        notes.append("log_to_tensorboard: there is one logger, and wandb it is; metrics.jsonl has all numbers anyway")
    if settings.get("num_steps") is not None and settings.pop("num_epochs", None) is not None:
        notes.append("num_epochs: max_steps went before it, and is num_steps now")
    if not old.get("do_eval"):
        settings.pop("validation", None)
    _settle_hub(result, old)
    model = settings.get("model", {})
    if model.get("num_world_steps"):
        result.put("model.world.tap", "rollout")  # the tap that imagines, as the prototype did
    if settings.get("data"):
        _settle_data(result)


def _settle_hub(result: Converted, old: Mapping[str, Any]) -> None:
    if "push_to_hub" not in old and "hub_strategy" not in old:
        return
    strategy = str(old.get("hub_strategy") or "every_save")
    pushes = bool(old.get("push_to_hub"))
    result.put("hub.push", TRAINING["hub_strategy"].values.get(strategy, SAVE) if pushes else "never")
    if pushes and "repo_id" not in result.settings["hub"]:
        result.notes.append("push_to_hub: names no repository; set hub.repo_id to OWNER/NAME")


def _settle_data(result: Converted) -> None:
    """Leave the settings that the data set has, and add those that it cannot do without."""
    data, notes = result.settings["data"], result.notes
    name = data.get("dataset")
    if name in ("registered", None):
        if "source" in data:
            data["dataset"] = name = "hf"
            notes.append("dataset_name: data of your own are read by column, or registered in Python (docs/data.md)")
        else:
            result.settings.pop("data")
            notes.append("dataset_name: name your data in data.dataset (docs/data.md); without it, foresight is read")
            return
    foreign = [key for key in ("image_column", "question_column", "answer_column") if name != "hf"]
    foreign += ["image_dir"] if name not in ("llava", "vsr", "open-spatial", "spatial-rgpt") else []
    foreign += ["num_train"] if name == "datacomp" else []
    for key in foreign:
        if (value := result.take(key)) is not None:
            notes.append(f"data.{key}: {_one_line(value)} is nothing that data.dataset={name} has")
    if name == "datacomp" and result.settings.pop("num_epochs", None) is not None:
        notes.append("num_epochs: a stream has no length; set num_steps, which is 1,000 without it")
    for key, value in _NEEDED.get(str(name), {}).items():
        if key not in data:
            data[key] = value
            notes.append(f"data.{key}: put the place of your files here")


def _settle_evaluation(result: Converted) -> None:
    """Make lists of what the prototype separates by commas, and a folder of its result file."""
    settings = result.settings
    data = settings.setdefault("data", {})
    data.setdefault("dataset", "blink")
    if isinstance(tasks := data.get("subsets"), str):
        data["subsets"] = [task.strip() for task in tasks.split(",")]
    steps = settings.get("num_world_steps")
    if isinstance(steps, str | int):
        settings["num_world_steps"] = [int(step) for step in str(steps).split(",")]
    if isinstance(output := settings.get("output_dir"), str):
        settings["output_dir"] = str(Path(output).with_suffix(""))


def convert_file(old: Path, new: Path) -> dict[str, Any]:
    """Convert a file of the prototype, check that the result loads, and write it.

    Returns:
        The new file, and the notes that it begins with.

    Raises:
        SettingsError: for a file that cannot be read or is none of the prototype, for values that no setting of today
            takes, and if the new file exists or is no YAML.
    """
    if new.suffix not in (".yaml", ".yml"):
        raise SettingsError(f"{new}: suffix {new.suffix!r}; the new file ends in .yaml, for its comments")
    if new.exists():
        raise SettingsError(f"{new} exists: choose another name for the new file")
    settings = read_mapping(old, with_comments=True)
    if not is_of_prototype(settings):
        raise SettingsError(
            f"{old}: no settings of the prototype, which are flat, such as model_name; nothing to convert"
        )
    cls, command = (EvaluationConfig, "evaluate") if is_evaluation(settings) else (TrainingConfig, "train")
    result = converted(settings, kinds_of(cls))
    aside = new.with_name(f".{new.stem}.checked{new.suffix}")
    try:
        write_whole(aside, result.text(f"Converted from {old.name}."))
        load(cls, aside)
    except SettingsError as error:
        raise SettingsError(re.sub(re.escape(str(aside)), str(old), str(error))) from error
    else:
        aside.replace(new)
    finally:
        aside.unlink(missing_ok=True)
    return {"file": str(new), "command": f"theworld {command} {new}", "notes": result.notes}


def _one_line(value: Any) -> str:
    text = value if isinstance(value, str) else " ".join(map(str, value)) if isinstance(value, list) else shown(value)
    return " ".join(str(text).split())
