"""A Gemma 4 with a world from training to evaluation and audit, on random weights."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from theworld.config import AuditSettings, DataSettings, EvaluationConfig, ModelSettings, TrainingConfig, WorldSettings
from theworld.config.model import DistillationSettings, LoraSettings
from theworld.evaluation.run import evaluate
from theworld.evaluation.run_audit import audit
from theworld.modeling import TheWorld
from theworld.planning.plan import configuration
from theworld.training.metrics import read_metrics
from theworld.training.run import train

DATA = DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_validation=4)


@pytest.fixture
def on_gemma4(gemma4: Path) -> ModelSettings:
    world = WorldSettings(cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0)
    return ModelSettings(gemma_model_name=str(gemma4), dtype="float32", world_grid=4, world=world)


def test_a_run_trains_and_its_model_is_evaluated_and_audited(
    make_config: Callable[..., TrainingConfig], on_gemma4: ModelSettings, tmp_path: Path
) -> None:
    config = make_config(settings_of_model=on_gemma4, num_steps=2, store_dir=tmp_path / "store")

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


def test_packing_and_a_plan_are_refused_before_anything_is_trained(
    make_config: Callable[..., TrainingConfig], on_gemma4: ModelSettings, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"packing=True on Gemma 4: .*use packing=False"):
        train(make_config(settings_of_model=on_gemma4, packing=True))
    with pytest.raises(ValueError, match=r"objective='imitation' on Gemma 4: "):
        train(make_config(settings_of_model=on_gemma4, objective="imitation"))
    student = dataclasses.replace(on_gemma4, enable_world=False, lora=LoraSettings(targets=("language",)))
    distilling = {"distillation": DistillationSettings(weight=1.0), "store_dir": tmp_path / "store"}
    with pytest.raises(ValueError, match=r"distillation on Gemma 4: .*set distillation.weight to 0"):
        train(make_config(settings_of_model=student, **distilling))
    with pytest.raises(ValueError, match=r"plan on Gemma 4: .*measure a short run"):
        configuration(make_config(settings_of_model=on_gemma4))
