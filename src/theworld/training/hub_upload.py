"""Hub upload: push checkpoints during a run, and the model with its card at the end."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from string import Template
from typing import Any, Final

from huggingface_hub.utils import disable_progress_bars
from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint

from theworld.config import DataSettings, ForesightData, PublicData, RegisteredData, TrainingConfig
from theworld.evaluation.statistics import Interval
from theworld.hub import HUB_NAME, REFUSALS, client, fetch, without_tokens
from theworld.io import whole_folder, write_whole
from theworld.tables import markdown_lines, percent_with_range
from theworld.training.metrics import read_metrics

logger = logging.getLogger(__name__)

RUN_NAME: Final = "run"
"""Folder of the repository for the files about the run."""
_ASIDE: Final = ".pushing."
_RUN_FILES: Final = ("config.json", "environment.json", "metrics.jsonl", "validation.jsonl", "results.json")
_FAILURES: Final = (*REFUSALS, ValueError, RuntimeError)
"""Errors of an upload (RuntimeError: of the hub's Xet storage); training continues after them."""
_LICENCES: Final = {
    "google/": ("Gemma Terms of Use", "https://ai.google.dev/gemma/terms"),
    "nvidia/": (
        "NVIDIA Open Model License",
        "https://www.nvidia.com/en-us/agreements/enterprise-software/nvidia-open-model-license/",
    ),
}
TEMPLATE: Final = Path(__file__).with_name("model_card.md")
"""Template of the model card: text for every model, with placeholders that `model_card` fills in."""


def model_card(config: TrainingConfig, run: Path) -> str:
    """Return README.md for the repository of a run: Markdown with the hub's metadata.

    Args:
        config: of the run.
        run: its folder; the card shows metrics.jsonl, validation.jsonl and results.json if they exist.
    """
    bases = _bases(config)
    public = [name for name in bases if name.startswith(tuple(_LICENCES))]
    values = {
        "base_models": "".join(["base_model:\n", *(f"- {name}\n" for name in public)]) if public else "",
        "name": config.output_dir.name,
        "trained": _trained(config),
        "data": _data(config),
        "results": _results(run),
        "repository": config.hub.repo_id,
        "licences": "\n".join(f"- `{name}`: {_licence(name)}" for name in bases),
    }
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def _bases(config: TrainingConfig) -> list[str]:
    model = config.model
    learns_from_world = model.enable_world or config.distillation.weight > 0
    return [_shown(model.gemma_model_name), *([_shown(model.world.cosmos_model_name)] if learns_from_world else [])]


def _shown(name: str) -> str:
    """Return a hub id unchanged, and of a folder only its last name: the card shows no paths of your machine."""
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
        "projector of image tokens": model.freeze_gemma_projector is False and model.freeze_gemma_vision,
        "language model": not model.freeze_gemma_language,
        "Cosmos VAE": model.enable_world and not model.freeze_cosmos_vae,
        f"LoRA on {', '.join(model.lora.targets)}": bool(model.lora.targets),
    }
    parts = ", ".join(name for name, holds in trains.items() if holds)
    length = f"{config.num_steps} steps" if config.num_epochs is None else f"{config.num_epochs} epochs in steps"
    world = f"the tap `{model.world.tap}`, {model.num_world_steps} steps ahead"
    sight = f"It sees {world}, fused as `{model.world_fusion}`." if model.enable_world else "It sees no world."
    if config.distillation.weight:
        sight += f" In training it learnt to predict {world}."
    return (
        f"Trained: {parts}; all else is frozen. {sight}\n\n"
        f"{length} of {config.batch_size} samples a device and forward pass, objective"
        f" `{config.objective}`, learning rate {optim.learning_rate:g} ({optim.schedule}), {config.precision}, seed"
        f" {config.seed}. Everything else: `run/config.json`."
    )


