"""A training run that is killed, at whatever moments and however often, has the losses of an unbroken one."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fixtures_processes import start
from theworld.config import TrainingConfig, loader
from theworld.modeling import checkpoints
from theworld.training import run
from theworld.training.metrics import read_metrics
from theworld.training.trainer import TheWorldTrainer

NUM_KILLS = 20
STEPS = 60
DEADLINE_SECONDS = 480


def settings_file(folder: Path) -> Path:
    world = {"tap": "vae", "cosmos_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0}
    config = {
        "output_dir": str(folder / "run"),
        "num_steps": STEPS,
        "batch_size": 1,
        "precision": "fp32",
        "save_steps": 2,
        "logging_steps": 1,
        "log_to": "none",
        "num_workers": 0,
        "store_dir": str(folder / "store"),
        "model": {"gemma_model_name": "tiny", "dtype": "float32", "world_grid": 4, "world": world},
        "data": {"questions": "future", "tasks": ["drop"], "image_size_px": 64, "num_train": 8, "num_validation": 8},
    }
    folder.mkdir()
    path = folder / "run.json"
    path.write_text(json.dumps(config))
    return path


class Uncertain(TheWorldTrainer):
    """Throws dice at every step: the losses tell whether a continued run has its states of chance."""

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        inputs["pixel_values"] = inputs["pixel_values"] + 0.1 * torch.randn(())
        return super().training_step(model, inputs, num_items_in_batch)


def train(file: Path, moment: str | None, countdown: int) -> None:
    """A process of the run; it kills itself at the moment of its last breath, if it is given one."""
    run.TheWorldTrainer = Uncertain
    config = loader.load(TrainingConfig, file, ["--resume", "True"])
    with pytest.MonkeyPatch.context() as patch:
        if moment is not None:
            MOMENTS[moment](patch, Breath(countdown))
        run.train(config)


class Breath:
    """Counts down to the last one."""

    def __init__(self, count: int) -> None:
        self.count = count

    def is_last(self) -> bool:
        self.count -= 1
        return not self.count


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def amid_a_file(patch: pytest.MonkeyPatch, breath: Breath) -> None:
    """Half of a checkpoint's file is written."""

    def cut(write: Callable[..., None], position: int) -> Callable[..., None]:
        def written(*arguments: Any, **options: Any) -> None:
            write(*arguments, **options)
            if breath.is_last():
                os.truncate(arguments[position], Path(arguments[position]).stat().st_size // 2)
                die()

        return written

    patch.setattr(torch, "save", cut(torch.save, 1))
    patch.setattr(checkpoints, "save_file", cut(checkpoints.save_file, 1))


def before(owner: Any, *names: str) -> Callable[[pytest.MonkeyPatch, Breath], None]:
    def arm(patch: pytest.MonkeyPatch, breath: Breath) -> None:
        def watched(function: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any, **options: Any) -> Any:
                if breath.is_last():
                    die()
                return function(*arguments, **options)

            return called

        for name in names:
            patch.setattr(owner, name, watched(getattr(owner, name)))

    return arm


MOMENTS: dict[str, Callable[[pytest.MonkeyPatch, Breath], None]] = {
    "amid a file": amid_a_file,
    "before a sync": before(os, "fsync"),
    "before a rename": before(Path, "rename", "replace"),
    "amid a deletion": before(os, "unlink"),
}
LONGEST_COUNT = {"amid a file": 7, "before a sync": 28, "before a rename": 8, "amid a deletion": 16}


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(folder / "run" / "metrics.jsonl")]


def assert_checkpoints_are_whole(folder: Path, names: set[str]) -> None:
    for checkpoint in (folder / "run").glob("checkpoint-*"):
        assert {path.name for path in checkpoint.iterdir()} == names, checkpoint
        json.loads((checkpoint / "trainer_state.json").read_text())
        safetensors.torch.load_file(checkpoint / "model.safetensors")
        for name in ("optimizer.pt", "scheduler.pt"):
            torch.load(checkpoint / name, weights_only=True)


def kill_from_outside(file: Path, folder: Path, dice: random.Random) -> int | None:
    """Kill a process once it has done some steps, at a moment that nobody chose."""
    done = len(losses(folder))
    process = start(train, file, None, 0)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(losses(folder)) < done + dice.randrange(1, 4) and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)  # another process is at work
    time.sleep(dice.uniform(0, 0.1))
    process.kill()
    process.join()
    return process.exitcode


def test_a_run_that_is_killed_twenty_times_goes_on_bit_for_bit_and_no_checkpoint_is_ever_half_written(
    tmp_path: Path,
) -> None:
    dice = random.Random(0)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    whole = start(train, settings_file(unbroken), None, 0)
    file = settings_file(broken)
    whole.join()
    assert whole.exitcode == 0
    names = {path.name for path in (unbroken / "run" / f"checkpoint-{STEPS}").iterdir()}
    shutil.copytree(unbroken / "store", broken / "store")
    moments = [*MOMENTS, None] * (NUM_KILLS // (len(MOMENTS) + 1))

    for moment in moments:
        if moment is None:
            code = kill_from_outside(file, broken, dice)
        else:
            process = start(train, file, moment, dice.randrange(1, LONGEST_COUNT[moment]))
            process.join()
            code = process.exitcode
        assert code == -signal.SIGKILL, f"{moment}: the run has ended by itself with {code}"
        assert_checkpoints_are_whole(broken, names)
    assert 2 < len(losses(broken)) < STEPS
    last = start(train, file, None, 0)
    last.join()

    assert last.exitcode == 0
    assert losses(broken) == losses(unbroken)
    assert len(losses(broken)) == STEPS
    hidden = {path.name for path in (broken / "run").iterdir() if path.name.startswith(".")}
    assert not any("checkpoint" in name or "saving" in name for name in hidden), hidden
