"""The demo, as a newcomer runs it, at the smallest size."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from theworld import tiny
from theworld.cli import main as cli
from theworld.evaluation.predictions import read_predictions
from theworld.evaluation.scoring import score
from theworld.experiments.demo import clear
from theworld.modeling import TheWorld

ARMS = ("gemma", "blind", "zero", "vae", "rollout", "true-future", "shipped")
NUM_TEST = 10


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a demo with the embedded models, and the JSON that the command prints."""
    folder = tmp_path_factory.mktemp("newcomer") / "demo"
    sizes = {"train": 16, "test": NUM_TEST, "audited": 10, "steps": 2, "scenes": 5}
    small = [word for name, value in sizes.items() for word in (f"--num-{name}", str(value))]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(tiny, "stack", lambda: tiny.WEIGHTS)
        assert cli.main(["demo", "--json", "--output-dir", str(folder), *small]) == cli.OK
    return folder, json.loads(printed.getvalue())


def test_the_demo_says_what_every_arm_reached(ran: tuple[Path, dict[str, Any]]) -> None:
    _, result = ran

    assert tuple(result["arms"]) == ARMS
    for arm in result["arms"].values():
        low, high = arm["interval"]
        assert arm["n"] == NUM_TEST
        assert low <= arm["accuracy"] <= high
    assert [result["arms"][arm]["world_read"] for arm in ARMS] == [0, 0, *[NUM_TEST] * 5]
    assert set(result["asked"]) == {"question", "answer", "without the world", "with the world"}
    assert result["audit"]
    assert {"gemma and blind", "train and ask the arms", "audit"} <= set(result["seconds"])


def test_the_numbers_of_the_demo_are_those_of_its_prediction_files(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, result = ran

    for arm in ARMS:
        rows = read_predictions(folder / "predictions" / f"{arm}.jsonl")
        assert result["arms"][arm]["accuracy"] == pytest.approx(sum(score(row).value or 0 for row in rows) / len(rows))


def test_the_demo_leaves_a_report_pictures_and_models_that_load(
    ran: tuple[Path, dict[str, Any]], embedded: Path
) -> None:
    folder, result = ran

    page = Path(result["report"]).read_text()
    assert all(f">{arm}<" in page or arm in page for arm in ARMS)
    for number in range(5):  # each task once: pictures and clips
        assert {path.name for path in (folder / "items" / f"{number:02d}").iterdir()} == {
            "item.json",
            "picture.png",
            "true.gif",
            "imagined.gif",
        }
    assert (folder / "audit" / "audit.json").exists()
    assert all((folder / "arms" / name / "metrics.jsonl").exists() for name in ("zero", "true-future"))
    model = TheWorld.from_pretrained(
        folder / "comparison" / "arms" / "rollout" / "seed-0" / "labels-0" / "rate-0.003" / "model"
    )
    assert (model.config.world_tap, model.config.num_world_steps) == ("rollout", 4)


def test_the_demo_starts_anew_over_an_earlier_one_and_touches_nothing_else(
    ran: tuple[Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, other = tmp_path / "earlier", tmp_path / "other"
    shutil.copytree(ran[0] / "predictions", earlier / "predictions")
    shutil.copy(ran[0] / "config.json", earlier)
    clear(earlier)
    assert list(earlier.iterdir()) == []

    other.mkdir()
    (other / "letter.txt").write_text("dear")
    (other / "config.json").write_text('{"model_type": "gemma3"}')

    assert cli.main(["demo", "--output-dir", str(other)]) == cli.REFUSED

    assert "holds no demo: choose another folder" in capsys.readouterr().err
    assert (other / "letter.txt").read_text() == "dear"
