"""The card of a trained model: what it learnt, from what, what it reached, how to load it, and whose licences hold."""

import json
from pathlib import Path
from string import Template
from typing import Any, Final

from theworld.config import DataSettings, TrainingConfig
from theworld.training.progress import read_metrics

_LICENCES: Final = {
    "google/": ("Gemma Terms of Use", "https://ai.google.dev/gemma/terms"),
    "nvidia/": (
        "NVIDIA Open Model License",
        "https://www.nvidia.com/en-us/agreements/enterprise-software/nvidia-open-model-license/",
    ),
}
TEMPLATE: Final = Path(__file__).with_name("model_card.md")
"""The card with its blanks: what is said of every model stands there, what is said of one here."""


def model_card(config: TrainingConfig, run: Path) -> str:
    """README.md of the repository of a run, in Markdown with the hub's metadata.

    Args:
        config: of the run.
        run: its folder: metrics.jsonl, validation.jsonl and results.json are told as far as they are there.
    """
    bases = _bases(config)
    public = [name for name in bases if name.startswith(tuple(_LICENCES))]
    blanks = {
        "base_models": "".join(["base_model:\n", *(f"- {name}\n" for name in public)]) if public else "",
        "name": config.output_dir.name,
        "trained": _trained(config),
        "data": _data(config),
        "results": _results(run),
        "repository": config.hub.repo_id,
        "licences": "\n".join(f"- `{name}`: {_licence(name)}" for name in bases),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(blanks)


def _bases(config: TrainingConfig) -> list[str]:
    model = config.model
    return [_shown(model.gemma_model_name), *([_shown(model.world.cosmos_model_name)] if model.enable_world else [])]


def _shown(name: str) -> str:
    """A hub id as it is; of a folder its last name: where it lies on somebody's machine concerns nobody."""
    return Path(name).name if Path(name).is_absolute() else name


def _licence(name: str) -> str:
    for owner, (title, url) in _LICENCES.items():
        if name.startswith(owner):
            return f"[{title}]({url}); it holds for this model too"
    return "as its owner says" if name != "tiny" else "Apache-2.0, embedded in the package"


def _trained(config: TrainingConfig) -> str:
    model, optim = config.model, config.optim
    trains = {
        "world projector": model.enable_world,
        "vision tower": not model.freeze_gemma_vision,
        "language model": not model.freeze_gemma_language,
        "Cosmos VAE": model.enable_world and not model.freeze_cosmos_vae,
        f"LoRA on {', '.join(model.lora.targets)}": bool(model.lora.targets),
    }
    parts = ", ".join(name for name, holds in trains.items() if holds)
    world = f"the tap `{model.world.tap}`, {model.num_world_steps} steps ahead" if model.enable_world else "no world"
    return (
        f"Trained: {parts}; all else is frozen. It sees {world}, fused as `{model.world_fusion}`.\n\n"
        f"{config.num_steps} steps of {config.batch_size} samples a device and forward pass, objective"
        f" `{config.objective}`, learning rate {optim.learning_rate:g} ({optim.schedule}), {config.precision}, seed"
        f" {config.seed}. Everything else: `run/config.json`."
    )


def _data(config: TrainingConfig) -> str:
    if not config.mixture:
        return f"{_named(config.data)}."
    whole = sum(part.weight for part in config.mixture)
    return "\n".join(f"- {part.weight / whole:.1%}: {_named(part.data)}" for part in config.mixture)


def _named(data: DataSettings) -> str:
    source = f" from `{_shown(data.source)}`" if data.source else ""
    asked = f", questions `{data.questions}`" if data.dataset == "foresight" else ""
    return f"`{data.dataset}`{source}{asked}, split `{data.train_split}`"


def _results(run: Path) -> str:
    lines: list[str] = []
    if rows := read_metrics(run / "metrics.jsonl"):
        lines.append(f"Loss at step {rows[-1]['step']}: {rows[-1]['loss']:.4f}.\n")
    table = [*_measured(run), *_compared(run)]
    if table:
        lines += ["| what | right, % [95 % interval] | items |", "|---|---|---|", *table]
    return "\n".join(lines) or "Nothing was measured yet."


def _measured(run: Path) -> list[str]:
    """A line for each set of questions that was asked during training, at the last measurement."""
    rows = read_metrics(run / "validation.jsonl")
    if not rows:
        return []
    return [
        _line(f"{name}, step {rows[-1]['step']}", one["accuracy"], one["low"], one["high"], one["num_items"])
        for name, one in rows[-1]["sets"].items()
    ]


def _compared(run: Path) -> list[str]:
    """A line for each arm of an evaluation that lies beside the run."""
    path = run / "results.json"
    arms: dict[str, Any] = json.loads(path.read_text()).get("arms", {}) if path.exists() else {}
    found = {name: arm for name, arm in arms.items() if arm.get("accuracy")}
    return [
        _line(
            f"arm `{name}`",
            arm["accuracy"]["value"],
            arm["accuracy"]["wilson"]["low"],
            arm["accuracy"]["wilson"]["high"],
            arm["num_items"] - arm["num_missing"],
        )
        for name, arm in found.items()
    ]


def _line(name: str, value: float, low: float, high: float, num_items: int) -> str:
    return f"| {name} | {100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}] | {num_items} |"