def _data(config: TrainingConfig) -> str:
    if not config.mixture:
        return f"{_named(config.data)}."
    total = sum(part.weight for part in config.mixture)
    return "\n".join(f"- {part.weight / total:.1%}: {_named(part.data)}" for part in config.mixture)


def _named(data: DataSettings) -> str:
    details = ""
    if isinstance(data, ForesightData):
        details = f", questions `{data.questions}`"
    elif isinstance(data, RegisteredData):
        details = f" `{data.name}`"
    elif isinstance(data, PublicData) and data.source:
        details = f" from `{_shown(data.source)}`"
    return f"`{data.dataset}`{details}, split `{data.train_split}`"


def _results(run: Path) -> str:
    lines: list[str] = []
    if rows := read_metrics(run / "metrics.jsonl"):
        lines.append(f"Loss at step {rows[-1]['step']}: {rows[-1]['loss']:.4f}.\n")
    table = [*_measured(run), *_compared(run)]
    if table:
        lines += markdown_lines(["questions", "right, % [95 % interval]", "items"], table)
    return "\n".join(lines) or "Nothing was measured yet."


def _measured(run: Path) -> list[list[str]]:
    """Return a table row for each validation set, at the last measurement."""
    rows = read_metrics(run / "validation.jsonl")
    if not rows:
        return []
    return [
        _row(f"{name}, step {rows[-1]['step']}", result["accuracy"], result["low"], result["high"], result["num_items"])
        for name, result in rows[-1]["sets"].items()
    ]


def _compared(run: Path) -> list[list[str]]:
    """Return a table row for each arm in the results.json of the run's folder."""
    path = run / "results.json"
    arms: dict[str, Any] = json.loads(path.read_text()).get("arms", {}) if path.exists() else {}
    return [
        _row(
            f"arm `{name}`",
            arm["accuracy"]["value"],
            arm["accuracy"]["wilson"]["low"],
            arm["accuracy"]["wilson"]["high"],
            arm["num_items"] - arm["num_missing"],
        )
        for name, arm in arms.items()
        if arm.get("accuracy")
    ]


def _row(name: str, value: float, low: float, high: float, num_items: int) -> list[str]:
    return [name, percent_with_range(value, Interval(low, high)), str(num_items)]


def check_token(config: TrainingConfig) -> None:
    """Check that a run which shall be pushed has a token.

    Raises:
        ValueError: if HF_TOKEN is not set.
    """
    if config.hub.is_pushed and not os.environ.get("HF_TOKEN"):
        raise ValueError(
            f"hub.repo_id={config.hub.repo_id!r}: pushing needs a token with the right to write, in the environment"
            " (HF_TOKEN); or set hub.push to never"
        )


