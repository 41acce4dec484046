"""Stages: each shipped one starts from the last, trains what it says, and leaves all else as it was."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from theworld import TheWorld
from theworld.config import TrainingConfig, loader
from theworld.modeling.checkpoints import saved_name
from theworld.modeling.freezing import part_of
from theworld.training.run import train

CONFIGS = Path(__file__).parents[3] / "configs" / "foresight"
STAGES = {
    "1-projector": {"world"},
    "2-vision": {"world", "vision"},
    "3-language": {"world", "vision", "language"},
    "3-lora": {"world", "adapters"},
}
"""Shipped stage to the parts that it trains."""

SMALL = {
    "num-steps": 2,
    "batch-size": 2,
    "save-steps": 2,
    "optim.warmup-steps": 0,
    "log-to": "none",
    "num-workers": 0,
    "data.num-train": 4,
    "data.num-validation": 4,
    "data.tasks": "drop",
}


def run(stage: str, runs: Path, *overrides: str) -> Path:
    """Two steps of a shipped stage; the folder of its model."""
    small = {**SMALL, "output-dir": runs / stage, "store-dir": runs / "store"}
    flags = [word for name, value in small.items() for word in (f"--{name}", str(value))]
    config = loader.load(TrainingConfig, CONFIGS / f"{stage}.yaml", [*flags, *overrides])
    return Path(train(config)["model"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of the shipped stages, run after each other."""
    runs = tmp_path_factory.mktemp("runs")
    found = {"1-projector": run("1-projector", runs, "--model.world.num-inference-steps", "2")}
    found["2-vision"] = run("2-vision", runs, "--model.checkpoint", str(found["1-projector"]))
    for stage in ("3-language", "3-lora"):
        found[stage] = run(stage, runs, "--model.checkpoint", str(found["2-vision"]))
    return found


def weights(model: TheWorld) -> dict[str, Tensor]:
    return {saved_name(name): tensor.detach() for name, tensor in model.named_parameters()}


@pytest.mark.parametrize(
    ("stage", "before"),
    [("1-projector", None), ("2-vision", "1-projector"), ("3-language", "2-vision"), ("3-lora", "2-vision")],
)
def test_a_stage_trains_its_parts_and_leaves_the_others_bit_for_bit(
    stage: str, before: str | None, models: dict[str, Path], fused: TheWorld
) -> None:
    earlier = weights(fused if before is None else TheWorld.from_pretrained(models[before], load_world=False))
    model = TheWorld.from_pretrained(models[stage], load_world=False)
    differing = {
        part_of(name)
        for name, tensor in weights(model).items()
        if name not in earlier or tensor.shape != earlier[name].shape or not torch.equal(tensor, earlier[name])
    }

    assert differing == STAGES[stage]
    assert {part_of(name) for name, p in model.named_parameters() if p.requires_grad} == STAGES[stage]


def test_a_checkpoint_holds_what_any_stage_before_it_trained(models: dict[str, Path]) -> None:
    parts = {
        stage: TheWorld.from_pretrained(folder, load_world=False).config.trained_parts
        for stage, folder in models.items()
    }

    assert parts == {
        "1-projector": ["world"],
        "2-vision": ["world", "vision"],
        "3-language": ["world", "vision", "language"],
        "3-lora": ["world", "vision", "adapters"],
    }


def test_a_stage_without_the_run_before_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder, and no id on the hub; expected"):
        run("2-vision", tmp_path, "--model.checkpoint", str(tmp_path / "1-projector" / "model"))
