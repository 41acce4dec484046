"""Resume: find the checkpoint that a run continues from, and check that it belongs to the same run."""

import dataclasses
import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import torch
from accelerate import PartialState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, get_last_checkpoint, sort_checkpoints

from theworld.config import TrainingConfig, loader
from theworld.config.inferred import saved_run, with_rule_of
from theworld.config.training import in_number_formats
from theworld.io import check_same_run, flattened, remove_folder
from theworld.training.hub_upload import fetch_checkpoint, is_repository
from theworld.training.manifest import TRAINER_STATE
from theworld.training.metrics import METRICS_NAME
from theworld.world.store_identity import format_to_use

CONFIG_NAME: Final = "config.json"
MODEL_NAME: Final = "model"

_FORMATS: Final = frozenset({"precision", "model.dtype", "model.world.dtype"})
"""Number formats; in a continued run `auto` means those that it began with."""

# Settings that you may change when you continue a run: where and how often it writes, never its computations.
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
        "store_dtype",
        "peak_tflops",
        "profile",
        "max_loss_ratio",
        "validation.eval_steps",
        "validation.batch_size",
        "hub.repo_id",
        "hub.push",
        "hub.private",
    }
)


class Start(NamedTuple):
    """Settings and checkpoint at the start of a run."""

    config: TrainingConfig
    """Its settings, with every `auto` number format resolved."""
    checkpoint: Path | None
    """The checkpoint that it continues from; None: a new run."""


def where_to_start(config: TrainingConfig) -> Start:
    """Return the settings and the checkpoint that a run starts with.

    A continued run keeps the number formats that it began with where the settings say `auto`. A folder whose run failed
    before its first step is free for any settings.

    Raises:
        ValueError: if the folder holds a run and resume is false, the checkpoint is missing, or the settings are those
            of another run.
    """
    run = config.output_dir
    newest = get_last_checkpoint(str(run)) if run.is_dir() else None
    begun = _has_steps(run)
    if not begun and (run / CONFIG_NAME).exists():
        _refuse_other_content(run / CONFIG_NAME)
    if config.resume is False:
        if begun:
            raise ValueError(f"{run} holds a run already: continue it with resume=true, or choose another output_dir")
        return Start(_with_store(in_number_formats(config)), None)
    if config.resume is True:
        checkpoint = None if newest is None else Path(newest)
    elif is_repository(config.resume):
        # The main process fetches; the others then find the checkpoint in the folder.
        with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
            checkpoint = fetch_checkpoint(config.resume.as_posix(), run, is_same=partial(_refuse_another_run, config))
    else:
        checkpoint = config.resume
        if not (checkpoint / TRAINER_STATE).is_file():
            raise ValueError(f"resume={checkpoint}: not a checkpoint of a run (trainer_state.json is missing)")
    origin = run if checkpoint is None else checkpoint.resolve().parent
    if checkpoint is not None and not (origin / CONFIG_NAME).is_file():
        raise ValueError(
            f"{origin / CONFIG_NAME} is missing, so {checkpoint.name} may belong to other settings; put the run's"
            " settings back, or start a new run in another output_dir"
        )
    for folder in (origin, run):  # output_dir may contain another run than the checkpoint's
        if (folder / CONFIG_NAME).is_file() and (begun or folder != run):
            earlier = _refuse_another_run(config, folder / CONFIG_NAME)
            config = _with_store(in_number_formats(with_rule_of(config, earlier), like=earlier), like=earlier)
    return Start(_with_store(in_number_formats(config)), checkpoint)


def _has_steps(run: Path) -> bool:
    """Return whether a run in this folder has made a step that a new run would lose."""
    if not run.is_dir():
        return False
    metrics = run / METRICS_NAME
    has_rows = metrics.is_file() and metrics.stat().st_size > 0
    return has_rows or (run / MODEL_NAME).exists() or get_last_checkpoint(str(run)) is not None


def _refuse_other_content(path: Path) -> None:
    """Refuse a folder whose config.json is no training run's: a model, an evaluation."""
    try:
        loader.load(TrainingConfig, path)
    except ValueError as error:
        raise ValueError(
            f"{path} holds no settings of a training run: choose another output_dir with --output-dir"
        ) from error


def refuse_other_processes(checkpoint: Path, num_processes: int) -> None:
    """Check that as many processes continue a run as wrote its checkpoint; otherwise their batches would differ.

    Raises:
        ValueError: for another number.
    """
    num_before = len(list(checkpoint.glob("rng_state*.pth")))  # one file for each process
    if num_before not in (0, num_processes):  # without any the checkpoint is not whole, which is said elsewhere
        raise ValueError(
            f"{checkpoint} was made by {num_before} process{'' if num_before == 1 else 'es'}, and here there"
            f" {'is' if num_processes == 1 else 'are'} {num_processes}, whose batches would be others: continue with"
            f" {num_before}, or start a new run in another"
            " output_dir (model.checkpoint takes trained weights along)"
        )


def refuse_other_length(checkpoint: Path, num_steps: int) -> None:
    """Check that a continued run has as many steps as before, since the learning rate of each depends on them.

    Raises:
        ValueError: for another number: with num_epochs the data decide it, and may have changed.
    """
    before = json.loads((checkpoint / TRAINER_STATE).read_text()).get("max_steps")
    if before != num_steps:
        raise ValueError(
            f"{checkpoint} is of a run of {before} steps, and here there are {num_steps}: the training data have"
            " changed since; put them back, or start a new run in another output_dir"
        )


def forget_old_checkpoints(run: Path, num_kept: int | None, best: str | None) -> None:
    """Delete all but the newest checkpoints and the best one, and the remains of deletions that a kill cut off."""
    checkpoints = sort_checkpoints(str(run))
    for checkpoint in checkpoints[: -num_kept if num_kept else 0]:
        if checkpoint != best:
            remove_folder(Path(checkpoint))
    for remains in run.glob(f".{PREFIX_CHECKPOINT_DIR}-*.removed.*"):
        shutil.rmtree(remains)


def _refuse_another_run(config: TrainingConfig, saved: Path) -> TrainingConfig:
    """Return the settings in a file.

    Raises:
        ValueError: if they are those of another run.
    """
    earlier = saved_run(saved)
    config = with_rule_of(config, earlier)
    before, now = (flattened(dataclasses.asdict(settings)) for settings in (earlier, config))
    free = _FREE | {name for name in _FORMATS if now[name] == "auto"}
    read_as, reads_as = _format_read(earlier), _format_read(config, like=earlier)
    if read_as != reads_as:  # a store rounds
        raise ValueError(
            f"{saved}: the run read world features in {read_as}, and would go on in {reads_as}: give the same store_dir"
            " and store_dtype (without a store it is float32), or start a new run in another output_dir"
        )
    check_same_run(
        saved,
        {name: value for name, value in now.items() if name not in free},
        {name: value for name, value in before.items() if name not in free},
        "give the run's own settings, or start a new run in another output_dir (model.checkpoint takes trained weights"
        " along)",
    )
    return earlier


def _format_read(run: TrainingConfig, like: TrainingConfig | None = None) -> str | None:
    """Return the number format of a run's features; where the settings leave it open, that of the run it continues."""
    if run.store_dir is None:
        return "float32"
    return run.store_dtype if run.store_dtype is not None or like is None else _format_read(like)


def _with_store(run: TrainingConfig, like: TrainingConfig | None = None) -> TrainingConfig:
    """Return the same settings with the number format of the store, which a continuation must keep."""
    if run.store_dir is None:
        return replace(run, store_dtype=None)
    return replace(run, store_dtype=format_to_use(run.store_dir, _format_read(run, like)))
