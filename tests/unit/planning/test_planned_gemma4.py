"""A plan on Gemma 4: the memory of a small random one as it is, and plans of the published shapes."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache, Gemma4AudioConfig, Gemma4Config, Gemma4TextConfig, Gemma4VisionConfig

from fixtures_model import assistant, encode, picture, user
from theworld.config import LoraSettings, ModelSettings, WorldSettings
from theworld.config.commands import PlanSettings
from theworld.modeling.factory import open_model
from theworld.planning.batch_shape import batch_shape_of
from theworld.planning.memory import cache_bytes
from theworld.planning.plan import configuration, plan_run, skeleton
from theworld.training.flops import WorkCounter

SUPERVISED = 4
LONG = 600
"""Tokens, more than the window of 512."""
COMMON: dict[str, Any] = {
    "final_logit_softcapping": 30.0,
    "hidden_size_per_layer_input": 256,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 7,
    "num_hidden_layers": 42,
}
E4B: dict[str, Any] = {
    **COMMON,
    "hidden_size": 2560,
    "intermediate_size": 10_240,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_kv_shared_layers": 18,
}
E2B: dict[str, Any] = {
    **E4B,
    "hidden_size": 1536,
    "intermediate_size": 6_144,
    "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 7,
    "num_hidden_layers": 35,
    "num_key_value_heads": 1,
    "num_kv_shared_layers": 20,
    "use_double_wide_mlp": True,
}
DENSE: dict[str, Any] = {
    **COMMON,
    "hidden_size": 5376,
    "intermediate_size": 21_504,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
    "num_hidden_layers": 60,
    "num_attention_heads": 32,
    "num_key_value_heads": 16,
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 4,
    "hidden_size_per_layer_input": 0,
    "sliding_window": 1024,
    "use_bidirectional_attention": "vision",
}
WIDE_TOWER: dict[str, Any] = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 72,
}


def run(folder: Path, length: int, **changes: Any) -> PlanSettings:
    world = WorldSettings(cosmos_model_name="tiny", image_size_px=64)
    model = ModelSettings(
        gemma_model_name=str(folder), dtype="float32", world_grid=4, world=world, **changes.pop("model", {})
    )
    given: dict[str, Any] = {"batch_size": 2, "precision": "fp32", "num_supervised": SUPERVISED, **changes}
    return PlanSettings(output_dir=Path("runs/planned"), model=model, length=length, peak_tflops=1.0, **given)


def batch_of(model: Any) -> dict[str, Any]:
    """Two rows, the second one padded: each a picture and an answer, with labels on the row's end."""
    rows = [[user("Which bin?", picture(seed)), assistant("red " * (40 - seed))] for seed in (1, 2)]
    batch = encode(model.processor, rows, side="right")
    labels = torch.full_like(batch["input_ids"], -100)
    labels[:, -SUPERVISED:] = batch["input_ids"][:, -SUPERVISED:]
    return {**batch, "labels": labels}


@pytest.mark.parametrize(
    "model",
    [{}, {"freeze_gemma_language": False}, {"freeze_gemma_vision": False}],
    ids=["projector", "language", "vision"],
)
def test_a_plan_keeps_what_autograd_keeps(gemma4: Path, model: dict[str, Any]) -> None:
    settings = run(gemma4, LONG, model=model)
    opened = open_model(settings.model).train()
    batch = batch_of(opened)
    weights = {weight.untyped_storage().data_ptr() for weight in (*opened.parameters(), *opened.buffers())}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        opened(**batch)
    sizes = [tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights]
    plan = plan_run(run(gemma4, batch["input_ids"].shape[1], model=model))
    memory = plan.memory
    planned = sum(part.activations for part in memory.parts.values()) + memory.logits
    pixels = batch["pixel_values"].nbytes
    assert planned - pixels == pytest.approx(sum(sizes), rel=0.1)


@pytest.mark.parametrize(
    "model",
    [{}, {"freeze_gemma_language": False}, {"lora": LoraSettings(targets=("language", "vision"))}],
    ids=["projector", "language", "adapters"],
)
def test_weights_and_moments_are_those_of_the_model_that_trains(gemma4: Path, model: dict[str, Any]) -> None:
    settings = run(gemma4, LONG, model=model)
    opened = open_model(settings.model)
    held = [part for name, part in plan_run(settings).memory.parts.items() if name != "world"]
    assert sum(part.weights for part in held) == sum(weight.nbytes for weight in opened.parameters())
    trained = sum(weight.numel() for weight in opened.parameters() if weight.requires_grad)
    assert sum(part.optimizer for part in held) == 8 * trained


