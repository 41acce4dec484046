"""A plan is what a run turns out to hold; it reads no weights and needs no data where rows are stated."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from theworld.cli import main as cli
from theworld.config import DataSettings, LoraSettings, ModelSettings, WorldSettings
from theworld.config.commands import PlanSettings
from theworld.config.data import MixturePart
from theworld.modeling import TheWorld
from theworld.modeling.factory import open_model
from theworld.planning.activations import trace
from theworld.planning.batch_shape import batch_shape_of
from theworld.planning.plan import Plan, configuration, plan_run, skeleton

TINY = WorldSettings(cosmos_model_name="tiny", image_size_px=64)


def run(**changes: Any) -> PlanSettings:
    model = ModelSettings(
        gemma_model_name="tiny", dtype="float32", world_grid=4, world=TINY, **changes.pop("model", {})
    )
    given: dict[str, Any] = {"batch_size": 2, "precision": "fp32", "length": 120, "num_supervised": 8}
    given |= {"peak_tflops": 0.05, **changes}
    return PlanSettings(output_dir=Path("runs/planned"), model=model, **given)


@functools.cache
def planned(settings: PlanSettings) -> Plan:
    return plan_run(settings)


def language_bytes(plan: Plan) -> int:
    return plan.memory.parts["language"].activations


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_a_block_keeps_is_what_autograd_keeps(precision: Any, trains: bool) -> None:
    def make(device: str) -> nn.Module:
        with torch.device(device):
            block = nn.Sequential(nn.Linear(16, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 16))
        return block.requires_grad_(trains)

    traced = trace(make("meta"), lambda: ((torch.empty(4, 8, 16),), {}), precision, flows=True)

    block, inputs = make("cpu"), torch.randn(4, 8, 16, requires_grad=True)
    given = {one.untyped_storage().data_ptr() for one in (inputs, *block.parameters())}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"),
    ):
        output = block(inputs)
    kept[output.untyped_storage().data_ptr()] = output
    sizes = [tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in given]
    assert traced.kept == pytest.approx(sum(sizes), rel=0.03)  # autocast's copies of biases, means of the norm


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"freeze_gemma_language": False},
        {"lora": LoraSettings(targets=("language",))},
        {"enable_world": False, "freeze_gemma_language": False},
    ],
    ids=str,
)
def test_weights_and_moments_are_those_of_the_model_that_trains(model: dict[str, Any]) -> None:
    settings = run(model={**model, "world_fusion": "tokens"})
    opened = open_model(settings.model)
    plan = planned(settings)
    ours = [held for part, held in plan.memory.parts.items() if part != "world"]
    assert sum(held.weights for held in ours) == sum(one.nbytes for one in opened.parameters())
    trained = sum(one.numel() for one in opened.parameters() if one.requires_grad)
    assert sum(held.optimizer for held in ours) == 8 * trained
    assert sum(held.gradients for held in ours) == 4 * trained


def test_nothing_of_a_model_is_read_but_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TheWorld, "from_pretrained", None)
    settings = run()
    assert {one.device.type for one in skeleton(settings, configuration(settings)).parameters()} == {"meta"}


def test_a_batch_twice_as_large_keeps_twice_the_activations_and_the_same_weights() -> None:
    one, two = planned(run(batch_size=2)), planned(run(batch_size=4))
    assert language_bytes(two) == pytest.approx(2 * language_bytes(one), rel=0.01)
    assert two.memory.parts["language"].weights == one.memory.parts["language"].weights


def test_checkpointing_keeps_less_and_logits_are_those_of_supervised_tokens() -> None:
    plan = planned(run())
    assert language_bytes(planned(run(gradient_checkpointing=True))) < 0.3 * language_bytes(plan)
    assert planned(run(num_supervised=16)).memory.logits > 1.5 * plan.memory.logits


def test_a_frozen_vision_tower_keeps_no_activations_and_one_that_trains_does() -> None:
    frozen, trained = planned(run()), planned(run(model={"freeze_gemma_vision": False}))
    seen = [plan.memory.parts["vision"] for plan in (frozen, trained)]
    assert seen[1].activations > 5 * seen[0].activations
    assert (seen[0].gradients, seen[1].gradients > 0) == (0, True)


def test_with_stored_features_the_world_is_gone_while_training(tmp_path: Path) -> None:
    live, stored = planned(run()), planned(run(store_dir=tmp_path))
    world = live.memory.parts["world"].weights
    assert world > 0
    moments = [plan.memory.moments["loss computed"] for plan in (live, stored)]
    assert moments[0] - moments[1] == world


def test_sharding_shares_out_what_trains_and_ddp_keeps_buckets() -> None:
    settings = run(model={"freeze_gemma_language": False})
    alone, ddp, fsdp = (
        planned(replace(settings, **devices))
        for devices in ({}, {"num_devices": 4}, {"num_devices": 4, "sharding": "fsdp"})
    )
    parts = [plan.memory.parts["language"] for plan in (alone, ddp, fsdp)]
    assert parts[1].optimizer == parts[0].optimizer == 4 * parts[2].optimizer
    assert ddp.memory.moments["weights moved"] > alone.memory.moments["weights moved"]
    assert fsdp.memory.moments["weights moved"] < alone.memory.moments["weights moved"]


def test_the_cache_of_a_sliding_layer_is_no_longer_than_its_window() -> None:
    short, long = planned(run(length=1024)), planned(run(length=2048))
    assert short.memory.cache < long.memory.cache < 1.2 * short.memory.cache  # one layer of six sees all


def test_rows_are_those_of_the_runs_own_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = Path(__file__).parents[3] / "configs" / "foresight-tiny.json"
    line = ["plan", str(shipped), "--batch-size", "4", "--data.num-train", "8", "--output-dir", str(tmp_path / "run")]
    assert cli.main([*line, "--json"]) == cli.OK
    found = json.loads(capsys.readouterr().out)
    assert cli.main(line) == cli.OK
    text = capsys.readouterr().out
    assert (found["rows"]["num_rows"], found["rows"]["num_pictures"]) == (4, 4)
    assert found["rows"]["length"] > 100
    assert found["peak_bytes"] == max(found["moments"].values())
    assert "| language |" in text
    assert not (tmp_path / "run").exists()


def test_rows_of_a_mixture_are_those_of_its_parts() -> None:
    one = DataSettings(questions="future", form="choice", image_size_px=64, num_train=1)
    alone = run(length=None, num_supervised=32, batch_size=1, data=one)
    mixed = replace(alone, data=replace(one, form="open"), mixture=(MixturePart(data=one),))

    assert batch_shape_of(mixed, configuration(mixed)) == batch_shape_of(alone, configuration(alone))
    assert batch_shape_of(replace(mixed, mixture=()), configuration(mixed)) != batch_shape_of(
        alone, configuration(alone)
    )


def test_a_stream_is_planned_by_stated_rows_alone(tmp_path: Path) -> None:
    stream = DataSettings(dataset="datacomp", source=str(tmp_path))
    settings = run(length=None, num_supervised=32, data=stream)
    with pytest.raises(ValueError, match="state its rows, --length"):
        batch_shape_of(settings, configuration(settings))


def test_idle_settings_of_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="give length"):
        PlanSettings(output_dir=Path("x"), num_supervised=3)


def test_a_step_takes_as_long_as_its_operations_at_the_stated_peak() -> None:
    model = TheWorld.from_pretrained("tiny", world_grid=4, dtype=torch.float32).train()
    plan = planned(run())
    stated, faster = plan.seconds, planned(run(peak_tflops=0.1)).seconds
    assert stated == pytest.approx(2 * faster) == pytest.approx(plan.flops / 0.05e12)
    more = planned(run(gradient_accumulation_steps=3)).flops
    assert more == pytest.approx(3 * plan.flops)
    vision, language = (
        sum(one.numel() for one in part.parameters()) for part in (model.model.vision_tower, model.model.language_model)
    )
    table = model.lm_head.weight.numel()
    # Every token passes each frozen weight of the layers forwards and, its gradient, backwards: 4 operations.
    assert plan.flops > 4 * 2 * 120 * (language - table) + 2 * 2 * 64 * vision * 0.9
    assert plan.flops < 3 * (4 * 2 * 120 * language + 2 * 2 * 64 * vision)


def test_stored_features_cost_no_reading(tmp_path: Path) -> None:
    assert planned(run(store_dir=tmp_path)).flops < planned(run()).flops
