"""Training metrics: a row of metrics.jsonl per logged step, and a progress bar."""

import json
import logging
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm import tqdm
from transformers import TrainerCallback

from theworld.config import TrainingConfig
from theworld.io import read_lines, write_whole
from theworld.modeling import TheWorld
from theworld.training.flops import WorkCounter, measured_peak

logger = logging.getLogger(__name__)

METRICS_NAME: Final = "metrics.jsonl"


@dataclass
class Tally:
    """Counts since the last row of metrics."""

    step_losses: list[float] = field(default_factory=list)
    tokens: int = 0
    positions: int = 0
    """Tokens and padding."""
    samples: int = 0
    flops: float = 0.0
    frozen_flops: float = 0.0
    unexplained: list[float] = field(default_factory=list)
    """Losses of the head of distillation, of each batch."""
    waited_seconds: float = 0.0
    """Time that the model waited for batches."""
    seconds: float = 0.0
    """Time of training before the process started; `Metrics` measures the rest."""


class Metrics(TrainerCallback):
    """Counts the batches that go through the model, and writes a row of `metrics.jsonl` for every logged step.

    A run that continues from a checkpoint removes the rows after its step, and writes them again.

    Args:
        path: of the rows.
        work: counts the operations of a batch; None: rows have no operations.
        peak_flops: operations per second that the device can reach, for `mfu`; None: rows have no `mfu`.
    """

    def __init__(self, path: Path, work: WorkCounter | None = None, peak_flops: float | None = None) -> None:
        self.path = path
        self.work = work
        self.peak_flops = peak_flops
        self._tally = Tally()
        self._micro_losses: list[float] = []
        self._started = time.perf_counter()

    def count(self, batch: dict[str, Any], num_samples: int, loss: float) -> None:
        """Count a batch after its forward and backward pass, with its share of the step's loss."""
        tally = self._tally
        tally.samples += num_samples
        tally.positions += batch["input_ids"].numel()
        tally.tokens += int(batch["attention_mask"].sum())
        if self.work is not None:
            work = self.work(batch)
            tally.flops += work.total
            tally.frozen_flops += work.frozen
        self._micro_losses.append(loss)

    def count_unexplained(self, share: float) -> None:
        """Count the share of the teacher's variance that the head of distillation did not explain in a batch."""
        self._tally.unexplained.append(share)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for a batch."""
        started = time.perf_counter()
        yield
        self._tally.waited_seconds += time.perf_counter() - started

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Leave the time inside out of the time of training."""
        started = time.perf_counter()
        yield
        self._started += time.perf_counter() - started

    def pending(self) -> dict[str, Any]:
        """Return the counts since the last row, for a checkpoint between two rows; JSON keeps every bit."""
        return {**asdict(self._tally), "seconds": self._seconds()}

    def load_state(self, pending: dict[str, Any]) -> None:
        """Continue with the result of `pending`."""
        self._tally = Tally(**pending)

    def _seconds(self) -> float:
        return self._tally.seconds + time.perf_counter() - self._started

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.compute_steps(args, state.max_steps)  # resuming restored the checkpoint's save_steps and logging_steps
        if state.is_world_process_zero:
            keep_rows(self.path, state.global_step)
        self._started = time.perf_counter()
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="training",
            unit="step",
            disable=not state.is_world_process_zero,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tally.step_losses.append(sum(self._micro_losses))
        self._micro_losses = []
        self._bar.update(1)
        if state.global_step == state.max_steps:  # the last steps give a row, too
            control.should_log = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._bar.close()

    def row(self, state: Any, logs: dict[str, Any], left_out: Mapping[str, int]) -> dict[str, Any]:
        """Write the row of this step, and start the counts of the next row. All processes call this together.

        Args:
            state: Trainer's.
            logs: learning_rate and grad_norm of the step, from Trainer.
            left_out: number of bad records since the run began, by cause.

        Returns:
            step, loss (the mean over the steps since the last row, unrounded), learning_rate, grad_norm,
            tokens_per_second (without padding), samples_per_second, padding_share (of all positions),
            data_wait_share (of the time), peak_memory_gb, eta_seconds, left_out/CAUSE; tflops_per_second, mfu (their
            share of the devices' peak, if that is known), frozen_share (of the operations, in frozen towers);
            unexplained (share of the teacher's variance, with distillation). The numbers cover all processes, except
            for waiting, memory, ETA and unexplained, which are those of this process.
        """
        tally, tallies, seconds = self._tally, _of_all_processes(self._tally), self._seconds()
        steps = len(tally.step_losses)
        tokens, positions = sum(each.tokens for each in tallies), sum(each.positions for each in tallies)
        flops = sum(each.flops for each in tallies)
        row = {
            "step": state.global_step,
            "loss": sum(tally.step_losses) / steps,
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens_per_second": tokens / seconds,
            "samples_per_second": sum(each.samples for each in tallies) / seconds,
            "padding_share": 1 - tokens / positions,
            "data_wait_share": tally.waited_seconds / seconds,
            "peak_memory_gb": peak_memory_gb(),
            "eta_seconds": (state.max_steps - state.global_step) * seconds / steps,
            **{f"left_out/{cause}": count for cause, count in left_out.items()},
        }
        if shares := tally.unexplained:
            row["unexplained"] = sum(shares) / len(shares)
        if self.work is not None:
            row["tflops_per_second"] = flops / seconds / 1e12
            row |= self._mfu(flops / seconds, len(tallies))
            row["frozen_share"] = sum(each.frozen_flops for each in tallies) / flops if flops else 0.0
        if state.is_world_process_zero:
            append_row(self.path, row)
        self._bar.set_postfix_str(_postfix(row))
        self._tally = Tally()
        self._started = time.perf_counter()
        return row

    def _mfu(self, flops_per_second: float, num_devices: int) -> dict[str, float]:
        """Return the share of the devices' peak; none if the run exceeds the peak, which is wrong then."""
        if self.peak_flops is None:
            return {}
        share = flops_per_second / (self.peak_flops * num_devices)
        if share > 1:
            _warn_of_peak(self.peak_flops)
            return {}
        return {"mfu": share}