@torch.no_grad()
def test_the_cache_is_that_of_the_model_where_windows_and_shared_layers_hold_less(gemma4: Path, fused4: Any) -> None:
    settings = run(gemma4, LONG)
    config = configuration(settings)
    rows = batch_shape_of(settings, config)
    cache = DynamicCache(config=fused4.config.text)
    ids = torch.full((rows.num_rows, LONG), 10)
    fused4(input_ids=ids, past_key_values=cache, use_cache=True)
    real = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers if layer.keys is not None)
    planned = cache_bytes(skeleton(settings, config), rows)
    assert planned == pytest.approx(real, rel=0.01)  # a window of 512 keeps 511 earlier tokens
    assert len([layer for layer in cache.layers if layer.keys is not None]) == 3  # of six layers


def test_operations_are_those_of_a_batch_of_the_training(gemma4: Path) -> None:
    settings = run(gemma4, LONG)
    opened = open_model(settings.model).train()
    batch = batch_of(opened)
    planned = plan_run(run(gemma4, batch["input_ids"].shape[1])).flops
    assert planned == pytest.approx(WorkCounter(opened)(batch).total, rel=0.01)


def test_a_larger_batch_and_checkpointing_change_activations_alone(gemma4: Path) -> None:
    one, two = (plan_run(run(gemma4, LONG, batch_size=size)).memory.parts["language"] for size in (2, 4))
    assert two.activations == pytest.approx(2 * one.activations, rel=0.01)
    again = plan_run(run(gemma4, LONG, gradient_checkpointing=True)).memory.parts["language"]
    assert again.activations < 0.5 * one.activations
    assert again.weights == one.weights == two.weights


def published(gemma4: Path, folder: Path, text: dict[str, Any], vision: dict[str, Any], audio: bool) -> Path:
    """The files of the small model with the configuration of a published one; its weights are not read."""
    shutil.copytree(gemma4, folder, ignore=shutil.ignore_patterns("config.json"))
    config = Gemma4Config(
        text_config=Gemma4TextConfig(**text),
        vision_config=Gemma4VisionConfig(**vision),
        audio_config=Gemma4AudioConfig() if audio else None,
    )
    config.save_pretrained(folder)
    processor = folder / "processor_config.json"
    settings = json.loads(processor.read_text())
    settings["image_processor"] |= {"patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 280}
    processor.write_text(json.dumps(settings))
    return folder


def settings_of(folder: Path) -> PlanSettings:
    model = ModelSettings(
        gemma_model_name=str(folder),
        dtype="bfloat16",
        world_grid=4,
        world=WorldSettings(cosmos_model_name="tiny", image_size_px=64),
    )
    given: dict[str, Any] = {"batch_size": 4, "precision": "bf16", "length": 800, "num_supervised": 32}
    return PlanSettings(output_dir=Path("runs/planned"), model=model, peak_tflops=1.0, **given)


@pytest.mark.parametrize(
    ("text", "vision", "audio", "billions", "channels"),
    [
        (E4B, {"use_clipped_linears": True}, True, 8.0, 20 * 512 * 2 * 256 + 4 * 800 * 2 * 512),
        (DENSE, {**WIDE_TOWER, "standardize": True}, False, 30.7, 50 * 800 * 16 * 256 + 10 * 800 * 4 * 512),
    ],
    ids=["E4B", "31B"],
)
def test_a_published_shape_is_counted_from_its_configuration(
    gemma4: Path,
    tmp_path: Path,
    text: dict[str, Any],
    vision: dict[str, Any],
    audio: bool,
    billions: float,
    channels: int,
) -> None:
    settings = settings_of(published(gemma4, tmp_path / "model", text, vision, audio))
    config = configuration(settings)
    model, rows = skeleton(settings, config), batch_shape_of(settings, config)
    assert rows.picture == (2520, 768)
    assert cache_bytes(model, rows) == 2 * 4 * channels * 2
    native = [weight for name, weight in model.named_parameters() if not name.startswith("world.")]
    assert sum(weight.numel() for weight in native) == pytest.approx(billions * 1e9, rel=0.03)


def test_a_published_shape_is_planned_whole(gemma4: Path, tmp_path: Path) -> None:
    plan = plan_run(settings_of(published(gemma4, tmp_path / "E2B", E2B, {"use_clipped_linears": True}, True)))
    parts = plan.memory.parts
    assert sum(part.weights for name, part in parts.items() if name != "world") / 2e9 == pytest.approx(5.1, rel=0.03)
    assert parts["audio, unused"].weights > 0
    assert parts["audio, unused"].activations == 0
    # In each of 35 layers at least its input and output, and the values between the two parts of its MLP.
    assert parts["language"].activations > 35 * 4 * 800 * 2 * (2 * 1536 + 2 * 6144)
    assert plan.flops > 4 * 4 * 800 * 2e9


def test_a_mixture_of_experts_is_refused_with_the_remedy(gemma4: Path, tmp_path: Path) -> None:
    experts = {"enable_moe_block": True, "num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704}
    folder = published(gemma4, tmp_path / "26B", {**DENSE, **experts}, {}, False)
    with pytest.raises(ValueError, match="mixture of experts depends on the tokens; measure a short run"):
        configuration(settings_of(folder))
