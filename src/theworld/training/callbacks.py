"""Callbacks and checks of every step: first sample, loss watch, stop signals, TensorBoard, Weights & Biases."""

import importlib.util
import json
import logging
import math
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_bool
from functools import partial
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from pathlib import Path
from statistics import median
from typing import Any, Final

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, reduce
from pydantic import TypeAdapter
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback, WandbCallback

from theworld.config import TrainingConfig
from theworld.config.training import STOPPED_NAME
from theworld.datasets.label_view import supervised_text
from theworld.io import name_of_path, write_whole

logger = logging.getLogger(__name__)

NUM_REMEMBERED = 100
"""Steps of which the watch takes the median loss."""
NUM_NEEDED = 10
"""Steps after the warm-up before the watch compares a loss with the median."""
LEAST_LOSS = 1.0
"""Lower bound of the median: a loss near zero may rise by a large factor and still be small."""
STOPPED: Final = 75
"""Exit code of a run that a signal stopped and that you can continue: EX_TEMPFAIL of sysexits.h, "try again later"."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR1)


class LossError(ValueError):
    """A loss with which training cannot continue; the run's folder has the ids of its batches."""


class NonFiniteLossError(LossError):
    """A loss that is NaN or infinite."""


class ExplodingLossError(LossError):
    """A loss far above the losses before it."""


class LossWatch:
    """Stops a run before the optimizer steps on a loss that is not finite, or far above the losses before.

    Args:
        run: the run's folder.
        max_ratio: limit of a step's loss, as a multiple of the median of the last 100 losses (of 1, if the median is
            lower); None: any finite loss passes.
        warmup_steps: first steps, whose losses are not compared.
    """

    def __init__(self, run: Path, max_ratio: float | None = None, warmup_steps: int = 0) -> None:
        self.run, self.max_ratio, self.warmup_steps = run, max_ratio, warmup_steps
        self.before: deque[float] = deque(maxlen=NUM_REMEMBERED)
        """Losses of the last steps after the warm-up."""
        self._losses: list[float] = []
        self._sample_ids: list[str] = []

    def see(self, step: int, loss: float, sample_ids: list[str], *, ends_step: bool) -> None:
        """Check the loss of a batch after its backward pass.

        Args:
            step: the current step, from 1 on.
            loss: the batch's share of the step's loss, the mean over the processes; the shares of a step add up.
            sample_ids: of the batch.
            ends_step: True if the optimizer steps next.

        Raises:
            NonFiniteLossError, ExplodingLossError: see there.
        """
        self._losses.append(loss)
        self._sample_ids += sample_ids
        if not math.isfinite(loss):
            path = self._write("nonfinite_loss.json", step, loss=str(loss), sample_ids=sample_ids)
            raise NonFiniteLossError(
                f"loss {loss} at step {step}: the ids of its batch are in {path}; lower the learning rate, or look at"
                " those samples"
            )
        if ends_step:
            step_loss, ids = sum(self._losses), self._sample_ids
            self._losses, self._sample_ids = [], []
            if step > self.warmup_steps:
                self._compare(step, step_loss, ids)

    def _compare(self, step: int, loss: float, sample_ids: list[str]) -> None:
        if self.max_ratio is not None and len(self.before) >= NUM_NEEDED:
            usual = median(self.before)
            if loss > self.max_ratio * max(usual, LEAST_LOSS):
                path = self._write("exploding_loss.json", step, loss=loss, median=usual, sample_ids=sample_ids)
                raise ExplodingLossError(
                    f"loss {loss:.4g} at step {step} is more than {self.max_ratio:g} times the median {usual:.4g} of"
                    f" the {len(self.before)} steps before: the ids of its batches are in {path}; lower the learning"
                    " rate, look at those samples, or raise max_loss_ratio"
                )
        self.before.append(loss)

    def _write(self, name: str, step: int, *, sample_ids: list[str], **values: Any) -> Path:
        """Write a report with the sample ids of all processes, which agree on the loss and call this together."""
        all_ids: list[str] = gather_object(sample_ids)
        if PartialState().is_main_process:
            write_whole(self.run / name, json.dumps({"step": step, **values, "sample_ids": all_ids}, indent=2))
        return self.run / name


def log_sample(batch: dict[str, Any], sample_id: str, tokenizer: Any) -> None:
    """Log the first sample of a batch as the model gets it."""
    text = supervised_text(batch["input_ids"][0], batch["labels"][0], tokenizer)
    logger.info("the first sample, %s, with supervised text between ⟦ and ⟧:\n%s", sample_id, text)


class Stopped(SystemExit):
    """The end of a run after a stop signal. Like KeyboardInterrupt it is no error, so error handlers let it pass."""


