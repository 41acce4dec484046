"""A plan on Qwen3-VL: the memory of a small random one as it is, and a plan of the shapes of the 4B."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DynamicCache

from fixtures_bases import QWEN3_VL_4B
from fixtures_model import assistant, encode, picture, user
from theworld.config import DataSettings, LoraSettings, ModelSettings, WorldSettings
from theworld.config.commands import PlanSettings
from theworld.modeling.factory import open_model
from theworld.planning.batch_shape import BatchShape, batch_shape_of
from theworld.planning.blocks import forward_of, step_of
from theworld.planning.memory import Memory, cache_bytes, memory_of
from theworld.planning.plan import configuration, plan_run, skeleton, work_of
from theworld.planning.world_cost import world_cost_of
from theworld.training.flops import WorkCounter

SUPERVISED = 4
LENGTH = 160
"""Tokens: a clip of 18, the largest picture of 64, and text."""


def run(folder: Path, **changes: Any) -> PlanSettings:
    world = WorldSettings(cosmos_model_name="tiny", image_size_px=64)
    model = ModelSettings(
        gemma_model_name=str(folder), world_grid=4, world=world, **{"dtype": "float32", **changes.pop("model", {})}
    )
    given: dict[str, Any] = {"batch_size": 2, "precision": "fp32", "length": LENGTH, "num_supervised": SUPERVISED}
    return PlanSettings(output_dir=Path("runs/planned"), model=model, peak_tflops=1.0, **{**given, **changes})


def batch_of(model: Any, sizes: tuple[tuple[int, int], ...] = ((64, 64), (64, 64))) -> dict[str, Any]:
    """Rows of unequal lengths: each a picture of a width and a height, and an answer, with labels on the row's end."""
    rows = [
        [user("Which bin?", picture(seed, *size)), assistant("red " * (40 - seed))] for seed, size in enumerate(sizes)
    ]
    batch = encode(model.processor, rows, side="right")
    labels = torch.full_like(batch["input_ids"], -100)
    labels[:, -SUPERVISED:] = batch["input_ids"][:, -SUPERVISED:]
    return {**batch, "labels": labels}


def shape_of(batch: dict[str, Any]) -> BatchShape:
    num_rows, length = batch["input_ids"].shape
    num_patches = len(batch["pixel_values"]) // num_rows
    shape = (num_patches, batch["pixel_values"].shape[1])
    return BatchShape(num_rows, length, num_rows * SUPERVISED, num_rows, num_rows, 1, 0, shape)


def kept_by_autograd(model: Any, batch: dict[str, Any]) -> int:
    """Bytes that a forward pass keeps, without weights and without the batch itself."""
    given = (*model.parameters(), *model.buffers(), *(value for value in batch.values() if torch.is_tensor(value)))
    known = {tensor.untyped_storage().data_ptr() for tensor in given}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(**batch)
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in known)


def memory_on(settings: PlanSettings, rows: BatchShape) -> Memory:
    config = configuration(settings)
    model, world = skeleton(settings, config), world_cost_of(config, rows)
    return memory_of(model, settings, rows, world, step_of(model, settings, rows), forward_of(model, rows))


@pytest.mark.parametrize("sizes", [((64, 64), (64, 64)), ((64, 64), (48, 24))], ids=["equal", "unequal"])
@pytest.mark.parametrize(
    "model",
    [{}, {"freeze_gemma_language": False}, {"freeze_gemma_vision": False}],
    ids=["projector", "language", "vision"],
)
def test_a_plan_keeps_what_autograd_keeps(qwen3_vl: Path, model: dict[str, Any], sizes: Any) -> None:
    settings = run(qwen3_vl, model=model)
    opened = open_model(settings.model).train()
    batch = batch_of(opened, sizes)
    memory = memory_on(settings, shape_of(batch))
    planned = sum(part.activations for part in memory.parts.values()) + memory.logits
    kept = kept_by_autograd(opened, batch)
    assert planned - batch["pixel_values"].nbytes == pytest.approx(kept, rel=0.1)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"freeze_gemma_language": False},
        {"freeze_gemma_vision": False},
        {"lora": LoraSettings(targets=("language", "vision"))},
    ],
    ids=["projector", "language", "vision", "adapters"],
)
def test_weights_and_moments_are_those_of_the_model_that_trains(qwen3_vl: Path, model: dict[str, Any]) -> None:
    settings = run(qwen3_vl, model=model)
    opened = open_model(settings.model)
    held = [part for name, part in plan_run(settings).memory.parts.items() if name != "world"]
    assert sum(part.weights for part in held) == sum(weight.nbytes for weight in opened.parameters())
    trained = sum(weight.numel() for weight in opened.parameters() if weight.requires_grad)
    assert sum(part.optimizer for part in held) == 8 * trained


