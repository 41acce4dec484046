"""What a run tells about itself while it trains: a row of metrics per logged step, and a progress bar."""

import json
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback

from theworld.files import write_whole


class Metrics(TrainerCallback):
    """Collects what goes through the model; a row of `metrics.jsonl` for every logged step.

    Rows after the step that a run continues from are taken out: they will be written again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._step_losses: list[float] = []
        self._micro_losses: list[float] = []
        self._tokens = self._positions = self._samples = 0
        self._seconds_before = 0.0
        self._started = time.perf_counter()

    def count(self, batch: dict[str, Any], num_samples: int, loss: float) -> None:
        """Note a batch that went through the model, and its share of the step's loss."""
        self._samples += num_samples
        self._positions += batch["input_ids"].numel()
        self._tokens += int(batch["attention_mask"].sum())
        self._micro_losses.append(loss)

    def pending(self) -> dict[str, Any]:
        """What has been collected since the last row, for a checkpoint between two rows; JSON keeps every bit."""
        return {
            "step_losses": self._step_losses,
            "tokens": self._tokens,
            "positions": self._positions,
            "samples": self._samples,
            "seconds": time.perf_counter() - self._started,
        }

    def take_up(self, pending: dict[str, Any]) -> None:
        """Go on with what `pending` gave."""
        self._step_losses = list(pending["step_losses"])
        self._tokens, self._positions, self._samples = (pending[name] for name in ("tokens", "positions", "samples"))
        self._seconds_before = pending["seconds"]

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.compute_steps(args, state.max_steps)  # a checkpoint brings the paces of saving and logging of its run
        if state.is_world_process_zero:
            kept = [row for row in read_metrics(self.path) if row["step"] <= state.global_step]
            write_whole(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._started = time.perf_counter() - self._seconds_before
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="training",
            unit="step",
            disable=not state.is_world_process_zero,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._step_losses.append(sum(self._micro_losses))
        self._micro_losses = []
        self._bar.update(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()

    def row(self, state: Any, logs: dict[str, Any], left_out: Mapping[str, int]) -> dict[str, Any]:
        """Write the row of this step, and begin to collect the next.

        Args:
            state: Trainer's.
            logs: what Trainer says of the step.
            left_out: how many records gave no sample since the run began, by cause.

        Returns:
            step, loss (the mean over the steps since the last row, unrounded), learning_rate, grad_norm,
            tokens_per_second (padding not counted), samples_per_second, padding_share (of all positions),
            peak_memory_gb, left_out/CAUSE.
        """
        seconds = time.perf_counter() - self._started
        row = {
            "step": state.global_step,
            "loss": sum(self._step_losses) / len(self._step_losses),
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens_per_second": self._tokens / seconds,
            "samples_per_second": self._samples / seconds,
            "padding_share": 1 - self._tokens / self._positions,
            "peak_memory_gb": peak_memory_gb(),
            **{f"left_out/{cause}": count for cause, count in left_out.items()},
        }
        if state.is_world_process_zero:
            with self.path.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        self._bar.set_postfix_str(
            f"loss {row['loss']:.4f}, {row['tokens_per_second']:,.0f} tokens/s,"
            f" {row['samples_per_second']:.1f} samples/s, {row['padding_share']:.0%} padding,"
            f" {row['peak_memory_gb']:.1f} GB"
        )
        self._step_losses, self._tokens, self._positions, self._samples = [], 0, 0, 0
        self._started = time.perf_counter()
        return row


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file; a last line that a kill cut off is left out."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def peak_memory_gb() -> float:
    """Most memory held at once so far, GB: the accelerator's if there is one, else the process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    kilobyte = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte / 1e9