def open_metrics(
    config: TrainingConfig, model: TheWorld, device: torch.device, head: torch.nn.Module | None = None
) -> Metrics:
    """Return the metrics of a run; `head` is that of distillation.

    The peak for `mfu` comes from the settings. Without the setting it is measured on a GPU; a CPU, which other
    programs share, has none.
    """
    peak = None
    if config.peak_tflops is not None:
        peak = config.peak_tflops * 1e12
    elif device.type == "cuda":
        peak = measured_peak(device, config.precision)
        logger.info("mfu is a share of %.3f TFLOP/s, the measured rate of a large matrix product", peak / 1e12)
    return Metrics(config.output_dir / METRICS_NAME, WorkCounter(model, head), peak)


@cache
def _warn_of_peak(peak_flops: float) -> None:
    logger.warning("peak_tflops=%.4g is less than this run reaches, so its rows have no mfu", peak_flops / 1e12)


def _of_all_processes(tally: Tally) -> list[Tally]:
    """Return the tally of each process, in the order of processes."""
    return gather_object([tally]) if PartialState().num_processes > 1 else [tally]


def _postfix(row: dict[str, Any]) -> str:
    mfu = f" MFU {row['mfu']:.1%}," if "mfu" in row else ""
    return (
        f"loss {row['loss']:.4f}, {row['tokens_per_second']:,.0f} tokens/s, {row['samples_per_second']:.1f} samples/s,"
        f"{mfu} waits {row['data_wait_share']:.0%}, {row['padding_share']:.0%} padding, {row['peak_memory_gb']:.1f} GB"
    )


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row to a JSONL file; the row is on the disk when this returns."""
    with path.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def keep_rows(path: Path, step: int) -> None:
    """Remove the rows after a step."""
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a metrics file, without a last line that a kill cut off."""
    return read_lines(path)


def peak_memory_gb() -> float:
    """Return the peak memory so far, GB: of the accelerator if there is one, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    kilobyte = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilobyte / 1e9