@torch.no_grad()
def test_the_cache_is_that_of_the_model(qwen3_vl: Path, fused_qwen: Any) -> None:
    settings = run(qwen3_vl)
    config = configuration(settings)
    rows = batch_shape_of(settings, config)
    cache: Any = DynamicCache(config=fused_qwen.config.text)
    fused_qwen(input_ids=torch.full((rows.num_rows, LENGTH), 10), past_key_values=cache, use_cache=True)
    real = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert cache_bytes(skeleton(settings, config), rows) == real


def test_operations_are_those_of_a_batch_of_the_training(qwen3_vl: Path) -> None:
    settings = run(qwen3_vl)
    opened = open_model(settings.model).train()
    batch = batch_of(opened)
    planned = work_of(skeleton(settings, configuration(settings)), shape_of(batch), imitates=False)
    batch["world_features"] = batch.pop("world_pixels")  # a plan counts the world model apart
    assert planned == pytest.approx(WorkCounter(opened)(batch).total, rel=0.01)


@pytest.mark.parametrize("trains", ["language", "vision"])
def test_a_larger_batch_and_checkpointing_change_activations_alone(qwen3_vl: Path, trains: str) -> None:
    model = {f"freeze_gemma_{trains}": False}
    one, two = (plan_run(run(qwen3_vl, model=model, batch_size=size)).memory.parts[trains] for size in (2, 4))
    assert two.activations == pytest.approx(2 * one.activations, rel=0.01)
    again = plan_run(run(qwen3_vl, model=model, gradient_checkpointing=True)).memory.parts[trains]
    assert again.activations < 0.5 * one.activations
    assert again.weights == one.weights == two.weights


def test_stated_rows_have_the_largest_pictures_that_fit_into_them(qwen3_vl: Path) -> None:
    settings = run(qwen3_vl)
    assert batch_shape_of(settings, configuration(settings)).picture == (64 * 4, 96)  # the most of the processor
    short = run(qwen3_vl, length=SUPERVISED + 2 * (18 + 10), num_pictures=2)
    assert batch_shape_of(short, configuration(short)).picture == (10 * 4, 96)


def test_rows_of_samples_have_their_own_pictures(qwen3_vl: Path) -> None:
    data = DataSettings(questions="future", image_size_px=48, num_train=4)
    settings = run(qwen3_vl, length=None, num_supervised=32, data=data)
    rows = batch_shape_of(settings, configuration(settings))
    assert (rows.num_pictures, rows.num_clips) == (2, 2)
    assert rows.picture == ((48 // 4) ** 2, 96)


@pytest.fixture(scope="module")
def real_shapes(qwen3_vl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the small model with the configuration of the 4B; weights are not read."""
    folder = tmp_path_factory.mktemp("real") / "qwen3_vl"
    shutil.copytree(qwen3_vl, folder, ignore=shutil.ignore_patterns("config.json"))
    (folder / "config.json").write_text(json.dumps(QWEN3_VL_4B))
    [file] = [path for path in folder.glob("*processor_config.json") if "image_processor" in path.read_text()]
    settings = json.loads(file.read_text())
    settings["image_processor"] |= {"patch_size": 16, "size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}}
    file.write_text(json.dumps(settings))
    return folder


def test_the_shapes_of_the_4b_are_planned_whole(real_shapes: Path) -> None:
    options = {"dtype": "bfloat16"}
    plan = plan_run(run(real_shapes, model=options, batch_size=4, precision="bf16", length=800, num_supervised=32))
    parts = plan.memory.parts
    room = 800 - 32 - 18
    assert plan.rows.picture == (4 * room, 1536)
    native = sum(parts[name].weights for name in ("vision", "language"))
    assert native / 2 == pytest.approx(4.44e9, rel=0.005)
    assert plan.memory.cache == 2 * 4 * 36 * 800 * 8 * 128 * 2
    # In each of 36 layers at least its input and output, and the values between the two parts of its MLP.
    assert parts["language"].activations > 36 * 4 * 800 * 2 * (2 * 2560 + 2 * 9728)
    # Pictures as the processor makes them, and a feature of each token for the embeddings and three layers.
    assert parts["vision"].activations == 4 * (math.prod(plan.rows.picture) * 4 + room * 4 * 2560 * 2)
    assert plan.flops > 4 * 4 * 800 * 3.6e9
