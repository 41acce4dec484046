"""A run that is told to stop saves at the end of its step, says so, and goes on as if it had not been told."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import resource_sharer
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from fixtures_processes import start
from theworld.config import TrainingConfig
from theworld.training import run
from theworld.training.callbacks import STOPPED, Stopped, Stopping, shield_workers
from theworld.training.metrics import read_metrics
from theworld.training.trainer import TheWorldTrainer

MakeConfig = Callable[..., TrainingConfig]


class Signalled(TrainerCallback):
    """Sends a signal to its own process while a step is under way."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), self.number)


def signalled_at(step: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(TheWorldTrainer):
        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            self.add_callback(Signalled(step, number))

    monkeypatch.setattr(run, "TheWorldTrainer", Told)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_the_step_under_way_and_the_run_goes_on_bit_for_bit(
    number: signal.Signals, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.train(make_config("unbroken"))
    config = make_config("stopped", save_steps=100, logging_steps=3)  # the signal comes between two rows of metrics
    folder = config.output_dir
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        signalled_at(2, number, patch)

        with pytest.raises(Stopped) as stopped:
            run.train(config)

    assert stopped.value.code == STOPPED == 75
    assert json.loads((folder / "stopped.json").read_text()) == {"signal": number.name, "step": 2, "exit_code": 75}
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-2"]
    assert not (folder / "model").exists()
    assert signal.getsignal(number) == before

    run.train(make_config("stopped", save_steps=100, logging_steps=1, resume=True))

    assert not (folder / "stopped.json").exists()
    expected = [row["loss"] for row in read_metrics(folder.parent / "unbroken" / "metrics.jsonl")]
    found = [row["loss"] for row in read_metrics(folder / "metrics.jsonl")]
    assert found == [sum(expected[:3]) / 3, expected[3]]


def test_a_signal_in_the_last_step_lets_the_run_end(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config()
    signalled_at(config.num_steps, signal.SIGTERM, monkeypatch)

    assert run.train(config)["step"] == config.num_steps

    assert (config.output_dir / "model").is_dir()
    assert not (config.output_dir / "stopped.json").exists()


def test_a_signal_before_the_first_step_ends_the_run_at_once(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    monkeypatch.setattr(run, "open_model", lambda *args, **options: os.kill(os.getpid(), signal.SIGUSR1))

    with pytest.raises(Stopped):
        run.train(config)

    said = {"signal": "SIGUSR1", "step": None, "exit_code": 75}
    assert json.loads((config.output_dir / "stopped.json").read_text()) == said


class Signalling:
    """Samples whose reader, a worker of a loader, is sent both signals."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        assert multiprocessing.parent_process() is not None
        for number in (signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        return index


def test_signals_to_the_whole_group_of_processes_leave_the_workers_of_a_loader(tmp_path: Path) -> None:
    plain: Any = Signalling()

    with Stopping(tmp_path).listening():
        assert [int(batch) for batch in shield_workers(DataLoader(plain, num_workers=1))] == [0, 1]


def say_here(connection: Connection, reader: int) -> None:
    connection.send("here")


class HandingOver:
    """Samples of one tuple: where a worker of a loader hands over what it shares, as it does with every batch."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[str, int]:
        return resource_sharer._resource_sharer.register(say_here, lambda: None)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("greeted", [True, False])
def test_a_worker_does_not_complain_of_a_reader_that_goes_while_it_takes_a_batch_over(
    greeted: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    shared: Any = HandingOver()
    batches = iter(shield_workers(DataLoader(shared, num_workers=1, batch_size=None)))
    address, key = next(batches)
    secret = multiprocessing.current_process().authkey

    Client(address, authkey=secret if greeted else None).close()

    with Client(address, authkey=secret) as reader:  # readers are served one after the other
        reader.send((key, os.getpid()))
        assert reader.recv() == "here"
    assert capfd.readouterr().err == ""


class Held:
    """Samples of which the reader has not yet taken all."""

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> int:
        return index


def hold_batches() -> None:
    plain: Any = Held()
    batches = iter(shield_workers(DataLoader(plain, num_workers=1)))
    next(batches)
    sys.modules["batches"] = batches  # pyright: ignore[reportArgumentType]: as an error's trace may hold them


def test_a_process_that_ends_without_having_closed_its_loader_ends_the_workers() -> None:
    process = start(hold_batches)

    process.join(60)

    ended = process.exitcode
    process.kill()
    assert ended == 0
