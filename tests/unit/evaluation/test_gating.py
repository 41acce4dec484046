"""When to imagine: margins, the curve of a gate, and the arm that asks the world only where it is unsure."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from theworld.config import DataSettings, EvaluationConfig
from theworld.evaluation.gate_features import feature_table, fitted
from theworld.evaluation.gating import Gate, GatePoint, HeldOut, gate_of, margin_of, transferred
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
    assert dataclasses.astuple(gate.best) == pytest.approx((0.5, 1.15, 1.0, 0.0))
    assert dataclasses.astuple(gate.curve[0]) == (0.0, 0.0, 0.5, 0.0)  # 0 nats: never
    assert gate.curve[-1] == GatePoint(1.0, "always", 0.75, 0.25)
    assert gate.held_out is gate.learnt is None  # too few items to choose on some and measure on others


def test_a_gate_that_always_asks_says_so_in_its_file_and_earlier_files_are_read() -> None:
    gate = gate_of([row(0, False, 0.1), row(1, False, 0.2)], [row(0, True, 1.0), row(1, True, 1.0)])
    assert gate is not None
    written = json.loads(json.dumps(gate.to_dict(), allow_nan=False))
    assert written["best"]["threshold"] == written["curve"][-1]["threshold"] == "always"
    reader = TypeAdapter(Gate)
    assert reader.validate_python(written) == gate
    earlier = {**written, "best": {"share_called": 1.0, "threshold": None, "accuracy": 1.0}}
    assert reader.validate_python(earlier).best == GatePoint(1.0, "always", 1.0)
    with pytest.raises(ValidationError):
        reader.validate_python({**written, "best": {**written["best"], "threshold": "often"}})


def test_a_single_choice_is_parted_from_close_ones_by_a_finite_threshold() -> None:
    single = dataclasses.replace(row(1, True), choices=("a",), log_likelihoods={"a": -1.0})
    plain = [row(0, False, 0.5), single]
    gate = gate_of(plain, [row(0, True, 1.0), row(1, True, 1.0)])
    assert gate is not None
    assert gate.best == GatePoint(0.5, 25.25, 1.0, 0.0)


def answered(num_items: int) -> tuple[list[Prediction], list[Prediction]]:
    """Items whose margin says nothing; the world helps with questions of the task drop, and harms those of roll."""
    margins = np.random.default_rng(0).uniform(0, 2, num_items)
    tasks = [("drop", "roll")[number % 2] for number in range(num_items)]
    fields = [{"task": task, "index": number // 2} for number, task in enumerate(tasks)]
    plain = [row(n, tasks[n] == "roll", margins[n], fields=fields[n]) for n in range(num_items)]
    return plain, [row(n, tasks[n] == "drop", 1.0, fields=fields[n]) for n in range(num_items)]


def test_a_learnt_gate_finds_the_questions_that_the_world_helps_with_where_margins_do_not() -> None:
    gate = gate_of(*answered(200), "index")
    assert gate is not None
    assert gate.learnt is not None
    assert gate.held_out is not None
    assert gate.learnt.held_out == HeldOut(0.5, 1.0, 0.0)
    assert gate.learnt.best.accuracy == 1.0
    assert gate.learnt.weights["kind: drop"] > 1 > -1 > gate.learnt.weights["kind: roll"]
    assert abs(gate.learnt.weights["margin"]) < 0.5
    assert gate.held_out.accuracy < 0.7
    assert gate.held_out.share_harmed > 0.2 or gate.held_out.share_called < 0.3


def test_weights_are_not_fitted_on_the_items_that_they_rank() -> None:
    """Many features and outcomes by chance: fitted on the same items, the gate would seem to know them."""
    plain, _ = answered(60)
    kinds = [{"task": str(number % 20)} for number in range(60)]
    right = np.random.default_rng(1).integers(0, 2, 60)
    unsure = [row(n, False, margin_of(plain[n]) or 0.0, fields=kinds[n]) for n in range(60)]
    gate = gate_of(unsure, [row(n, bool(right[n]), 1.0) for n in range(60)])
    assert gate is not None
    assert gate.learnt is not None
    half = gate.learnt.curve[5]
    assert half.accuracy == pytest.approx(right.mean() / 2, abs=0.1)  # as calls at random


def test_gates_of_some_items_are_measured_on_others() -> None:
    plain, world = answered(200)
    parts = [([*plain[start:end]], [*world[start:end]]) for start, end in ((0, 120), (120, 200))]
    by_margin, learnt = transferred(parts[0], parts[1], "index")
    assert learnt == HeldOut(0.5, 1.0, 0.0)
    assert by_margin.accuracy < 0.7
    with pytest.raises(ValueError, match="10 items to choose on: expected 40 or more"):
        transferred((plain[:10], world[:10]), parts[1], "index")
    with pytest.raises(ValueError, match="no item has a margin"):
        transferred(parts[0], ([], []), "index")


def test_the_same_rows_give_the_same_gate_in_any_order() -> None:
    plain, world = answered(60)
    turned = gate_of(plain[::-1], world, "index")
    gate = gate_of(plain, world, "index")
    assert gate is not None
    assert turned is not None
    assert gate.learnt is not None
    assert turned.learnt is not None
    assert turned.held_out == gate.held_out
    assert turned.learnt.weights == pytest.approx(gate.learnt.weights)


def test_a_logistic_regression_finds_the_rate_and_the_slope_of_its_data() -> None:
    generator = np.random.default_rng(0)
    table = generator.normal(size=(4000, 2)) * (1.0, 10.0)
    targets = generator.uniform(size=4000) < 1 / (1 + np.exp(-(0.5 + 2 * table[:, 0])))
    model = fitted(table, targets)
    assert model.weights == pytest.approx([2.0, 0.0], abs=0.15)
    assert model(table).mean() == pytest.approx(targets.mean(), abs=1e-3)
    constant = fitted(np.ones((10, 1)), np.array([True] * 9 + [False]))  # a feature without a spread
    assert constant(np.ones((1, 1))) == pytest.approx(0.9, abs=1e-3)


def test_features_are_those_that_all_rows_have_and_none_needs_the_world_or_the_answer() -> None:
    plain, _ = answered(4)
    names, table = feature_table(plain, np.array([0.5, 1.0, 2.0, math.inf]))
    assert names == ["margin", "log-probability", "entropy", "characters", "choices", "kind: drop", "kind: roll"]
    assert table[:, 0].tolist() == [0.5, 1.0, 2.0, 50.0]
    other = [dataclasses.replace(entry, answer="b") for entry in plain]
    assert np.array_equal(feature_table(other, np.array([0.5, 1.0, 2.0, math.inf]))[1], table)
    written = [row(0, True, log_likelihoods=None, prediction="a", fields={"first_log_prob": -0.5})]
    assert feature_table(written, np.array([1.0]))[0] == ["margin", "log-probability", "characters", "choices"]


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
    with pytest.raises(ValueError, match=r"auto_threshold=0\.5 without the arm that uses it: add --arms auto"):
        EvaluationConfig(checkpoint=ahead, output_dir=tmp_path, auto_threshold=0.5)
    with pytest.raises(ValueError, match="needs a threshold, and the checkpoint has none: give auto_threshold"):
        evaluate(EvaluationConfig(checkpoint=ahead, output_dir=tmp_path, arms=("auto",), data=DATA))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("threshold", "asked"), [("always", 6), (0.0, 0)])
def test_the_arm_auto_goes_by_the_threshold_of_its_checkpoint(
    threshold: Any, asked: int, ahead: Path, tmp_path: Path
) -> None:
    TheWorld.from_pretrained(ahead, auto_threshold=threshold).save_pretrained(tmp_path / "model")
    config: dict[str, Any] = {"output_dir": tmp_path / "out", "answers": "loglikelihood", "data": DATA}
    result = evaluate(EvaluationConfig(checkpoint=tmp_path / "model", arms=("auto",), **config))
    assert result["arms"]["auto"]["world_read"] == asked
    assert json.loads((tmp_path / "out" / "config.json").read_text())["auto_threshold"] == threshold


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
