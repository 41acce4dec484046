"""Bases other than Gemma 3 with a world from training to evaluation and audit, on random weights."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from theworld import tiny
from theworld.cli import main as cli
from theworld.config import AuditSettings, DataSettings, EvaluationConfig, ModelSettings, TrainingConfig, WorldSettings
from theworld.config.evaluation import ConditionName
from theworld.config.model import DistillationSettings, LoraSettings
from theworld.evaluation.run import evaluate
from theworld.evaluation.run_audit import audit
from theworld.modeling import TheWorld
from theworld.training.metrics import read_metrics
from theworld.training.run import train

SHIPPED = Path(__file__).parents[3] / "configs" / "foresight-tiny.json"
DATA = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_validation=4)


def settings_on(base: Path) -> ModelSettings:
    world = WorldSettings(cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0)
    return ModelSettings(gemma_model_name=str(base), dtype="float32", world_grid=4, world=world)


@pytest.fixture
def on_other(other_base: Path) -> ModelSettings:
    return settings_on(other_base)


def test_a_run_trains_and_its_model_is_evaluated_and_audited(
    make_config: Callable[..., TrainingConfig], on_other: ModelSettings, tmp_path: Path
) -> None:
    config = make_config(settings_of_model=on_other, num_steps=2, store_dir=tmp_path / "store")

    model = Path(train(config)["model"])

    assert [row["step"] for row in read_metrics(config.output_dir / "metrics.jsonl")] == [1, 2]
    assert TheWorld.from_pretrained(model, load_world=False).config.trained_parts == ["world"]
    arms = ("world", "no-world-tokens", "gemma", "blind")
    results = evaluate(
        EvaluationConfig(checkpoint=model, output_dir=tmp_path / "asked", arms=arms, answers="loglikelihood", data=DATA)
    )
    assert [results["arms"][name]["world_read"] for name in arms] == [4, 0, 0, 0]
    assert [*map(tuple, results["equal"])] == [("gemma", "no-world-tokens")]
    audited = audit(AuditSettings(checkpoint=model, output_dir=tmp_path / "audit", answers="loglikelihood", data=DATA))
    assert audited["verdict"] != "used"


def test_packing_imitation_and_distillation_are_refused_before_anything_is_trained(
    make_config: Callable[..., TrainingConfig], on_other: ModelSettings, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"packing=True on (Gemma 4|Qwen3-VL): .*use packing=False"):
        train(make_config(settings_of_model=on_other, packing=True))
    with pytest.raises(ValueError, match=r"objective='imitation' on (Gemma 4|Qwen3-VL): "):
        train(make_config(settings_of_model=on_other, objective="imitation"))
    student = dataclasses.replace(on_other, enable_world=False, lora=LoraSettings(targets=("language",)))
    distilling = {"distillation": DistillationSettings(weight=1.0), "store_dir": tmp_path / "store"}
    with pytest.raises(ValueError, match=r"distillation on (Gemma 4|Qwen3-VL): .*set distillation.weight to 0"):
        train(make_config(settings_of_model=student, **distilling))


def test_v_jepa2_under_gemma4_goes_from_training_to_the_report_of_its_audit_by_commands(
    gemma4: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {
        "output-dir": tmp_path / "run",
        "store-dir": tmp_path / "store",
        "num-steps": 1,
        "batch-size": 2,
        "num-workers": 0,
        "log-to": "none",
        "optim.warmup-steps": 0,
        "data.num-train": 2,
        "data.num-validation": 4,
        "data.tasks": "drop",
        "model.gemma-model-name": gemma4,
        "model.world.tap": "v-jepa2",
        "model.world.cosmos-model-name": tiny.build_world("v-jepa2", tmp_path / "world"),
        "model.num-world-steps": 2,
        "model.world-grid": 2,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    assert cli.main(["train", str(SHIPPED), *words]) == cli.OK

    audited = ["audit", str(tmp_path / "run"), "--answers", "loglikelihood", "--conditions", "all"]
    assert cli.main([*audited, "--output-dir", str(tmp_path / "audit")]) == cli.OK

    result = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert result["verdict"] != "used"  # one step from random weights
    asked = {path.stem for path in (tmp_path / "audit" / "predictions").glob("*.jsonl")}
    assert asked == set(get_args(ConditionName))
    assert cli.main(["report", str(tmp_path / "audit")]) == cli.OK
    assert "shuffle" in (tmp_path / "audit" / "report.md").read_text()
    capsys.readouterr()
