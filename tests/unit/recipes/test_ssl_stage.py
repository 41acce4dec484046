"""The stage ssl: features of hidden patches, predicted from visible ones alone, in a folder that the tap reads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import VJEPA2Model

from recipes import pools, ssl
from recipes.build import run
from recipes.settings import SslRecipe, TinySettings
from recipes.ssl import SslObjective, hide_future, hide_tubes, measure_jepa, places, predict, tiny_jepa
from recipes.trainer import read_curves
from recipes.varied import SSL, for_scenes
from recipes.world import tiny_transformer
from theworld.config import ModelSettings, OptimSettings, WorldSettings
from theworld.config.arm_settings import Arm, ArmsSettings, Reading
from theworld.experiments.arms.arm import folder_of
from theworld.experiments.arms.run import run_arms
from theworld.io import fingerprint_weights
from theworld.world.factory import open_tap
from theworld.world.jepa import as_video

SIZE_PX = 32


def small(folder: Path, **changes: object) -> TinySettings:
    recipe = SslRecipe(num_clips=10, num_steps=2, batch_size=2, warmup_steps=0, num_held_out=2, measure_steps=1)
    given = {"action": "build", "stage": "ssl", "output_dir": folder, "image_size_px": SIZE_PX, "num_threads": 1}
    return TinySettings(**{**given, "ssl": recipe, **changes})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build for pictures of 64 px, which the tap and the arm below read."""
    folder = tmp_path_factory.mktemp("build")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "CLIPS_PER_PIECE", 10)
        found = run(small(folder, image_size_px=64))
    (folder / "found.json").write_text(json.dumps(found["ssl"]))
    return folder


def test_the_opponent_is_as_large_as_the_world_model():
    sizes = [sum(weight.numel() for weight in model.parameters()) for model in (tiny_jepa(64), tiny_transformer())]
    assert sizes[0] / sizes[1] == pytest.approx(1, abs=0.05)


def test_tubes_hide_the_same_block_of_every_tubelet_and_as_many_patches_of_each_clip():
    torch.manual_seed(0)
    hidden = hide_tubes(50, 4)
    assert (hidden == hidden[:, :1]).all()
    per_picture = hidden[:, 0].flatten(1).sum(1)
    assert per_picture.unique().numel() == 1
    assert 8 <= per_picture[0] <= 12
    assert len({tuple(block.tolist()) for block in hidden[:, 0].flatten(1)}) > 1  # places differ


@pytest.mark.parametrize(("given_slots", "first_hidden"), [(1, 1), (2, 3)])
def test_the_future_is_hidden_where_the_tap_asks_for_it(given_slots, first_hidden):
    hidden = hide_future(2, 2, given_slots)
    assert hidden.shape == (2, 9, 2, 2)
    assert hidden[:, first_hidden:].all()
    assert not hidden[:, :first_hidden].any()
    assert places(~hidden).tolist() == [list(range(4 * first_hidden))] * 2


def test_predictions_see_visible_patches_alone():
    torch.manual_seed(0)
    jepa = tiny_jepa(SIZE_PX).eval()
    video = torch.randn(1, 18, 3, SIZE_PX, SIZE_PX)
    hidden = hide_future(1, 2, 1)
    other_future, other_past = video.clone(), video.clone()
    other_future[:, 2:] = torch.randn(1, 16, 3, SIZE_PX, SIZE_PX)
    other_past[:, :2] = torch.randn(1, 2, 3, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        predicted = predict(jepa, video, hidden)
        assert predicted.shape == (1, 32, 192)
        assert torch.equal(predicted, predict(jepa, other_future, hidden))
        assert not torch.equal(predicted, predict(jepa, other_past, hidden))


def test_predictions_in_training_are_those_of_the_tap(built):
    clips = pools.held_out(2, 64)
    frames = torch.from_numpy(clips).permute(0, 1, 4, 2, 3)
    settings = WorldSettings(tap="v-jepa2", cosmos_model_name=str(built / "ssl"), image_size_px=64)
    read = open_tap(settings).read(frames[:, :5].contiguous(), 3, [1, 2])
    with torch.no_grad():
        model = VJEPA2Model.from_pretrained(built / "ssl", dtype=torch.float32).eval()
        predicted = predict(model, as_video(frames), hide_future(2, 4, 2))
    future = predicted.unflatten(1, (3, 2, 16))[:, :, 1]  # the second tubelet of each slot
    torch.testing.assert_close(read[:, :, 2:].flatten(3), future.permute(0, 3, 1, 2), atol=1e-5, rtol=0)


def test_only_the_trained_model_gets_gradients_and_the_average_follows_it():
    torch.manual_seed(0)
    jepa = tiny_jepa(SIZE_PX)
    objective = SslObjective(jepa, np.zeros((2, 17, SIZE_PX, SIZE_PX, 3), np.uint8), average_decay=0.75)
    objective.after_step()  # the first update copies
    objective(torch.randint(0, 256, (2, 17, SIZE_PX, SIZE_PX, 3), dtype=torch.uint8))["loss"].backward()
    assert all(weight.grad is not None for weight in jepa.parameters())
    assert all(weight.grad is None for weight in objective.average.parameters())
    before = jepa.predictor.proj.bias.detach().clone()
    with torch.no_grad():
        jepa.predictor.proj.bias += 1
    objective.after_step()
    torch.testing.assert_close(objective.average.module.predictor.proj.bias, before + 0.25)


def test_a_collapsed_encoder_is_told_from_one_that_sees():
    torch.manual_seed(0)
    jepa = tiny_jepa(SIZE_PX).eval()
    clips = np.random.default_rng(0).integers(0, 256, (4, 17, SIZE_PX, SIZE_PX, 3), np.uint8)
    assert measure_jepa(jepa, clips)["feature_std"] > 0.1
    with torch.no_grad():
        jepa.encoder.embeddings.patch_embeddings.proj.weight.zero_()  # blind
    found = measure_jepa(jepa, clips)
    assert found["feature_std"] == pytest.approx(0, abs=1e-5)
    assert found["mean_loss"] == pytest.approx(0, abs=1e-5)


def test_a_build_whose_features_collapse_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "CLIPS_PER_PIECE", 10)
    monkeypatch.setattr(ssl, "measure_jepa", lambda jepa, clips: {"feature_std": 0.009})
    with pytest.raises(ValueError, match=r"features have collapsed \(feature_std 0\.009, .*average_decay"):
        run(small(tmp_path))
    assert not (tmp_path / "ssl").exists()