class Stopping(TrainerCallback):
    """Stops a run on SIGTERM and SIGUSR1: at once before the first step, later after the current step and a checkpoint.

    A signal may reach one rank only, so ranks agree after every step. Add this to the trainer as a callback.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._signal = 0
        """Number of the signal that arrived; 0: none."""
        self._in_steps = False
        self._stopped_at: int | None = None
        self._process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals inside the block, in the main thread only: Python delivers them nowhere else."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def end_if_stopped(self) -> None:
        """Write stopped.json and end the process if a signal stopped the training.

        Raises:
            Stopped: in that case.
        """
        if self._stopped_at is not None:
            self._end(self._stopped_at)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._in_steps = True
        if state.is_world_process_zero:
            (self.run / STOPPED_NAME).unlink(missing_ok=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        number: Any = reduce(torch.tensor(self._signal, device=args.device), "max")
        self._signal = int(number)
        if self._signal and state.global_step < state.max_steps:  # a run ends after its last step anyway
            self._stopped_at = state.global_step
            control.should_save = control.should_training_stop = True

    def _handle(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:  # forked processes inherit the handlers
            return
        self._signal = number
        if not self._in_steps:
            self._end(None)

    def _end(self, step: int | None) -> None:
        report = {"signal": signal.Signals(self._signal).name, "step": step, "exit_code": STOPPED}
        write_whole(self.run / STOPPED_NAME, json.dumps(report))
        raise Stopped(STOPPED)


def shield_workers(loader: Any) -> Any:
    """Let the worker processes of a loader ignore stop signals and Ctrl-C.

    These signals reach the whole group of processes, and a step cannot finish without its workers. The workers end
    with the process that reads from them. If it ends while it takes a batch from them, they print no error of their
    own.
    """
    at_end = RawValue(c_bool, False)
    Finalize(None, setattr, (at_end, "value", True), exitpriority=0)  # before multiprocessing ends its daemons
    prepare = partial(_shield, at_end, loader.worker_init_fn)
    loader.worker_init_fn = prepare  # a copy of the loader reads the rest of an epoch
    getattr(loader, "base_dataloader", loader).worker_init_fn = prepare
    return loader


def _shield(at_end: Any, prepare: Any, worker: int) -> None:
    for ignored in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, partial(_end_with_reader, at_end))
    sys.excepthook = _print_unless_reader_ended  # multiprocessing calls it for the thread that hands batches over
    if prepare is not None:
        prepare(worker)


def _end_with_reader(at_end: Any, number: int, frame: Any) -> None:
    if at_end.value:  # an ending reader terminates its workers and waits for them
        os._exit(0)


def _print_unless_reader_ended(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if not issubclass(kind, (EOFError, ConnectionError)):  # these errors mean that the reader has ended
        sys.__excepthook__(kind, error, trace)


def check_logger(config: TrainingConfig) -> None:
    """Check that the logger of `log_to` is installed, and that wandb may upload.

    Raises:
        ValueError: if it is not installed, or wandb has no key, is not offline, and cannot ask for one.
    """
    if config.log_to == "none":
        return
    if importlib.util.find_spec(config.log_to) is None:
        raise ValueError(
            f"log_to={config.log_to!r}: {config.log_to} is not installed; pip install 'theworld[{config.log_to}]', or"
            " use log_to='none'"
        )
    if config.log_to == "wandb" and (reason := _wandb_refusal()):
        raise ValueError(
            f"log_to='wandb': {reason}; set WANDB_API_KEY, log in (`wandb login`), set WANDB_MODE=offline, or use"
            " log_to='none'"
        )


def _wandb_refusal() -> str:
    """Return the reason why wandb cannot log; empty if it is offline, has a key, or can ask for one at the terminal."""
    import wandb

    mode = os.environ.get("WANDB_MODE") or wandb.setup().settings.mode  # wandb reads its variables only once
    if mode != "online" or sys.stdin.isatty():
        return ""
    try:
        return "" if wandb.login(prompt=False, verify=False) else "it has no key"
    except TypeError:  # earlier versions of wandb cannot tell
        return ""
    except wandb.Error as error:
        return str(error)


def open_loggers(config: TrainingConfig) -> list[TrainerCallback]:
    """Return the loggers of a run, for the main process; their files are in the run's folder."""
    if config.log_to == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter  # the package may be missing

        return [TensorBoardCallback(SummaryWriter(config.output_dir / "tensorboard"))]
    return [_Wandb(config)] if config.log_to == "wandb" else []


class _Wandb(WandbCallback):
    """transformers' callback, with the run's settings as configuration; it finishes the wandb run.

    The run's name is its folder below `runs/`, unless WANDB_NAME names it. A continuation is another wandb run, in the
    same group as the first.
    """

    def __init__(self, config: TrainingConfig) -> None:
        import wandb

        super().__init__()
        folder = name_of_path(config.output_dir, "runs")
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", "theworld"),
            dir=config.output_dir,
            name=os.environ.get("WANDB_NAME") or folder,
            group=os.environ.get("WANDB_RUN_GROUP") or folder,
            config={"settings": TypeAdapter(TrainingConfig).dump_python(config, mode="json")},
        )

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().on_train_end(*args, **kwargs)
        self._wandb.finish()
