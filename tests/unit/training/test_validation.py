"""Questions during training change nothing of it; the model that answered best is kept, across a continuation too."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from theworld.config import DataSettings, TrainingConfig, ValidationSettings
from theworld.evaluation.generation import Answerer
from theworld.evaluation.predictions import Prediction
from theworld.modeling import TheWorld
from theworld.training import validation
from theworld.training.metrics import read_metrics
from theworld.training.run import train
from theworld.training.validation import result_of

MakeConfig = Callable[..., TrainingConfig]

ASKED = ValidationSettings(eval_steps=1, max_new_tokens=2)


def rows_of(run: Path) -> list[dict[str, Any]]:
    return read_metrics(run / "validation.jsonl")


def answered(reply: str | None, error: str | None = None) -> Prediction:
    return Prediction(
        sample_id="a", question="Which?", answer="red", prediction=reply, error=error, choices=None, prompt_hash=""
    )


def test_asking_changes_no_loss_and_every_measurement_has_a_row(make_config: MakeConfig, tmp_path: Path) -> None:
    static = DataSettings(questions="present", tasks=("drop",), image_size_px=64, num_validation=2)
    plain = make_config("plain", store_dir=tmp_path / "store")
    asked = make_config(
        "asked",
        store_dir=tmp_path / "store",
        validation=replace(ASKED, eval_steps=3, data=(plain.data, static)),
    )
    train(plain)
    train(asked)

    assert [row["loss"] for row in read_metrics(asked.output_dir / "metrics.jsonl")] == [
        row["loss"] for row in read_metrics(plain.output_dir / "metrics.jsonl")
    ]
    rows = rows_of(asked.output_dir)
    assert [row["step"] for row in rows] == [3, 4]
    for row in rows:
        sets = row["sets"]
        assert {name: one["num_items"] for name, one in sets.items()} == {
            "foresight-future": 8,
            "foresight-present": 14,
        }
        assert row["accuracy"] == sum(one["accuracy"] for one in sets.values()) / 2
        assert all(one["low"] <= one["accuracy"] <= one["high"] for one in sets.values())


def scripted(monkeypatch: pytest.MonkeyPatch, shares: list[float]) -> None:
    """Let each measurement find the next of these shares of right answers."""
    left = iter(shares)

    def ask(self: validation.Validation, model: TheWorld, name: str) -> validation.Result:
        return validation.Result(next(left), 0.0, 1.0, 8, 0)

    monkeypatch.setattr(validation.Validation, "_ask", ask)


def test_the_best_model_is_kept_whatever_becomes_of_its_checkpoint_and_across_a_continuation(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(save_steps=1, save_total_limit=1, validation=ASKED)
    scripted(monkeypatch, [0.2, 0.6, 0.6, 0.3])
    train(config)
    best = config.output_dir / "best"
    assert not (config.output_dir / "checkpoint-2").exists()
    assert json.loads((best / "measured.json").read_text())["step"] == 2
    before = TheWorld.from_pretrained(best, load_world=False).world.markers.clone()

    # A step back: the checkpoint remembers 0.6, which an equal one does not replace.
    other = make_config("other", save_steps=3, validation=ASKED)
    scripted(monkeypatch, [0.2, 0.6, 0.6, 0.3])
    train(other)
    shutil.rmtree(other.output_dir / "checkpoint-4", ignore_errors=True)
    scripted(monkeypatch, [0.6])
    train(replace(other, resume=True))
    assert [row["accuracy"] for row in rows_of(other.output_dir)] == [0.2, 0.6, 0.6, 0.6]
    assert json.loads((other.output_dir / "best" / "measured.json").read_text())["step"] == 2
    assert (TheWorld.from_pretrained(other.output_dir / "best", load_world=False).world.markers == before).all()


def test_the_accuracy_is_that_of_an_evaluation_of_the_same_model(make_config: MakeConfig) -> None:
    config = make_config(validation=replace(ASKED, eval_steps=4))
    result = train(config)

    model = TheWorld.from_pretrained(result["model"]).eval()
    questions = validation.open_questions(config, with_future=False)["foresight-future"]
    rows = Answerer(model, max_new_tokens=2)([questions[index] for index in range(len(questions))])

    assert result_of(rows, "again").accuracy == rows_of(config.output_dir)[-1]["accuracy"]


def test_errors_count_as_nothing_and_errors_alone_end_the_run() -> None:
    assert result_of([answered("red"), answered("blue"), answered(None, "ImageError: cut off")], "x").num_missing == 1
    assert result_of([answered("red"), answered("blue"), answered(None, "ImageError: cut off")], "x").accuracy == 0.5
    with pytest.raises(ValueError, match="none of 1 items could be answered; the first error: ImageError: cut off"):
        result_of([answered(None, "ImageError: cut off")], "x")


def test_what_cannot_be_asked_is_refused_before_anything_loads(make_config: MakeConfig) -> None:
    labels = DataSettings(questions="labels", image_size_px=64)
    with pytest.raises(ValueError, match=r"conversations for training.*, in validation\.data"):
        make_config(data=labels, validation=ASKED)
    with pytest.raises(ValueError, match="conversations for training"):
        ValidationSettings(eval_steps=1, data=(labels,))
    with pytest.raises(ValueError, match="the model cannot answer yet"):
        make_config(objective="imitation", validation=ASKED)