def test_a_build_measures_what_verify_measures_again(built):
    found = json.loads((built / "found.json").read_text())
    rows = [row for row in read_curves(built / "ssl-training") if "feature_std" in row]
    assert [row["step"] for row in rows] == [1, 2]
    assert found["future_loss"] == pytest.approx(rows[-1]["future_loss"], abs=2e-3)  # stored in float16
    assert run(small(built, image_size_px=64, action="verify"))["ssl"] == found


def test_a_killed_build_continues_bit_for_bit(built, tmp_path, monkeypatch):
    update = SslObjective.after_step

    def kill(objective: SslObjective) -> None:
        update(objective)
        if objective.average.n_averaged == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(pools, "CLIPS_PER_PIECE", 10)
    monkeypatch.setattr("recipes.trainer.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(SslObjective, "after_step", kill)
    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path, image_size_px=64))
    monkeypatch.setattr(SslObjective, "after_step", update)
    run(small(tmp_path, image_size_px=64))
    name = "ssl/model.safetensors"
    assert (tmp_path / name).read_bytes() == (built / name).read_bytes()


def test_a_build_continues_from_another_build_and_refuses_one_without_this_stage(built, tmp_path, monkeypatch):
    monkeypatch.setattr(pools, "CLIPS_PER_PIECE", 10)
    run(small(tmp_path, image_size_px=64, start_from=built))
    recipe = json.loads((tmp_path / "ssl-training" / "recipe.json").read_text())
    assert recipe["start_from"] == fingerprint_weights(built / "ssl")
    with pytest.raises(ValueError, match="ssl: no such folder; start_from is the folder of a finished build"):
        run(small(tmp_path / "other", image_size_px=64, start_from=tmp_path / "none"))


def test_pictures_of_one_patch_are_refused(tmp_path):
    with pytest.raises(ValueError, match="image_size_px=16: the stage ssl expects a multiple of 16, 32 or more"):
        run(small(tmp_path, image_size_px=16))


def test_verify_without_a_build_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="ssl: no V-JEPA 2; build the stage ssl first"):
        run(small(tmp_path, action="verify"))


def test_the_product_is_built_without_its_opponent(tmp_path, monkeypatch):
    done: list[str] = []
    stages = {
        name: (lambda settings, name=name: done.append(name), None) for name in ("vae", "world", "vlm", "fusion", "ssl")
    }
    monkeypatch.setattr("recipes.build._STAGES", stages)
    run(small(tmp_path, stage="all"))
    assert done == ["vae", "world", "vlm", "fusion"]


def test_varied_scenes_take_their_own_recipe(tmp_path):
    settings = replace(small(tmp_path), scenes="varied", ssl=SslRecipe(batch_size=7))
    assert for_scenes(settings).ssl == replace(SSL, batch_size=7)


def test_an_arm_reads_the_opponent(built, tmp_path):
    """Its given slots come from the encoder, its future ones from the predictor, through the projector of all arms."""
    world = WorldSettings(tap="v-jepa2", cosmos_model_name=str(built / "ssl"), image_size_px=64, frame_rate_hz=6.0)
    arm = Arm(
        name="ssl-encoder",
        reads=Reading(tap="v-jepa2"),
        aligned_on=Reading(tap="true-future", control_of="v-jepa2"),
    )
    settings = ArmsSettings(
        output_dir=tmp_path,
        arms=(arm,),
        primary=("ssl-encoder", "ssl-encoder"),
        seeds=(0,),
        num_labels=(0,),
        model=ModelSettings(gemma_model_name="tiny", dtype="float32", num_world_steps=4, world_grid=4, world=world),
        num_aligned=5,
        num_test=20,
        num_shuffled=20,
        num_static=1,
        imitate_steps=1,
        align_steps=1,
        label_steps=1,
        batch_size=2,
        num_parameters=60_000,
        num_workers=0,
        optim=OptimSettings(weight_decay=0.0),
    )
    run_arms(settings)
    assert (folder_of(settings, arm, 0, 0) / "predictions" / "dynamic.done").exists()
