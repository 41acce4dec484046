"""A run that is told to stop, by SIGTERM or SIGUSR1, saves at the end of its step and ends with a code of its own."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_bool
from functools import partial
from multiprocessing.sharedctypes import RawValue
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Final

import torch
from accelerate.utils import reduce
from transformers import TrainerCallback

from theworld.config.training import STOPPED_NAME
from theworld.files import write_whole

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
