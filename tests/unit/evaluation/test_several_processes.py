"""An evaluation by several processes has the files of one process, whatever ends it and however it goes on."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fixtures_processes import run_ranks
from theworld import tiny
from theworld.config import DataSettings, EvaluationConfig
from theworld.evaluation import run
from theworld.evaluation.predictions import PredictionWriter, read_predictions

DATA = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_validation=14)


def files_of(folder: Path) -> dict[str, bytes]:
    """Files of an evaluation but for the times of its items, and the date."""
    return {
        str(path.relative_to(folder)): re.sub(rb'"seconds":[0-9.e-]+', b"", path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("environment.json", "config.json")
    }


def evaluate_in_turn(stack: Path, config: EvaluationConfig, num_rows_until_death: int | None = None) -> None:
    """Evaluate as one of several processes; the second one dies after some rows, if asked."""
    tiny.stack = lambda: stack
    if num_rows_until_death is not None and os.environ["RANK"] == "1":
        append = PredictionWriter.append

        def append_and_die(writer: PredictionWriter, rows: Any) -> None:
            append(writer, rows)
            if len(writer.done()) >= num_rows_until_death:
                os.kill(os.getpid(), signal.SIGKILL)

        PredictionWriter.append = append_and_die
    run.evaluate(config)


@pytest.fixture
def config(checkpoint: Path, tmp_path: Path) -> EvaluationConfig:
    return EvaluationConfig(
        checkpoint=checkpoint,
        output_dir=tmp_path / "one",
        arms=("world", "majority"),
        answers="loglikelihood",
        batch_size=3,
        data=DATA,
    )


def test_two_processes_write_the_bytes_of_one_also_after_one_of_them_was_killed(
    config: EvaluationConfig, tmp_path: Path
) -> None:
    both, killed = (replace(config, output_dir=tmp_path / name) for name in ("both", "killed"))
    run.evaluate(config)

    assert run_ranks(2, evaluate_in_turn, tiny.stack(), both) == [0, 0]
    assert run_ranks(2, evaluate_in_turn, tiny.stack(), killed, 3)[1] == -signal.SIGKILL
    part = killed.output_dir / "predictions" / "parts" / "world" / "1.jsonl"
    survived = read_predictions(part)
    with part.open("ab") as stream:
        stream.write(b'{"sample_id": "torn')
    run.evaluate(killed)  # one process takes in the parts of two

    assert len(survived) == 3
    rows = {row.sample_id: row for row in read_predictions(killed.output_dir / "predictions" / "world.jsonl")}
    assert all(rows[row.sample_id] == row for row in survived)  # their seconds, too: nothing was asked again
    expected = files_of(config.output_dir)
    assert len(json.loads(expected["results.json"])["arms"]) == 2
    assert len(expected["predictions/world.jsonl"].splitlines()) == 14
    assert files_of(both.output_dir) == expected
    assert files_of(killed.output_dir) == expected
