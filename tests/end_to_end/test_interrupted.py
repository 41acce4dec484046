"""Ctrl-C at a real command: one clean line, whole files, and the same command goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch

from theworld.cli import main as cli
from theworld.evaluation.predictions import read_predictions
from theworld.training.metrics import read_metrics

DEADLINE_SECONDS = 240
STEPS = 8


def hear_interruptions() -> None:
    """As a terminal starts its programs; what a shell starts in the background ignores SIGINT, and so its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupt(words: list[str], when: Callable[[], bool], folder: Path) -> tuple[int, str]:
    """Exit code and standard error of a command whose whole group of processes gets SIGINT, as a terminal sends it."""
    errors = folder / "errors.txt"
    command = [sys.executable, "-m", "theworld", *words]
    with errors.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True, preexec_fn=hear_interruptions
        )
        try:
            deadline = time.monotonic() + DEADLINE_SECONDS
            while not when():
                assert process.poll() is None, errors.read_text()
                assert time.monotonic() < deadline, errors.read_text()
                time.sleep(0.02)  # another process is at work
            os.killpg(process.pid, signal.SIGINT)
            code = process.wait(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    # CPython ends by the signal itself where it met code that is run from text: a shell sees 130 both times.
    return 128 - code if code < 0 else code, errors.read_text()


def assert_one_clean_line(said: str, line: str) -> None:
    """The line is the last one, on a row of its own, and nothing else complains."""
    *before, last = said.removesuffix("\n").split("\n")
    assert last == line
    assert not any("Traceback" in row or "Interrupt" in row for row in before), said


def unfinished(folder: Path) -> list[str]:
    """Files and folders that were being written."""
    return [str(path) for path in folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
def test_a_training_that_is_interrupted_leaves_whole_checkpoints_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = {"tap": "vae", "cosmos_model_name": "tiny", "image_size_px": 64}
    config = {
        "output_dir": str(tmp_path / "run"),
        "num_steps": STEPS,
        "batch_size": 1,
        "precision": "fp32",
        "save_steps": 1,
        "logging_steps": 1,
        "log_to": "none",
        "num_workers": 1,
        "model": {"gemma_model_name": "tiny", "dtype": "float32", "world_grid": 4, "world": world},
        "data": {"questions": "future", "tasks": ["drop"], "image_size_px": 64, "num_train": 8, "num_validation": 8},
    }
    file, run = tmp_path / "run.json", tmp_path / "run"
    file.write_text(json.dumps(config))

    code, said = interrupt(["train", str(file)], lambda: len(list(run.glob("checkpoint-*"))) > 1, tmp_path)

    assert code == cli.INTERRUPTED
    assert_one_clean_line(said, "theworld train: interrupted; `--resume True` continues from the newest checkpoint")
    assert unfinished(run) == []
    done = len(read_metrics(run / "metrics.jsonl"))
    assert 1 < done < STEPS
    for checkpoint in run.glob("checkpoint-*"):
        json.loads((checkpoint / "trainer_state.json").read_text())
        safetensors.torch.load_file(checkpoint / "model.safetensors")

    assert cli.main(["train", str(file), "--resume", "True", "--json"]) == cli.OK
    assert json.loads(capsys.readouterr().out)["step"] == STEPS  # JSON alone, whatever libraries print
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl")] == list(range(1, STEPS + 1))


@pytest.mark.slow
@pytest.mark.usefixtures("embedded")
def test_an_evaluation_that_is_interrupted_keeps_its_answers_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = tmp_path / "eval" / "predictions" / "gemma.jsonl"
    data = ["--data.questions", "future", "--data.image-size-px", "64", "--data.num-validation", "24"]
    words = ["evaluate", "--checkpoint", "tiny-foresight", "--output-dir", str(tmp_path / "eval"), "--arms", "gemma"]
    words += ["--batch-size", "1", *data]

    code, said = interrupt(words, lambda: answers.exists() and answers.read_bytes().count(b"\n") > 1, tmp_path)

    assert code == cli.INTERRUPTED
    assert_one_clean_line(said, "theworld evaluate: interrupted; the same command continues where it stopped")
    assert unfinished(tmp_path / "eval") == []
    assert not (tmp_path / "eval" / "results.json").exists()
    before = answers.read_bytes()
    assert before.endswith(b"\n")
    assert 1 < before.count(b"\n") < 24

    assert cli.main(words) == cli.OK
    said = capsys.readouterr().out
    assert answers.read_bytes().startswith(before)
    assert len({row.sample_id for row in read_predictions(answers)}) == 24
    assert said.startswith("## Arms\n\n| arm | n |")
    assert f"All results: {tmp_path / 'eval' / 'results.json'}\n" in said
