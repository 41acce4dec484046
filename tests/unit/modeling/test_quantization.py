"""Adapters beside 4-bit weights: refusals without the package, and with it a model that trains, saves and reloads."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from fixtures_model import picture
from theworld import TheWorld
from theworld.config import LoraSettings, ModelSettings, WorldSettings
from theworld.config.commands import PlanSettings
from theworld.config.strict_yaml import SettingsError
from theworld.datasets.collator import Collator
from theworld.datasets.sample import question
from theworld.modeling import quantization
from theworld.modeling.configuration import TheWorldConfig
from theworld.planning import plan

ADAPTERS = {"targets": ("language",), "rank": 4, "alpha": 8}
with_package = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="the extra `quantized` is not installed")


def load(source: Any = "tiny", **settings: Any) -> TheWorld:
    torch.manual_seed(0)
    return TheWorld.from_pretrained(source, dtype=torch.float32, **settings)


def batch_of(model: TheWorld) -> dict[str, Any]:
    asked = [question("one", [picture(1)], "Which bin?", "red"), question("two", [picture(2)], "Why?", "it falls")]
    return Collator(model.processor, supervise=True)(asked)


@torch.no_grad()
def logits_of(model: TheWorld) -> Tensor:
    return model.eval()(**{name: value for name, value in batch_of(model).items() if name != "labels"}).logits


@pytest.mark.parametrize("targets", [(), ("vision",)])
def test_4_bits_without_adapters_of_the_language_model_are_refused(targets: Any) -> None:
    with pytest.raises(SettingsError, match=r"quantize='4bit' with lora.targets=.*add language"):
        ModelSettings(gemma_model_name="tiny", lora=LoraSettings(targets=targets), quantize="4bit")
    with pytest.raises(ValueError, match=r"quantize='4bit' with lora.targets=.*add language"):
        load(lora={"targets": targets}, quantize="4bit")


def test_a_language_model_that_trains_is_refused_in_4_bits() -> None:
    with pytest.raises(SettingsError, match="adapters need frozen layers"):
        ModelSettings(lora=LoraSettings(targets=("language",)), quantize="4bit", freeze_gemma_language=False)


def test_a_checkpoint_that_holds_the_language_model_is_refused_in_4_bits(tmp_path: Path) -> None:
    model = load(world_grid=4, lora=ADAPTERS)
    model.merge_lora()
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"quantize='4bit' reads the base's own files.*trained or merged"):
        load(tmp_path, lora=ADAPTERS, quantize="4bit")


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"quantize='4bit' needs bitsandbytes: pip install 'theworld\[quantized\]'"):
        load(lora=ADAPTERS, quantize="4bit")


def test_two_sources_of_quantization_are_refused() -> None:
    with pytest.raises(ValueError, match="both quantize the base: give one"):
        load(lora=ADAPTERS, quantize="4bit", quantization_config=SimpleNamespace(quant_method="other"))


def test_a_quantization_that_leaves_out_nothing_leaves_out_the_world() -> None:
    given = SimpleNamespace(quant_method="other", llm_int8_skip_modules=None)
    options: dict[str, Any] = {"quantization_config": given, "dtype": "auto"}
    quantization.settle(TheWorldConfig(), options)
    assert options["quantization_config"].llm_int8_skip_modules == ["lm_head", "world", "cosmos_vae"]
    assert given.llm_int8_skip_modules is None


@with_package
def test_adapters_train_beside_4_bit_layers_which_stay_and_a_checkpoint_holds_no_layer(tmp_path: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    model = load(world_grid=4, lora=ADAPTERS, quantize="4bit")
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    own = [module for name, module in layers.items() if name.endswith(".base_layer")]
    assert len(own) == 7 * 6
    assert all(name.startswith("model.language_model.layers.") for name in layers)
    assert model.get_trainable_parameters()[1] == load(world_grid=4, lora=ADAPTERS).get_trainable_parameters()[1]
    before = [module.weight.clone() for module in own]
    start = {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}

    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-3)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model.train()(**batch_of(model)).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    assert all(torch.equal(module.weight, weight) for module, weight in zip(own, before, strict=True))
    assert all(not torch.equal(value, start[name]) for name, value in model.named_parameters() if name in start)

    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as tensors:
        assert all(".lora_" in name or name.startswith("world.") for name in tensors.keys())  # noqa: SIM118
    again = load(tmp_path)
    assert again.config.quantize == "4bit"
    assert torch.equal(logits_of(again), logits_of(model))
    for refused, message in ((again.merge_lora, "merged"), (lambda: again.freeze(gemma_language=False), "train")):
        with pytest.raises(ValueError, match=f"cannot (be )?{message}.*quantize=None"):
            refused()


@with_package
def test_a_checkpoint_loads_unquantized_and_its_adapters_can_be_merged_then(tmp_path: Path) -> None:
    load(world_grid=4, lora=ADAPTERS, quantize="4bit").save_pretrained(tmp_path)
    model = load(tmp_path, quantize=None)
    assert torch.equal(logits_of(model), logits_of(load(world_grid=4, lora=ADAPTERS)))  # B = 0: as without adapters
    model.merge_lora()
    assert model.config.lora is None


def planned(**changes: Any) -> PlanSettings:
    world = WorldSettings(cosmos_model_name="tiny", image_size_px=64)
    lora = LoraSettings(targets=("language",), rank=4, alpha=8)
    settings: dict[str, Any] = {"gemma_model_name": "tiny", "dtype": "float32", "lora": lora, "world": world}
    return PlanSettings(
        model=ModelSettings(**settings, quantize="4bit"), precision="fp32", output_dir=Path("run"), **changes
    )


def planned_model(settings: PlanSettings) -> TheWorld:
    return plan.skeleton(settings, plan.configuration(settings))


def test_a_plan_counts_4_bits_and_their_scales() -> None:
    model = planned_model(planned())
    layer = model.model.language_model.layers[0]
    assert layer.mlp.up_proj.base_layer.weight.stored_bytes == 64 * 192 * 4 / 8 + 64 * 192 / 64 + 64 * 192 / 64 / 64
    assert not hasattr(layer.mlp.up_proj.lora_A.default.weight, "stored_bytes")
    assert not hasattr(model.model.vision_tower.encoder.layers[0].mlp.fc1.weight, "stored_bytes")


def test_a_plan_of_4_bits_under_fsdp_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.quantize does not work under FSDP"):
        plan.configuration(planned(num_devices=2, sharding="fsdp"))


@with_package
def test_planned_bytes_are_those_of_a_loaded_model() -> None:
    own = [
        module for name, module in load(lora=ADAPTERS, quantize="4bit").named_modules() if name.endswith(".base_layer")
    ]
    states = [module.weight.quant_state for module in own]
    actual = sum(module.weight.nbytes for module in own)
    actual += sum(state.absmax.nbytes + state.state2.absmax.nbytes for state in states)
    assert sum(getattr(weight, "stored_bytes", 0) for weight in planned_model(planned()).parameters()) == pytest.approx(
        actual, rel=0.01
    )
