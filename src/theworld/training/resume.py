"""Which checkpoint a run continues from, and the proof that it is the same run."""

import dataclasses
import shutil
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch
from accelerate import PartialState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint, sort_checkpoints

from theworld.config import TrainingConfig, loader
from theworld.config.training import in_number_formats
from theworld.io import remove_folder
from theworld.training.hub_upload import fetch_checkpoint, is_repository

CONFIG_NAME = "config.json"

_FORMATS: Final = frozenset({"precision", "model.dtype", "model.world.dtype"})
"""Number formats: `auto` stands for those that the run was begun with."""

# What may differ between a run and its continuation: where it writes and how often, never what it computes.
_FREE = frozenset(
    {
        "resume",
        "output_dir",
        "num_workers",
        "save_steps",
        "save_total_limit",
        "logging_steps",
        "log_to",
        "max_bad_share",
        "store_dir",
        "peak_tflops",
        "max_loss_ratio",
        "validation.eval_steps",
        "validation.batch_size",
        "hub.repo_id",
        "hub.push",
        "hub.private",
    }
)


class Start(NamedTuple):
    """How a run begins."""

    config: TrainingConfig
    """Its settings, with every number format named."""
    checkpoint: Path | None
    """What it continues from; None: it begins anew."""


def where_to_start(config: TrainingConfig) -> Start:
    """The settings and the checkpoint that a run starts with; number formats left open are those of the run so far.

    Raises:
        ValueError: if the folder holds a run that shall not be continued, there is none to continue, or the settings
            are those of another run.
    """
    run = config.output_dir
    newest = get_last_checkpoint(str(run)) if run.is_dir() else None
    if config.resume is False:
        if newest is not None or (run / CONFIG_NAME).exists():
            raise ValueError(f"{run} holds a run already: continue it with resume=true, or choose another output_dir")
        return Start(in_number_formats(config), None)
    if config.resume is True:
        checkpoint = None if newest is None else Path(newest)
    elif is_repository(config.resume):
        # The main process fetches; the others then find the checkpoint in the folder.
        with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
            checkpoint = fetch_checkpoint(config.resume.as_posix(), run, is_same=partial(_refuse_another_run, config))
    else:
        checkpoint = config.resume
        if not (checkpoint / "trainer_state.json").is_file():
            raise ValueError(f"resume={checkpoint}: not a checkpoint of a run (trainer_state.json is missing)")
    origin = run if checkpoint is None else checkpoint.resolve().parent
    if checkpoint is not None and not (origin / CONFIG_NAME).is_file():
        raise ValueError(
            f"{origin / CONFIG_NAME} is missing: whether {checkpoint.name} belongs to these settings cannot be told;"
            " put the run's settings back, or start a new run in another output_dir"
        )
    for folder in (origin, run):  # the folder that is written to may hold a run of its own
        if (folder / CONFIG_NAME).is_file():
            config = in_number_formats(config, like=_refuse_another_run(config, folder / CONFIG_NAME))
    return Start(in_number_formats(config), checkpoint)


def refuse_other_processes(checkpoint: Path, num_processes: int) -> None:
    """Refuse to go on with more or fewer processes than a checkpoint was made by: their batches would be others.

    Raises:
        ValueError: then.
    """
    found = len(list(checkpoint.glob("rng_state*.pth")))  # each process leaves one
    if found != num_processes:
        raise ValueError(
            f"{checkpoint} was made by {found} process{'es' * (found != 1)}, and here there"
            f" {'is' if num_processes == 1 else 'are'} {num_processes}, whose batches would be others: continue with"
            f" {found}, or start a new run in another"
            " output_dir (model.checkpoint takes trained weights along)"
        )


def forget_old_checkpoints(run: Path, num_kept: int | None, best: str | None) -> None:
    """Delete all but the newest checkpoints and the best one, and what a kill left of earlier deletions."""
    checkpoints = sort_checkpoints(str(run))
    for checkpoint in checkpoints[: -num_kept if num_kept else 0]:
        if checkpoint != best:
            remove_folder(Path(checkpoint))
    for remains in run.glob(f".{PREFIX_CHECKPOINT_DIR}-*.removed.*"):
        shutil.rmtree(remains)


def _refuse_another_run(config: TrainingConfig, saved: Path) -> TrainingConfig:
    """The settings in a file, once they are known to be those of the same run."""
    earlier = loader.load(TrainingConfig, saved)
    before, now = _leaves(earlier), _leaves(config)
    differing = [
        f"{name}={now[name]!r} instead of {before[name]!r}"
        for name in now
        if name in before  # absent: a field of another data set, whose name differs, too
        and name not in _FREE
        and now[name] != before[name]
        and not (name in _FORMATS and now[name] == "auto")
    ]
    if differing:
        raise ValueError(
            f"{saved} has other settings, so this would not be the same run: {', '.join(differing)}; give the run's"
            " own settings, or start a new run in another output_dir (model.checkpoint takes trained weights along)"
        )
    return earlier


def _leaves(part: Any, prefix: str = "") -> dict[str, Any]:
    """Every setting by its dotted path."""
    leaves: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            leaves |= _leaves(value, f"{prefix}{field.name}.")
        else:
            leaves[prefix + field.name] = str(value) if isinstance(value, Path) else value
    return leaves
