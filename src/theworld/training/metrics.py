"""What a run tells about itself while it trains: a row of metrics per logged step, and a progress bar."""

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
from theworld.io import write_whole
from theworld.modeling import TheWorld
from theworld.training.flops import WorkCounter, measured_peak

logger = logging.getLogger(__name__)

METRICS_NAME: Final = "metrics.jsonl"


@dataclass
class Tally:
    """What has been collected since the last row of metrics."""

    step_losses: list[float] = field(default_factory=list)
    tokens: int = 0
    positions: int = 0
    """Tokens and padding."""
    samples: int = 0
    flops: float = 0.0
    frozen_flops: float = 0.0
    waited_seconds: float = 0.0
    """For the next batch."""
    seconds: float = 0.0
    """Before `Metrics.started`; measured there from then on."""


class Metrics(TrainerCallback):
    """Collects what goes through the model; a row of `metrics.jsonl` for every logged step.

    Rows after the step that a run continues from are taken out: they will be written again.

    Args:
        path: of the rows.
        work: counts the operations of a batch; None: rows say nothing of operations.
        peak_flops: operations per second that the device can reach, for their share; None: rows have no share.
    """

    def __init__(self, path: Path, work: WorkCounter | None = None, peak_flops: float | None = None) -> None:
        self.path = path
        self.work = work
        self.peak_flops = peak_flops
        self._tally = Tally()
        self._micro_losses: list[float] = []
        self._started = time.perf_counter()

    def count(self, batch: dict[str, Any], num_samples: int, loss: float) -> None:
        """Note a batch that went through the model, and its share of the step's loss."""
        tally = self._tally
        tally.samples += num_samples
        tally.positions += batch["input_ids"].numel()
        tally.tokens += int(batch["attention_mask"].sum())
        if self.work is not None:
            work = self.work(batch)
            tally.flops += work.total
            tally.frozen_flops += work.frozen
        self._micro_losses.append(loss)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The time inside is time in which the model waits for a batch."""
        started = time.perf_counter()
        yield
        self._tally.waited_seconds += time.perf_counter() - started

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """The time inside is not time of training."""
        started = time.perf_counter()
        yield
        self._started += time.perf_counter() - started

    def pending(self) -> dict[str, Any]:
        """What has been collected since the last row, for a checkpoint between two rows; JSON keeps every bit."""
        return {**asdict(self._tally), "seconds": self._seconds()}

    def load_state(self, pending: dict[str, Any]) -> None:
        """Continue with the result of `pending`."""
        self._tally = Tally(**pending)

    def _seconds(self) -> float:
        return self._tally.seconds + time.perf_counter() - self._started

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        state.compute_steps(args, state.max_steps)  # a checkpoint brings the paces of saving and logging of its run
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
        control.should_log |= state.global_step == state.max_steps  # what the last steps came to is a row, too

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
            data_wait_share (of the time), peak_memory_gb, eta_seconds, left_out/CAUSE; tflops_per_second, mfu (their
            share of what the devices can reach, where that is known), frozen_share (of the operations, in frozen
            towers). Of all processes, which call this together; waiting, memory and ETA are this one's.
        """
        tally, tallies, seconds = self._tally, _of_all_processes(self._tally), self._seconds()
        steps = len(tally.step_losses)
        tokens, positions = sum(one.tokens for one in tallies), sum(one.positions for one in tallies)
        flops = sum(one.flops for one in tallies)
        row = {
            "step": state.global_step,
            "loss": sum(tally.step_losses) / steps,
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens_per_second": tokens / seconds,
            "samples_per_second": sum(one.samples for one in tallies) / seconds,
            "padding_share": 1 - tokens / positions,
            "data_wait_share": tally.waited_seconds / seconds,
            "peak_memory_gb": peak_memory_gb(),
            "eta_seconds": (state.max_steps - state.global_step) * seconds / steps,
            **{f"left_out/{cause}": count for cause, count in left_out.items()},
        }
        if self.work is not None:
            row["tflops_per_second"] = flops / seconds / 1e12
            row |= self._share(flops / seconds, len(tallies))
            row["frozen_share"] = sum(one.frozen_flops for one in tallies) / flops if flops else 0.0
        if state.is_world_process_zero:
            append_row(self.path, row)
        self._bar.set_postfix_str(_postfix(row))
        self._tally = Tally()
        self._started = time.perf_counter()
        return row

    def _share(self, flops_per_second: float, num_devices: int) -> dict[str, float]:
        """The share of what the devices can reach; none of a peak that is exceeded, which is then no peak."""
        if self.peak_flops is None:
            return {}
        share = flops_per_second / (self.peak_flops * num_devices)
        if share > 1:
            _warn_of_peak(self.peak_flops)
            return {}
        return {"mfu": share}


def open_metrics(config: TrainingConfig, model: TheWorld, device: torch.device) -> Metrics:
    """Return the metrics of a run.

    The peak for `mfu` comes from the settings. Without the setting it is measured on a GPU; a CPU, which other
    programs share, has none.
    """
    peak = None
    if config.peak_tflops is not None:
        peak = config.peak_tflops * 1e12
    elif device.type == "cuda":
        peak = measured_peak(device, config.precision)
        logger.info("mfu is a share of %.3f TFLOP/s, the measured rate of a large matrix product", peak / 1e12)
    return Metrics(config.output_dir / METRICS_NAME, WorkCounter(model), peak)


@cache
def _warn_of_peak(peak_flops: float) -> None:
    logger.warning("peak_tflops=%.4g is less than this run reaches: no mfu is given", peak_flops / 1e12)


def _of_all_processes(tally: Tally) -> list[Tally]:
    """What each process has collected, in their order."""
    return gather_object([tally]) if PartialState().num_processes > 1 else [tally]


def _postfix(row: dict[str, Any]) -> str:
    mfu = f" MFU {row['mfu']:.1%}," if "mfu" in row else ""
    return (
        f"loss {row['loss']:.4f}, {row['tokens_per_second']:,.0f} tokens/s, {row['samples_per_second']:.1f} samples/s,"
        f"{mfu} waits {row['data_wait_share']:.0%}, {row['padding_share']:.0%} padding, {row['peak_memory_gb']:.1f} GB"
    )


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a file of rows; it is on the disk before this returns."""
    with path.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def keep_rows(path: Path, step: int) -> None:
    """Take out the rows after a step."""
    kept = [row for row in read_metrics(path) if row["step"] <= step]
    write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))


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
