"""A fused model reads a world of every family: it trains, answers, is saved and loaded again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from theworld import TheWorld, TrainingConfig, tiny
from theworld.config import loader
from theworld.modeling.loading import CheckpointError
from theworld.training.run import train

SHIPPED = Path(__file__).parents[3] / "configs" / "foresight-tiny.json"
WORLDS = [
    ("predict2.5", "dit", 2),
    ("predict2.5", "rollout", 2),
    ("wan2.1", "vae", 0),
    ("wan2.1", "dit", 2),
    ("wan2.2", "dit", 2),
    ("wan2.2", "rollout", 2),
    ("cosmos3", "dit", 2),
    ("v-jepa2", "v-jepa2", 2),
]


@pytest.fixture
def clip() -> Tensor:
    return torch.randint(0, 256, (1, 1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("family", "tap", "num_world_steps"), WORLDS)
def test_a_model_trains_and_answers_on_the_world_and_knows_it_again(
    family: str, tap: str, num_world_steps: int, tmp_path: Path, clip: Tensor
) -> None:
    world = tiny.build_world(family, tmp_path / "world")
    flags: dict[str, Any] = {
        "output-dir": tmp_path / "run",
        "store-dir": tmp_path / "store",
        "num-steps": 2,
        "batch-size": 2,
        "num-workers": 0,
        "log-to": "none",
        "optim.warmup-steps": 0,
        "data.num-train": 2,
        "data.tasks": "drop",
        "model.world.tap": tap,
        "model.world.cosmos-model-name": world,
        "model.world.dit-block": 1,
        "model.world.num-inference-steps": 3,
        "model.world.seed": 5,
        "model.num-world-steps": num_world_steps,
        "model.world-grid": 2,
    }
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    done = train(loader.load(TrainingConfig, SHIPPED, words))
    losses = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in losses if "loss" in row)

    model = TheWorld.from_pretrained(done["model"]).eval()
    features = model.read_world(clip)
    assert features.shape[2] == 1 + num_world_steps
    assert features.isfinite().all()
    answer = model.generate(clip[0, 0], "Where does the ball land?", max_new_tokens=3)
    assert isinstance(answer, str)
    assert model.tap is not None
    assert model.tap.clips_read >= 2

    model.save_pretrained(tmp_path / "again")
    again = TheWorld.from_pretrained(tmp_path / "again").eval()
    assert torch.equal(again.read_world(clip), features)
    assert again.config.world_fingerprint == model.config.world_fingerprint
    shutil.rmtree(world)
    tiny.build_world(family, world, seed=1)
    with pytest.raises(CheckpointError, match="trained on the world"):
        TheWorld.from_pretrained(tmp_path / "again")


def test_a_changed_weight_of_any_world_is_not_saved_silently(tmp_path: Path) -> None:
    for family, tap, part in (("wan2.1", "dit", "transformer"), ("v-jepa2", "v-jepa2", "jepa")):
        world = tiny.build_world(family, tmp_path / family)
        model = TheWorld.from_pretrained("tiny", cosmos_model_name=str(world), world_tap=tap, dit_block=1, world_grid=2)
        network: Any = getattr(model.tap, part)
        model.save_pretrained(tmp_path / f"{family}-saved")
        with torch.no_grad():
            next(network.parameters()).add_(1)
        with pytest.raises(CheckpointError, match=f"the world's {part}.* was changed"):
            model.save_pretrained(tmp_path / f"{family}-changed")
