"""What is looked at in every step: the first sample, and losses that are not finite or explode."""

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
from torch.utils.tensorboard import SummaryWriter
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback, WandbCallback

from theworld.config import TrainingConfig
from theworld.config.training import STOPPED_NAME
from theworld.datasets.label_view import supervised_text
from theworld.io import write_whole

logger = logging.getLogger(__name__)

NUM_REMEMBERED = 100
"""Steps whose losses the median is taken of."""
NUM_NEEDED = 10
"""Steps after the warm-up before a loss can be told from noise."""
LEAST_LOSS = 1.0
"""What the median counts as at least: a loss near zero may rise by a large factor and still be small."""


class LossError(ValueError):
    """A loss with which training cannot go on; the ids of its batches are in the run's folder."""


class NonFiniteLossError(LossError):
    """A loss that is NaN or infinite."""


class ExplodingLossError(LossError):
    """A loss far above those before it."""


class LossWatch:
    """Stops a run before the weights follow a loss that is not finite, or far above the losses before.

    Args:
        run: the run's folder.
        max_ratio: a step's loss may be this many times the median of the last 100, or of 1 if that is more; None:
            anything finite.
        warmup_steps: steps whose losses are not looked at.
    """

    def __init__(self, run: Path, max_ratio: float | None = None, warmup_steps: int = 0) -> None:
        self.run, self.max_ratio, self.warmup_steps = run, max_ratio, warmup_steps
        self.before: deque[float] = deque(maxlen=NUM_REMEMBERED)
        """Losses of the last steps after the warm-up."""
        self._losses: list[float] = []
        self._sample_ids: list[str] = []

    def see(self, step: int, loss: float, sample_ids: list[str], *, ends_step: bool) -> None:
        """Look at a batch's share of a step's loss, after its backward pass.

        Args:
            step: the step that is being made, from 1 on.
            loss: of one batch, the mean over the processes; the sum over a step's batches is the step's loss.
            sample_ids: of the batch.
            ends_step: whether the weights follow now.

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
            whole, ids = sum(self._losses), self._sample_ids
            self._losses, self._sample_ids = [], []
            if step > self.warmup_steps:
                self._compare(step, whole, ids)

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

    def _write(self, name: str, step: int, *, sample_ids: list[str], **found: Any) -> Path:
        """Every process comes here at once: they agree on the loss, and each has ids of its own."""
        every: list[str] = gather_object(sample_ids)
        if PartialState().is_main_process:
            write_whole(self.run / name, json.dumps({"step": step, **found, "sample_ids": every}, indent=2))
        return self.run / name


def log_sample(batch: dict[str, Any], sample_id: str, tokenizer: Any) -> None:
    """Write the first sample of a batch to the log as it is trained on."""
    text = supervised_text(batch["input_ids"][0], batch["labels"][0], tokenizer)
    logger.info("the first sample, %s; what is supervised stands between ⟦ and ⟧:\n%s", sample_id, text)


STOPPED: Final = 75
"""Exit code of a run that was told to stop and can be continued: EX_TEMPFAIL of sysexits.h, "try again later"."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGUSR1)


class Stopped(SystemExit):
    """The end of a run that was told to stop. As KeyboardInterrupt it is no error: nothing takes it for one."""


class Stopping(TrainerCallback):
    """Hears SIGTERM and SIGUSR1. Before the first step a signal ends the run at once: there is nothing to save. From
    then on the step is brought to its end and saved.

    A signal may reach one rank only, so ranks agree after every step. Give it to the trainer as a callback.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._heard = 0
        self._in_steps = False
        self._stopped_at: int | None = None
        self._process = os.getpid()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the signals inside the block; in the main thread only, where alone Python delivers them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def end_if_stopped(self) -> None:
        """Leave word of it in the run's folder and end the process, if training was stopped.

        Raises:
            Stopped: then.
        """
        if self._stopped_at is not None:
            self._end(self._stopped_at)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._in_steps = True
        if state.is_world_process_zero:
            (self.run / STOPPED_NAME).unlink(missing_ok=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        heard: Any = reduce(torch.tensor(self._heard, device=args.device), "max")
        self._heard = int(heard)
        if self._heard and state.global_step < state.max_steps:  # a run at its end had better end
            self._stopped_at = state.global_step
            control.should_save = control.should_training_stop = True

    def _hear(self, number: int, frame: Any) -> None:
        if os.getpid() != self._process:  # a forked process that has its parent's handlers
            return
        self._heard = number
        if not self._in_steps:
            self._end(None)

    def _end(self, step: int | None) -> None:
        said = {"signal": signal.Signals(self._heard).name, "step": step, "exit_code": STOPPED}
        write_whole(self.run / STOPPED_NAME, json.dumps(said))
        raise Stopped(STOPPED)


def shield_workers(loader: Any) -> Any:
    """Let the processes of a loader ignore the signals, Ctrl-C among them: they reach the whole group of processes, and
    a step whose workers are gone cannot be brought to its end. The workers end with the process that reads from them,
    and do not complain if it goes while it takes a batch over: it says itself why."""
    at_end = RawValue(c_bool, False)
    Finalize(None, setattr, (at_end, "value", True), exitpriority=0)  # runs before daemons are told to end
    prepare = partial(_shield, at_end, loader.worker_init_fn)
    loader.worker_init_fn = prepare  # what is left of an epoch is read by a copy of the loader
    getattr(loader, "base_dataloader", loader).worker_init_fn = prepare
    return loader


def _shield(at_end: Any, prepare: Any, worker: int) -> None:
    for ignored in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, partial(_end_with_reader, at_end))
    sys.excepthook = _complain  # by which multiprocessing tells what befell the thread that hands batches over
    if prepare is not None:
        prepare(worker)


def _end_with_reader(at_end: Any, number: int, frame: Any) -> None:
    if at_end.value:  # the reader, at its own end, terminates what it has not closed, and waits for it
        os._exit(0)


def _complain(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if not issubclass(kind, (EOFError, ConnectionError)):  # which is how a reader that has gone looks from here
        sys.__excepthook__(kind, error, trace)


def check_curves(config: TrainingConfig) -> None:
    """Refuse curves that cannot be drawn here.

    Raises:
        ValueError: for wandb where it is not installed.
    """
    if config.log_to == "wandb" and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            "log_to='wandb': wandb is not installed; pip install 'theworld[wandb]', or use log_to='tensorboard'"
        )


def open_curves(config: TrainingConfig) -> list[TrainerCallback]:
    """What draws the curves of a run, in the main process; its files lie in the run's folder."""
    if config.log_to == "tensorboard":
        return [TensorBoardCallback(SummaryWriter(config.output_dir / "tensorboard"))]
    return [_Wandb(config)] if config.log_to == "wandb" else []


class _Wandb(WandbCallback):
    """transformers' callback, with the run's settings as its configuration, and an end.

    A continuation is a run of its own there, in one group with what it continues.
    """

    def __init__(self, config: TrainingConfig) -> None:
        import wandb

        super().__init__()
        name = config.output_dir.name
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", "theworld"),
            dir=config.output_dir,
            name=name,
            group=name,
            config={"settings": TypeAdapter(TrainingConfig).dump_python(config, mode="json")},
        )

    def on_train_end(self, *given: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().on_train_end(*given, **kwargs)
        self._wandb.finish()
