"""The demo, as a newcomer runs it, at the smallest size."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.scoring import score
from theworld.modeling import TheWorld

ARMS = ("gemma", "blind", "zero", "vae", "rollout")


def demo(folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    small = ["--num-train", "16", "--num-test", "12", "--num-steps", "3", "--num-scenes", "2"]
    command = [sys.executable, "-m", "theworld", "demo", "--output-dir", str(folder), *small, *flags]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("newcomer") / "demo"
    done = demo(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


def test_the_last_line_of_the_demo_says_what_every_arm_reached(ran: tuple[Path, dict[str, Any]]) -> None:
    _, result = ran

    assert tuple(result["arms"]) == ARMS
    for arm in result["arms"].values():
        low, high = arm["interval"]
        assert arm["n"] == 12
        assert low <= arm["accuracy"] <= high
    assert [result["arms"][arm]["world_read"] for arm in ARMS] == [0, 0, 12, 12, 12]
    assert set(result["asked"]) == {"question", "answer", "without the world", "with the world"}
    assert {"scenes", "train vae", "evaluate rollout", "report"} <= set(result["seconds"])


def test_the_numbers_of_the_demo_are_those_of_its_prediction_files(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, result = ran

    for arm in ARMS:
        rows = read_predictions(folder / "predictions" / f"{arm}.jsonl")
        assert result["arms"][arm]["accuracy"] == pytest.approx(sum(score(row).value or 0 for row in rows) / len(rows))


def test_the_demo_leaves_a_report_pictures_and_models_that_load(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, result = ran

    page = Path(result["report"]).read_text()
    assert all(f">{arm}<" in page or arm in page for arm in ARMS)
    assert {path.name for path in (folder / "scenes" / "00").iterdir()} == {
        "item.json",
        "picture.png",
        "true.gif",
        "imagined.gif",
    }
    model = TheWorld.from_pretrained(folder / "arms" / "rollout" / "model")
    assert model.config.num_world_steps == 4


def test_the_demo_starts_anew_over_an_earlier_one_and_touches_nothing_else(
    ran: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    (tmp_path / "config.json").write_text('{"model_type": "gemma3"}')

    refused = demo(tmp_path)

    assert refused.returncode == 2
    assert "holds no demo: choose another folder" in refused.stderr
    assert (tmp_path / "letter.txt").read_text() == "dear"
