"""The last stage: a fused model of a build's own parts, which are stored in half the bytes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from theworld import TheWorld, tiny
from theworld.config.tiny import FusionRecipe, TinySettings
from theworld.recipes.building import run
from theworld.recipes.halving import halve


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build whose other stages are random, with what its last stage found."""
    folder = tiny.build(tmp_path_factory.mktemp("build"))
    for part in ("gemma", "cosmos"):
        halve(folder / part)
    recipe = FusionRecipe(num_clips=10, num_steps=2, batch_size=2, warmup_steps=1, num_held_out=5)
    found = run(TinySettings(action="build", stage="fusion", output_dir=folder, num_threads=1, fusion=recipe))
    (folder / "found.json").write_text(json.dumps(found["fusion"]))
    return folder


def test_the_fused_model_of_a_build_imagines_and_was_aligned_on_what_really_happened(built):
    found = json.loads((built / "found.json").read_text())
    assert found["num_questions"] == 5
    assert 0 <= found["world"] <= 1
    assert 0 <= found["world-off"] <= 1
    assert json.loads((built / "fusion" / "config.json").read_text())["model"]["world"]["tap"] == "true-future"
    model = TheWorld.from_pretrained(built / "fused")
    assert model.config.world_tap == "rollout"
    assert model.config.num_world_steps == 4
    aligned = load_file(built / "fusion" / "model" / "model.safetensors")
    own = load_file(built / "fused" / "model.safetensors")
    assert all(torch.equal(own[name], tensor) for name, tensor in aligned.items())


def test_a_stage_is_stored_in_float16_and_loaded_as_float32(built):
    tensors = load_file(built / "cosmos" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    model = TheWorld.from_pretrained(built / "fused")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    weights = dict(model.tap.pipeline.transformer.named_parameters())
    assert all(torch.equal(weights[name], tensors[name].float()) for name in weights)


def test_a_build_without_a_stage_is_refused(tmp_path):
    (tmp_path / "gemma").mkdir()
    settings = TinySettings(action="build", stage="fusion", output_dir=tmp_path, num_threads=1)
    with pytest.raises(ValueError, match="no cosmos/transformer; build the stages vae, world and vlm first"):
        run(settings)


def test_weights_that_do_not_fit_float16_are_refused(tmp_path):
    save_file({"large": torch.tensor([1e6])}, tmp_path / "some.safetensors")
    with pytest.raises(ValueError, match="do not fit float16"):
        halve(tmp_path)
