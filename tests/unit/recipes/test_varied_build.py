"""Builds on varied scenes: other clips, pictures and recipes, in folders that plain builds do not share."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recipes import pools
from recipes.build import run
from recipes.pools import ClipPool, pictures_of
from recipes.settings import FusionRecipe, TinySettings, VaePhase, VaeRecipe
from recipes.trainer import start_from
from recipes.varied import FUSION, VAE, VLM, WORLD, for_scenes
from recipes.world import tiny_transformer
from theworld.datasets import foresight
from theworld.io import fingerprint_weights
from theworld.tiny import WEIGHTS
from theworld.tiny.cosmos import tiny_vae, write_cosmos

SIZE_PX = 16


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CLIPS_PER_PIECE", 10)


def small(folder: Path, scenes: str) -> TinySettings:
    phases = (VaePhase(num_frames=5, batch_size=2, num_steps=2, learning_rate=1e-3),)
    vae = VaeRecipe(num_clips=10, phases=phases, warmup_steps=1, num_held_out=2, measure_steps=2)
    return TinySettings(
        action="build",
        stage="vae",
        output_dir=folder,
        image_size_px=SIZE_PX,
        num_threads=1,
        scenes=scenes,
        vae=vae,
    )


def test_a_build_on_varied_scenes_draws_varied_clips_and_continues_in_its_folder(tmp_path):
    found = run(small(tmp_path, "varied"))
    clips = np.load(tmp_path / "clips" / "00000000.npy")
    np.testing.assert_array_equal(clips[3], foresight.world_clip(3, SIZE_PX, "varied"))
    assert (clips[3] != foresight.world_clip(3, SIZE_PX)).any()
    assert run(small(tmp_path, "varied")) == found


def test_a_stage_continues_from_the_weights_of_a_finished_build_and_says_of_which(tmp_path):
    settings = dataclasses.replace(small(tmp_path, "varied"), start_from=WEIGHTS)
    run(settings)
    recipe = json.loads((tmp_path / "vae" / "1" / "recipe.json").read_text())
    assert recipe["start_from"] == fingerprint_weights(WEIGHTS / "cosmos" / "vae")
    name = "cosmos/vae/diffusion_pytorch_model.safetensors"
    before, after = (load_file(build / name) for build in (WEIGHTS, tmp_path))
    kept = [key for key in before if key.startswith("encoder.")]
    assert max((after[key].float() - before[key].float()).abs().max() for key in kept) < 0.02
    with pytest.raises(ValueError, match="start_from"):
        run(small(tmp_path, "varied"))


@pytest.mark.parametrize(
    ("part", "model"),
    [("cosmos/vae", tiny_vae), ("cosmos/transformer", tiny_transformer)],
)
def test_the_weights_of_a_build_are_taken_whole(part, model):
    found = model()
    assert start_from(WEIGHTS, part, found) == {"start_from": fingerprint_weights(WEIGHTS / part)}
    tensors = load_file(WEIGHTS / part / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(found.state_dict()[name], tensor.float()) for name, tensor in tensors.items())


def test_no_build_and_another_model_to_start_from_are_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="no such folder; start_from is the folder of a finished build"):
        start_from(tmp_path, "cosmos/vae", tiny_vae())
    write_cosmos(tmp_path / "cosmos", seed=0)
    with pytest.raises(ValueError, match=r"cosmos/transformer: weights of another model than this recipe's \(.*\)$"):
        start_from(tmp_path, "cosmos/transformer", tiny_transformer())


def test_plain_and_varied_builds_do_not_share_a_folder(tmp_path):
    ClipPool(tmp_path / "clips", 10, SIZE_PX, scenes="varied")
    with pytest.raises(ValueError, match="belongs to another run"):
        run(small(tmp_path, "plain"))


def test_pictures_of_varied_scenes_are_worded_in_many_ways():
    texts = {
        fact.text
        for scene in range(6)
        for picture, _ in pictures_of("roll", scene, SIZE_PX, "varied")
        for fact in picture.facts
        if fact.kind == "nearer_ball"
    }
    assert len(texts) > 4


def test_varied_scenes_take_the_larger_recipes_where_the_settings_leave_defaults():
    plain = TinySettings(action="build")
    assert for_scenes(plain) is plain
    varied = for_scenes(dataclasses.replace(plain, scenes="varied", vae=VaeRecipe(num_clips=77, warmup_steps=3)))
    assert (varied.vae.num_clips, varied.vae.warmup_steps, varied.vae.phases) == (77, 3, VAE.phases)
    assert (varied.world, varied.vlm, varied.fusion) == (WORLD, VLM, FUSION)
    own = FusionRecipe(tap="rollout", lora_rank=0, label_steps=0)
    kept = for_scenes(dataclasses.replace(plain, scenes="varied", fusion=own)).fusion
    assert (kept.tap, kept.lora_rank, kept.label_steps) == ("rollout", 0, 0)


def test_a_folder_of_plain_scenes_has_the_identity_that_it_always_had():
    settings = TinySettings(action="build", seed=3)
    assert settings.identity == {"seed": 3, "image_size_px": 64}
    assert "scenes" in dataclasses.replace(settings, scenes="varied").identity
