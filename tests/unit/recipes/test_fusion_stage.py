"""The last stage and packing: a fused model of a build's own parts, in half the bytes, that names its base "tiny"."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recipes import build
from recipes.build import pack, run
from recipes.settings import FusionRecipe, TinySettings
from recipes.trainer import halve
from theworld import TheWorld, tiny


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build whose other stages are random, with what its last stage found."""
    folder = tiny.build(tmp_path_factory.mktemp("build"))
    for part in ("gemma", "cosmos"):
        halve(folder / part)
    recipe = FusionRecipe(num_clips=10, imitate_steps=2, align_steps=2, batch_size=2, warmup_steps=1, num_held_out=5)
    found = run(TinySettings(action="build", stage="fusion", output_dir=folder, num_threads=1, fusion=recipe))
    (folder / "found.json").write_text(json.dumps(found["fusion"]))
    return folder


def test_the_fused_model_of_a_build_imagines_and_was_aligned_on_what_really_happened(built):
    found = json.loads((built / "found.json").read_text())
    assert found["num_questions"] == 5
    assert 0 <= found["world"] <= 1
    assert 0 <= found["no-world-tokens"] <= 1
    assert json.loads((built / "fusion" / "config.json").read_text())["model"]["world"]["tap"] == "true-future"
    model = TheWorld.from_pretrained(built / "fused")
    assert model.config.world_tap == "rollout"
    assert model.config.num_world_steps == 4
    aligned = load_file(built / "fusion" / "model" / "model.safetensors")
    own = load_file(built / "fused" / "model.safetensors")
    assert all(torch.equal(own[name], tensor) for name, tensor in aligned.items())


@pytest.mark.parametrize("tap", ["rollout", "dit"])
def test_a_build_with_labels_learns_outcomes_into_its_language_model(built, tmp_path, tap, monkeypatch):
    monkeypatch.setattr("recipes.fusion.BLOCK", 1)  # the random denoiser has four blocks
    for part in ("gemma", "cosmos"):
        shutil.copytree(built / part, tmp_path / part)
    sizes = {"num_clips": 10, "batch_size": 2, "warmup_steps": 1, "num_held_out": 5}
    learning = {"label_steps": 2, "num_labelled": 5, "num_labelled_plain": 5, "lora_rank": 2, "tap": tap}
    recipe = FusionRecipe(imitate_steps=1, align_steps=1, **sizes, **learning)
    run(
        TinySettings(action="build", stage="fusion", output_dir=tmp_path, num_threads=1, fusion=recipe, scenes="varied")
    )

    config = json.loads((tmp_path / "labels" / "config.json").read_text())
    assert config["model"]["world"]["tap"] == tap
    assert {(part["data"]["scenes"], part["data"]["train_split"]) for part in config["mixture"]} == {
        ("varied", "train-seen"),
        ("plain", "train"),
    }
    model = TheWorld.from_pretrained(tmp_path / "fused")
    assert model.config.world_tap == tap
    assert model.config.lora is None
    assert model.config.trained_parts == ["world", "language"]
    own = load_file(tmp_path / "fused" / "model.safetensors")
    assert any("language_model" in name and "q_proj" in name for name in own)


def test_a_stage_is_stored_in_float16_and_loaded_as_float32(built):
    tensors = load_file(built / "cosmos" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    model = TheWorld.from_pretrained(built / "fused")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    weights = dict(model.tap.pipeline.transformer.named_parameters())
    assert all(torch.equal(weights[name], tensors[name].float()) for name in weights)


def test_a_packed_build_names_its_base_tiny(built, tmp_path, monkeypatch):
    num_bytes = pack(built, tmp_path / "weights")
    assert num_bytes == sum(path.stat().st_size for path in (tmp_path / "weights").rglob("*") if path.is_file())
    assert {path.name for path in (tmp_path / "weights").iterdir()} == {"gemma", "cosmos", "fused"}
    monkeypatch.setattr(tiny, "stack", lambda: tmp_path / "weights")
    model = TheWorld.from_pretrained(tmp_path / "weights" / "fused")
    assert (model.config.base_model_name, model.config.cosmos_model_name) == ("tiny", "tiny")


def test_a_build_without_a_stage_is_refused_and_leaves_what_was_packed(built, tmp_path):
    pack(built, tmp_path / "weights")
    (tmp_path / "empty" / "gemma").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"no cosmos/vae, cosmos/transformer, .*, fused; build all stages"):
        pack(tmp_path / "empty", tmp_path / "weights")
    assert (tmp_path / "weights" / "cosmos" / "vae").is_dir()
    settings = TinySettings(action="build", stage="fusion", output_dir=tmp_path / "empty", num_threads=1)
    with pytest.raises(ValueError, match="no cosmos/transformer; build the stages vae, world and vlm first"):
        run(settings)


def test_weights_that_do_not_fit_float16_are_refused(tmp_path):
    save_file({"large": torch.tensor([1e6])}, tmp_path / "some.safetensors")
    with pytest.raises(ValueError, match="do not fit float16"):
        halve(tmp_path)


def test_a_build_that_is_too_large_for_the_package_is_refused(built, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "MOST_BYTES", 1_000)
    with pytest.raises(ValueError, match="at most 1,000 are allowed"):
        pack(built, tmp_path / "weights")
    assert not (tmp_path / "weights").exists()
