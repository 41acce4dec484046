"""A training run that is killed, at whatever moment, goes on with the losses of an unbroken one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from theworld.training.progress import read_metrics

STEPS = 12


def settings_file(folder: Path) -> Path:
    path = folder / "run.json"
    world = {"tap": "vae", "cosmos_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0}
    path.write_text(
        json.dumps(
            {
                "output_dir": str(folder / "run"),
                "num_steps": STEPS,
                "batch_size": 2,
                "precision": "fp32",
                "save_steps": 2,
                "logging_steps": 1,
                "log_to": "none",
                "num_workers": 1,
                "store_dir": str(folder / "store"),
                "model": {"gemma_model_name": "tiny", "dtype": "float32", "world_grid": 4, "world": world},
                "data": {
                    "questions": "dynamic",
                    "tasks": ["drop"],
                    "image_size_px": 64,
                    "num_train": 8,
                    "num_validation": 8,
                },
            }
        )
    )
    return path


def train(file: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "theworld", "train", str(file), *flags]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(folder / "run" / "metrics.jsonl")]


def test_a_run_killed_with_sigkill_goes_on_bit_for_bit(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    for folder in (unbroken, broken):
        folder.mkdir()
    whole = train(settings_file(unbroken))
    first = train(settings_file(broken))
    deadline = time.monotonic() + 300
    while len(losses(broken)) < 5 and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.02)  # waiting for another process to have done five steps
    first.send_signal(signal.SIGKILL)
    first.wait()
    done_before = len(losses(broken))
    assert 5 <= done_before < STEPS, "the run was not killed in its middle"

    second = train(settings_file(broken), "--resume", "True")
    out, errors = second.communicate()
    assert second.returncode == 0, errors[-2000:]
    _, errors = whole.communicate()
    assert whole.returncode == 0, errors[-2000:]

    assert json.loads(out.splitlines()[-1])["step"] == STEPS
    assert losses(broken) == losses(unbroken)
    assert len(losses(broken)) == STEPS
