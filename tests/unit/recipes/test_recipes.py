"""Recipes of the embedded default: whole clips equal chunks, pools fill up, a killed build continues bit for bit."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

from recipes import pools as pools
from recipes import trainer
from recipes.build import run
from recipes.pools import ClipPool, held_out
from recipes.settings import TinySettings, VaePhase, VaeRecipe
from recipes.vae import LATENT_NOISE, VaeObjective, channels_last, decode, encode_clips, encode_mean, psnr_db
from theworld.datasets import foresight
from theworld.tiny.cosmos import tiny_vae

SIZE_PX = 16


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CLIPS_PER_PIECE", 10)


def small(folder: Path, num_steps: int = 3, action: Literal["build", "verify"] = "build") -> TinySettings:
    """Two steps on windows of five frames, then `num_steps` on whole clips."""
    phases = (
        VaePhase(num_frames=5, batch_size=2, num_steps=2, learning_rate=1e-3),
        VaePhase(num_frames=17, batch_size=2, num_steps=num_steps, learning_rate=1e-3),
    )
    return TinySettings(
        action=action,
        stage="vae",
        output_dir=folder,
        image_size_px=SIZE_PX,
        num_threads=1,
        vae=VaeRecipe(num_clips=20, phases=phases, warmup_steps=1, num_held_out=2, measure_steps=2),
    )


@pytest.mark.parametrize("num_frames", [1, 5, 17])
@torch.no_grad()
def test_a_whole_clip_is_what_diffusers_computes_in_chunks(num_frames):
    vae = tiny_vae().eval()
    channels_last(vae)
    pixels = torch.rand(2, 3, num_frames, SIZE_PX, SIZE_PX) * 2 - 1
    latents = encode_mean(vae, pixels)
    expected = vae.encode(pixels, return_dict=False)[0].mean
    assert latents.shape == (2, 16, (num_frames + 3) // 4, 2, 2)
    torch.testing.assert_close(latents, expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(
        decode(vae, latents).clamp(-1, 1), vae.decode(latents, return_dict=False)[0], atol=2e-5, rtol=0
    )


def test_a_clip_that_leaves_a_slot_unfilled_is_refused():
    with pytest.raises(ValueError, match="a clip of 4 frames: expected 4 j"):
        encode_mean(tiny_vae(), torch.zeros(1, 3, 4, SIZE_PX, SIZE_PX))


def test_a_pool_holds_the_clips_of_the_world_split_and_none_that_is_held_out(tmp_path):
    pool = ClipPool(tmp_path, 12, SIZE_PX)
    assert len(pool) == 12
    assert np.array_equal(pool[11]["clips"], foresight.world_clip(11, SIZE_PX))
    with pytest.raises(IndexError):
        pool[12]
    first = held_out(1, SIZE_PX)[0]
    assert not any(np.array_equal(first, pool[index]["clips"]) for index in range(12))


def test_a_pool_that_was_interrupted_is_filled_up_and_the_rest_left_alone(tmp_path):
    ClipPool(tmp_path, 20, SIZE_PX)
    kept = (tmp_path / "00000000.npy").stat().st_mtime_ns
    (tmp_path / "00000010.npy").unlink()
    assert np.array_equal(ClipPool(tmp_path, 20, SIZE_PX)[13]["clips"], foresight.world_clip(13, SIZE_PX))
    assert (tmp_path / "00000000.npy").stat().st_mtime_ns == kept


def test_a_pool_of_other_clips_is_refused(tmp_path):
    ClipPool(tmp_path, 10, SIZE_PX)
    with pytest.raises(ValueError, match=r"belongs to another run \(clip 0: '17x16x16x3"):
        ClipPool(tmp_path, 10, 2 * SIZE_PX)


def test_the_loss_counts_coloured_pixels_five_times():
    vae = tiny_vae()
    for parameter in vae.parameters():
        torch.nn.init.zeros_(parameter)
    grey = torch.full((1, 17, SIZE_PX, SIZE_PX, 3), 255, dtype=torch.uint8)
    red = grey.clone()
    red[..., 1:] = 0  # as far from the decoded zero as white is
    objective = VaeObjective(vae, np.zeros((1, 17, SIZE_PX, SIZE_PX, 3), np.uint8))
    assert objective(grey)["loss"].item() == pytest.approx(1.0)
    assert objective(red)["loss"].item() == pytest.approx(5.0)


def test_a_build_gives_latents_of_unit_scale_a_posterior_of_the_trained_noise_and_curves(tmp_path):
    found = run(small(tmp_path))["vae"]
    vae = AutoencoderKLWan.from_pretrained(found["vae"])
    clips = np.stack([foresight.world_clip(index, SIZE_PX) for index in range(20)])
    latents = encode_clips(vae, clips)
    mean, std = (torch.tensor(vae.config[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    normalised = (latents - mean) / std
    assert normalised.mean(dim=(0, 2, 3, 4)).abs().max() < 0.02
    torch.testing.assert_close(normalised.std(dim=(0, 2, 3, 4)), torch.ones(16), atol=0.02, rtol=0)
    with torch.no_grad():
        posterior = vae.encode(torch.zeros(1, 3, 1, SIZE_PX, SIZE_PX), return_dict=False)[0]
    # Weights are stored in float16: a 2048th of each may be lost.
    torch.testing.assert_close(posterior.std, torch.full_like(posterior.std, LATENT_NOISE), atol=1e-4, rtol=0)
    measured = [row for row in trainer.read_curves(tmp_path / "vae" / "2") if "psnr_db" in row]
    assert [row["step"] for row in measured] == [2, 3]
    assert measured[-1]["psnr_db"] == pytest.approx(found["psnr_db"], abs=1e-2)
    assert found["psnr_db"] == pytest.approx(psnr_db(vae, held_out(2, SIZE_PX)), abs=1e-3)
    assert run(small(tmp_path, action="verify"))["vae"] == found


class Killed(BaseException):
    pass


def test_a_killed_build_continues_bit_for_bit_and_a_finished_one_trains_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    weights = "cosmos/vae/diffusion_pytorch_model.safetensors"
    run(small(tmp_path / "whole"))

    steps: list[int] = []

    def after_step(objective: VaeObjective) -> None:
        steps.append(len(steps) + 1)
        if len(steps) == 4:
            raise Killed

    monkeypatch.setattr(VaeObjective, "after_step", after_step)
    with pytest.raises(Killed):
        run(small(tmp_path / "killed"))
    (tmp_path / "killed" / "vae" / "2" / ".saving" / "checkpoint-2").mkdir(parents=True)  # killed while it was saving
    run(small(tmp_path / "killed"))
    assert len(steps) == 6  # the fourth step was done twice
    assert (tmp_path / "killed" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    run(small(tmp_path / "killed"))
    assert len(steps) == 6
    rows = trainer.read_curves(tmp_path / "killed" / "vae" / "2")
    assert [row["step"] for row in rows if "psnr_db" in row] == [2, 3]


def test_a_build_is_not_continued_from_a_checkpoint_without_its_optimizer(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    steps: list[int] = []

    def after_step(objective: VaeObjective) -> None:
        steps.append(len(steps) + 1)
        if len(steps) == 4:
            raise Killed

    monkeypatch.setattr(VaeObjective, "after_step", after_step)
    with pytest.raises(Killed):
        run(small(tmp_path))
    for path in (tmp_path / "vae").rglob("optimizer.pt"):
        path.unlink()
    with pytest.raises(ValueError, match="optimizer is missing"):
        run(small(tmp_path))


def test_a_folder_that_was_begun_with_another_recipe_is_refused(tmp_path):
    run(small(tmp_path, num_steps=1))
    with pytest.raises(ValueError, match="belongs to another run"):
        run(small(tmp_path, num_steps=2))


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path):
    class Diverged(trainer.Objective):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, clips: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": self.weight * float("nan")}

    with pytest.raises(ValueError, match="loss nan at step 50"):
        trainer.train_on_cpu(
            Diverged(), ClipPool(tmp_path / "clips", 10, SIZE_PX), tmp_path / "run", {}, 100, max_steps=60
        )
    assert json.loads((tmp_path / "run" / "recipe.json").read_text()) == {}
