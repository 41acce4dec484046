"""Parts of the model may have a learning rate and a weight decay of their own."""

import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from theworld import TheWorld
from theworld.config import ModelSettings, OptimSettings, TrainingConfig
from theworld.config.optim import PerPart
from theworld.training.optimizer import split_by_part, trained_part
from theworld.training.run import train


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("world.markers", "markers"),
        ("world.projector.first.weight", "projector"),
        ("world.time.weight", "projector"),
        ("model.vision_tower.layers.0.weight", "vision"),
        ("model.language_model.layers.0.self_attn.q_proj.weight", "language"),
        ("model.language_model.layers.0.self_attn.q_proj.lora_A.default.weight", "adapters"),
        ("cosmos_vae.encoder.conv_in.weight", "cosmos_vae"),
        ("cosmos_vae.decoder.conv_in.weight", None),
    ],
)
def test_every_parameter_belongs_to_one_part(name: str, part: str | None) -> None:
    assert trained_part(name) == part


@pytest.mark.parametrize("decay", [0.01, 0.0])
def test_a_part_gets_its_own_values_and_norms_stay_without_decay(decay: float) -> None:
    weight, markers, norm, other = (nn.Parameter(torch.zeros(2)) for _ in range(4))
    names = {
        "world.projector.first.weight": weight,
        "world.markers": markers,
        "model.language_model.norm.weight": norm,
        "model.language_model.layers.0.mlp.weight": other,
    }
    groups = [
        {"params": [markers, weight, other], "weight_decay": decay},
        {"params": [norm], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)

    by_part = {"markers": {"lr": 0.1}, "language": {"lr": 1e-5, "weight_decay": 0.5}}
    split_by_part(optimizer, names.items(), by_part, set(names) - {"model.language_model.norm.weight"})

    found = {
        name: (group["lr"], group["weight_decay"])
        for name, parameter in names.items()
        for group in optimizer.param_groups
        if any(member is parameter for member in group["params"])
    }
    assert found == {
        "world.projector.first.weight": (1e-3, decay),
        "world.markers": (0.1, decay),
        "model.language_model.norm.weight": (1e-5, 0.0),
        "model.language_model.layers.0.mlp.weight": (1e-5, 0.5),
    }
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_a_part_moves_at_its_own_rate_and_a_continued_run_keeps_it(make_config: Any) -> None:
    optim = OptimSettings(learning_rate=1e-9, schedule="constant", learning_rates=PerPart(markers=1e-2))
    whole = make_config("whole", num_steps=4, save_steps=2, optim=optim)
    train(whole)
    before = TheWorld.from_pretrained(whole.output_dir / "checkpoint-2").state_dict()
    after = TheWorld.from_pretrained(whole.output_dir / "model").state_dict()

    moved = {name: (after[name] - before[name]).abs().max().item() for name in after if name.startswith("world.")}
    assert moved.pop("world.markers") > 1e-3
    assert max(moved.values()) < 1e-6

    for left in ("checkpoint-4", "model"):
        shutil.rmtree(whole.output_dir / left)
    train(replace(whole, resume=True))
    again = TheWorld.from_pretrained(whole.output_dir / "model").state_dict()
    assert all(torch.equal(again[name], after[name]) for name in after)


def config_of(model: dict[str, Any], optim: OptimSettings) -> TrainingConfig:
    return TrainingConfig(output_dir="runs/x", model=ModelSettings(gemma_model_name="tiny", **model), optim=optim)


@pytest.mark.parametrize(
    ("part", "model"),
    [
        ("vision", {}),
        ("language", {}),
        ("adapters", {}),
        ("cosmos_vae", {}),
        ("projector", {"enable_world": False, "freeze_gemma_language": False}),
        ("markers", {"world_fusion": "residual"}),
    ],
)
@pytest.mark.parametrize("setting", ["learning_rates", "weight_decays"])
def test_values_for_a_part_that_does_not_train_are_refused(setting: str, part: str, model: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"optim\.{setting}\.{part} is given, and {part} does not train"):
        config_of(model, OptimSettings(**{setting: PerPart(**{part: 0.1})}))


def test_a_learning_rate_of_zero_is_refused_since_freezing_says_it_better() -> None:
    with pytest.raises(ValueError, match=r"learning_rates: markers is 0: freeze"):
        OptimSettings(learning_rates=PerPart(markers=0))
