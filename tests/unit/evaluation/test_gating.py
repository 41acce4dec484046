"""When to imagine: margins, the curve of a gate, and the arm that asks the world only where it is unsure."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from theworld.config import DataSettings, EvaluationConfig
from theworld.evaluation.gating import GatePoint, gate_of, margin_of
from theworld.evaluation.predictions import Prediction, read_predictions
from theworld.evaluation.run import evaluate
from theworld.modeling import TheWorld

DATA = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_validation=6)


def row(number: int, right: bool, margin: float = 0.0, **more: Any) -> Prediction:
    """An item of the choices a (the true answer) and b, answered with a lead."""
    best, other = ("a", "b") if right else ("b", "a")
    values = {"prediction": None, "log_likelihoods": {best: -1.0, other: -1.0 - margin}, **more}
    return Prediction(
        sample_id=str(number), question="Which?", answer="a", choices=("a", "b"), prompt_hash="", **values
    )


def test_a_margin_is_the_lead_of_the_best_answer() -> None:
    assert margin_of(row(0, True, 2.5)) == pytest.approx(2.5)
    assert margin_of(row(0, True, log_likelihoods=None, prediction="a", fields={"first_margin": 0.5})) == 0.5
    assert margin_of(row(0, True, log_likelihoods=None, prediction="a")) is None


def test_a_gate_finds_the_fewest_calls_with_the_highest_accuracy() -> None:
    # Without the world: right if sure. With it: right on the two unsure items, wrong on a sure one.
    plain = [row(0, False, 0.1), row(1, False, 0.3), row(2, True, 2.0), row(3, True, 3.0)]
    world = [row(0, True, 1.0), row(1, True, 1.0), row(2, True, 1.0), row(3, False, 1.0)]
    gate = gate_of(plain, world)
    assert gate is not None
    assert (gate.num_items, gate.num_harmed, gate.num_helped) == (4, 1, 2)
    assert dataclasses.astuple(gate.best) == pytest.approx((0.5, 1.15, 1.0))
    assert dataclasses.astuple(gate.curve[0]) == pytest.approx((0.0, 0.1, 0.5))
    assert gate.curve[-1] == GatePoint(1.0, None, 0.75)


def test_items_of_one_margin_are_not_parted_by_a_threshold() -> None:
    plain = [row(0, False, 0.5), row(1, True, 0.5)]
    world = [row(0, True, 1.0), row(1, False, 1.0)]
    gate = gate_of(plain, world)
    assert gate is not None
    assert gate.best.share_called == 0.0  # both or none: the same accuracy, so no call


def test_rows_without_margins_or_partners_have_no_gate() -> None:
    assert gate_of([row(0, True, log_likelihoods=None, prediction="a")], [row(0, True)]) is None
    assert gate_of([row(0, True)], [row(1, True)]) is None


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ahead") / "model"
    world = {"world_tap": "rollout", "num_world_steps": 1, "num_inference_steps": 2, "world_grid": 4}
    TheWorld.from_pretrained("tiny", **world).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("answers", ["loglikelihood", "generate"])
def test_the_arm_auto_gives_the_answers_of_the_arm_that_its_margin_names(
    answers: Any, ahead: Path, tmp_path: Path
) -> None:
    config: dict[str, Any] = {"checkpoint": ahead, "answers": answers, "max_new_tokens": 2, "data": DATA}
    both = evaluate(EvaluationConfig(output_dir=tmp_path / "both", arms=("world", "no-world-tokens"), **config))
    rows = {
        arm: {row.sample_id: row for row in read_predictions(tmp_path / "both" / "predictions" / f"{arm}.jsonl")}
        for arm in ("world", "no-world-tokens")
    }
    assert both["gating"]["num_items"] == 6
    margins = sorted(margin_of(row) or 0.0 for row in rows["no-world-tokens"].values())
    threshold = (margins[2] + margins[3]) / 2

    result = evaluate(
        EvaluationConfig(output_dir=tmp_path / "auto", arms=("auto",), auto_threshold=threshold, **config)
    )

    answered = read_predictions(tmp_path / "auto" / "predictions" / "auto.jsonl")
    assert sum(bool(row.fields["imagined"]) for row in answered) == 3
    assert result["arms"]["auto"]["world_read"] == 3
    for given in answered:
        arm = "world" if given.fields["imagined"] else "no-world-tokens"
        assert given.prediction == rows[arm][given.sample_id].prediction
        assert given.world_read == int(bool(given.fields["imagined"]))


def test_the_arm_auto_needs_a_threshold_and_a_threshold_the_arm(ahead: Path, tmp_path: Path) -> None:
    for wrong in ({"arms": ("auto",)}, {"auto_threshold": 0.5}):
        with pytest.raises(ValueError, match="give both --arms auto and --auto-threshold, or neither"):
            EvaluationConfig(checkpoint=ahead, output_dir=tmp_path, **wrong)


def test_predictions_of_another_threshold_or_of_other_futures_are_not_mixed_in(ahead: Path, tmp_path: Path) -> None:
    config: dict[str, Any] = {"checkpoint": ahead, "output_dir": tmp_path, "answers": "loglikelihood", "data": DATA}
    evaluate(EvaluationConfig(arms=("auto",), auto_threshold=0.5, **config))
    with pytest.raises(ValueError, match=r"auto\.jsonl belongs to another run"):
        evaluate(EvaluationConfig(arms=("auto",), auto_threshold=0.6, **config))
    evaluate(EvaluationConfig(**config))
    with pytest.raises(ValueError, match=r"world\.jsonl belongs to another run"):
        evaluate(EvaluationConfig(num_futures=2, **config))
    with pytest.raises(ValueError, match=r"world\.jsonl belongs to another run"):
        evaluate(EvaluationConfig(num_inference_steps=3, **config))


def test_answers_about_several_futures_have_a_confidence_and_a_calibration(ahead: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(checkpoint=ahead, output_dir=tmp_path, answers="loglikelihood", num_futures=3, data=DATA)
    result = evaluate(config)
    rows = read_predictions(tmp_path / "predictions" / "world.jsonl")
    assert {row.world_read for row in rows} == {3}
    assert {round(float(row.fields["confidence"] or 0), 3) for row in rows} <= {0.333, 0.667, 1.0}
    calibration = result["calibration"]["world"]
    assert calibration["num_items"] == 6
    assert sum(entry["num_items"] for entry in calibration["bins"]) == 6
    assert json.loads((tmp_path / "results.json").read_text())["calibration"] == json.loads(
        json.dumps(result["calibration"])
    )


def test_several_futures_of_a_model_that_imagines_none_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(checkpoint=checkpoint, output_dir=tmp_path, num_futures=3, data=DATA)
    with pytest.raises(ValueError, match="num_futures=3: the tap 'vae' at num_world_steps=0 has one future"):
        evaluate(config)


def test_the_confidence_is_the_share_of_the_most_frequent_reading() -> None:
    from theworld.evaluation.answerers import _agreed
    from theworld.evaluation.calibration import calibration_of

    def answered(*rights: bool) -> dict[str, Any]:
        rows = [dict(vars(row(0, right, 1.0)), world_read=1) for right in rights]
        return _agreed(rows)

    assert answered(True, False, True)["fields"]["confidence"] == pytest.approx(2 / 3)
    assert answered(False, True)["log_likelihoods"]["b"] == -1.0  # of two equally frequent ones the earliest
    assert answered(True, True, True)["world_read"] == 3
    rows = [
        row(number, number < right, 1.0, fields={"confidence": confidence})
        for number, (right, confidence) in enumerate([(4, 1.0)] * 4 + [(4, 0.5)] * 4)
    ]
    calibration = calibration_of([entry for entry in rows if entry.fields])
    assert calibration is not None
    assert [(entry.confidence, entry.accuracy) for entry in calibration.bins] == [(0.5, 0.0), (1.0, 1.0)]
    assert calibration.error == pytest.approx(0.25)
    assert calibration_of([row(0, True)]) is None