class Pushing(TrainerCallback):
    """Pushes a run in the background, one upload at a time; after a failed upload, training continues.

    REPOSITORY
      README.md           the card
      config.json, ...    the model, at the end of training
      best/               the model of the highest accuracy in validation
      run/                settings, environment, metrics
      checkpoint-N/       with push=save: the newest, to continue from
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.run = config.output_dir
        self.failures: list[str] = []
        """Failed uploads with their reasons."""
        disable_progress_bars()  # they would break the progress bar of the training
        # A killed run left them; their links keep deleted checkpoints on disk.
        for remains in self.run.glob(f"{_ASIDE}*"):
            shutil.rmtree(remains)
        self._queue = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hub")
        self._pending: list[Future[None]] = []

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.config.hub.push == "save" and state.is_world_process_zero:
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            self._push(name, {name: self.run / name}, f"{PREFIX_CHECKPOINT_DIR}-*")

    def finish(self, model: Path) -> None:
        """Push the model, and wait for all uploads."""
        best = self.run / "best"
        self._push("the model", {".": model, **({"best": best} if best.is_dir() else {})}, None)
        self._queue.shutdown(wait=True)
        for push in self._pending:
            push.result()  # raises errors that are not in _FAILURES

    def _push(self, name: str, folders: dict[str, Path], replaces: str | None) -> None:
        """Copy folders aside, where nothing changes them, and queue their upload.

        Args:
            name: for the commit message and the log.
            folders: folders to push, by their place in the repository.
            replaces: pattern of folders in the repository that the upload deletes; None: none.
        """
        aside = self.run / f"{_ASIDE}{len(self._pending)}"
        try:
            self._copy(aside, folders)
        except _FAILURES as error:
            self._report(name, error)
            shutil.rmtree(aside, ignore_errors=True)
            return
        self._pending.append(self._queue.submit(self._upload, name, aside, replaces))

    def _copy(self, aside: Path, folders: dict[str, Path]) -> None:
        """Fill a folder with the folders to push, the files about the run, and the card."""
        aside.mkdir()
        for place, folder in folders.items():
            shutil.copytree(folder, aside / place, copy_function=_linked, dirs_exist_ok=True)
        for path in (self.run / name for name in _RUN_FILES):
            if path.exists():  # these files grow, so a link would not do
                (aside / RUN_NAME).mkdir(exist_ok=True)
                shutil.copy(path, aside / RUN_NAME / path.name)
        write_whole(aside / "README.md", model_card(self.config, self.run))

    def _upload(self, name: str, aside: Path, replaces: str | None) -> None:
        hub = self.config.hub
        try:
            api = client(os.environ["HF_TOKEN"])
            api.create_repo(str(hub.repo_id), private=hub.private, exist_ok=True)
            api.upload_folder(
                repo_id=str(hub.repo_id),
                folder_path=aside,
                commit_message=f"{self.run.name}: {name}",
                delete_patterns=None if replaces is None else f"{replaces}/*",
            )
            logger.info("pushed %s to %s", name, hub.repo_id)
        except _FAILURES as error:
            self._report(name, error)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _report(self, name: str, error: BaseException) -> None:
        reason = without_tokens(f"{name}: {type(error).__name__}: {' '.join(str(error).split())}")
        self.failures.append(reason)
        logger.warning("not pushed to %s: %s; training continues", self.config.hub.repo_id, reason)


def _linked(source: str, target: str) -> None:
    """Link a file under a second name, which stays if the checkpoint is deleted during the upload."""
    try:
        os.link(source, target)
    except OSError:  # the file system has no hard links
        shutil.copy2(source, target)


def fetch_checkpoint(repo_id: str, run: Path, *, is_same: Callable[[Path], object]) -> Path | None:
    """Fetch the newest checkpoint of a repository into the folder of the run.

    Args:
        repo_id: OWNER/NAME.
        run: folder of the run; a checkpoint there that is at least as new comes first.
        is_same: raises ValueError for the settings file of another run.

    Returns:
        The folder of the checkpoint.

    Raises:
        ValueError: if the repository cannot be fetched, or has no checkpoint.
    """
    folder = fetch(repo_id, [f"{PREFIX_CHECKPOINT_DIR}-*/*", f"{RUN_NAME}/config.json"])
    remote, local = (get_last_checkpoint(str(path)) if path.is_dir() else None for path in (folder, run))
    if remote is None or not (folder / RUN_NAME / "config.json").is_file():
        raise ValueError(f"resume={repo_id}: no checkpoint in this repository; was it pushed with hub.push=save?")
    is_same(folder / RUN_NAME / "config.json")
    if local is not None and _step(local) >= _step(remote):
        return Path(local)
    target = run / Path(remote).name
    with whole_folder(target) as aside:
        shutil.copytree(remote, aside, dirs_exist_ok=True)
    if not (run / "config.json").exists():
        shutil.copy(folder / RUN_NAME / "config.json", run / "config.json")
    return target


def is_repository(name: Path) -> bool:
    """Tell if a path is the name of a repository; if its parent folder exists here, it is a mistyped path instead."""
    return not name.parent.is_dir() and HUB_NAME.fullmatch(name.as_posix()) is not None


def _step(checkpoint: str) -> int:
    return int(checkpoint.rpartition("-")[2])
