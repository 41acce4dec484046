"""Surprise is the error of the whole denoiser on the true future, or of V-JEPA 2's predictor, and refuses the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from recipes.world import velocity_loss
from theworld import tiny
from theworld.config import WorldSettings
from theworld.world.surprise import as_measured, open_meter
from theworld.world.tap import clip_noise, clip_seeds, seeds_of_future
from theworld.world.vae import encode_mean

LEVELS = (0.3, 0.8)


@pytest.fixture(scope="module")
def meter(world: Callable[..., WorldSettings]) -> Any:
    return open_meter(as_measured(world("vae")), LEVELS, 2)


@pytest.fixture
def faked(meter: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Tensor]], None]:
    """Put a function in the place of the denoiser."""

    def fake(denoise: Callable[..., Tensor]) -> None:
        monkeypatch.setattr(type(meter.family), "denoise", lambda self, *given: denoise(*given))

    return fake


def test_a_denoiser_that_knows_the_future_is_not_surprised(meter: Any, clips: Tensor, faked: Any) -> None:
    latents = encode_mean(meter.vae, clips)

    def velocity(transformer: Any, noised: Tensor, num_given: int, prompt: Tensor, settings: Any) -> Tensor:
        level = settings.dit_noise_level
        return (noised - latents) / level  # noise - latent, since noised = latent + level * (noise - latent)

    faked(velocity)

    assert meter.measure(clips, 5).by_level.abs().max() < 1e-9


def test_the_error_is_the_mean_square_of_the_velocity_over_the_future_slots(
    meter: Any, clips: Tensor, faked: Any
) -> None:
    faked(lambda transformer, noised, *rest: torch.zeros_like(noised))
    latents = encode_mean(meter.vae, clips)
    seeds = clip_seeds(clips[:, :5], 0)
    draws = [clip_noise(latents.shape[1:], seeds_of_future(seeds, draw)) for draw in range(2)]
    expected = torch.stack([(noise - latents)[:, :, 2:].square().mean((1, 2, 3, 4)) for noise in draws]).mean(0)

    surprise = meter.measure(clips, 5)

    assert torch.allclose(surprise.by_level, expected[:, None].expand(-1, 2))
    assert torch.allclose(surprise.change, (latents[:, :, 2:] - latents[:, :, 1:2]).square().mean((1, 2, 3, 4)))


def test_it_is_the_loss_with_which_the_embedded_denoiser_is_trained(clips: Tensor) -> None:
    settings = WorldSettings(cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0)
    meter: Any = open_meter(as_measured(settings), LEVELS, 1)
    latents = encode_mean(meter.vae, clips)
    noise = clip_noise(latents.shape[1:], clip_seeds(clips[:, :5], 0))

    surprise = meter.measure(clips, 5)

    for column, level in enumerate(LEVELS):
        loss = velocity_loss(meter.transformer, latents, torch.tensor([2, 2, 2]), torch.full((3,), level), noise)
        assert surprise.by_level[:, column].mean().item() == pytest.approx(loss.item(), rel=1e-5)


def test_the_whole_denoiser_runs_and_a_clip_does_not_depend_on_its_batch(meter: Any, clips: Tensor) -> None:
    runs: list[int] = []
    blocks = meter.transformer.transformer_blocks
    handle = blocks[-1].register_forward_hook(lambda *_: runs.append(1))
    surprise = meter.measure(clips, 5)
    handle.remove()

    assert (len(blocks), len(runs)) == (4, len(LEVELS) * 2)
    assert torch.allclose(surprise.by_level[1:2], meter.measure(clips[1:2], 5).by_level, rtol=1e-4)
    assert torch.equal(surprise.by_level, meter.measure(clips, 5).by_level)


def test_two_futures_of_one_past_get_the_same_noise(meter: Any, clips: Tensor, faked: Any) -> None:
    seen: list[Tensor] = []

    def denoise(transformer: Any, noised: Tensor, *rest: Any) -> Tensor:
        seen.append(noised)
        return torch.zeros_like(noised)

    faked(denoise)
    other = torch.cat([clips[:, :5], clips[:, 5:].flip(1)], dim=1)
    meter.measure(clips, 5)
    meter.measure(other, 5)

    assert torch.equal(seen[0][:, :, :2], seen[4][:, :, :2])
    difference = encode_mean(meter.vae, clips) - encode_mean(meter.vae, other)
    assert torch.allclose(
        seen[0] - seen[4], torch.where(torch.arange(3).view(-1, 1, 1) < 2, 0, 0.7 * difference), atol=1e-5
    )


def family(name: str, folder: Path, **more: Any) -> WorldSettings:
    return WorldSettings(cosmos_model_name=str(tiny.build_world(name, folder)), **{"image_size_px": 64, **more})


@pytest.mark.parametrize("name", ["predict2.5", "wan2.2", "cosmos3"])
def test_every_family_that_can_be_told_of_given_frames_is_measured(name: str, tmp_path: Path, clips: Tensor) -> None:
    settings = as_measured(family(name, tmp_path / name))

    surprise = open_meter(settings, LEVELS, 1).measure(clips, 5)

    assert surprise.by_level.shape == (3, 2)
    assert surprise.by_level.isfinite().all()
    assert (surprise.by_level > 0.1).all()  # random weights know nothing


def test_a_family_that_cannot_be_told_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"Wan 2\.1 T2V cannot be told which frames are given.*take Wan 2\.2"
    ) as refusal:
        as_measured(family("wan2.1", tmp_path / "wan"))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("tap", ["siglip", "zero", "true-future"])
def test_a_tap_without_a_prediction_is_refused(tap: Any, world: Callable[..., WorldSettings]) -> None:
    with pytest.raises(ValueError, match=f"world.tap='{tap}': surprise is the error of a denoiser"):
        as_measured(world(tap))


def test_v_jepa2_predicts_states_from_the_given_frames_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = family("v-jepa2", tmp_path / "jepa", tap="v-jepa2")
    meter: Any = open_meter(as_measured(settings), LEVELS, 1)
    frames = torch.randint(0, 256, (2, 9, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    predictor = type(meter.jepa.predictor)
    forward = predictor.forward

    def watched(self: Any, states: Tensor, **masks: Any) -> Any:
        seen.append(states)
        return forward(self, states, **masks)

    monkeypatch.setattr(predictor, "forward", watched)
    surprise = meter.measure(frames, 5)
    other = meter.measure(torch.cat([frames[:, :5], frames[:, 5:].flip(1)], dim=1), 5)

    assert surprise.by_level.shape == (2, 1)
    assert surprise.by_level.isfinite().all()
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(surprise.by_level, other.by_level)


@pytest.mark.parametrize(("num_frames", "num_given"), [(9, 4), (9, 9), (8, 5), (9, 0)])
def test_other_numbers_of_frames_are_refused(meter: Any, clips: Tensor, num_frames: int, num_given: int) -> None:
    with pytest.raises(ValueError, match=rf"{num_given} given frames of {num_frames}: expected 1 \+ 4j"):
        meter.measure(clips[:, :num_frames], num_given)


def test_drawn_weights_are_measured_as_a_baseline(world: Callable[..., WorldSettings], clips: Tensor) -> None:
    settings = as_measured(world("random", control_of="rollout", seed=3))

    surprise = open_meter(settings, LEVELS, 1).measure(clips, 5)

    assert surprise.by_level.isfinite().all()
