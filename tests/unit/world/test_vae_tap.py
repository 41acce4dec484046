"""The taps that read the VAE: `vae` and `true-future`."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from diffusers.pipelines.cosmos.pipeline_cosmos2_video2world import Cosmos2VideoToWorldPipeline
from torch.utils.flop_counter import FlopCounterMode

from theworld.world.factory import open_tap
from theworld.world.guardrail import Guardrail
from theworld.world.loading import load_scheduler, load_transformer, load_vae
from theworld.world.vae import decode, encode_mean

SEEDS = [1, 2, 3]


@pytest.fixture(scope="module")
def tap(world):
    return open_tap(world("vae"))


def test_the_vae_sees_pixels_from_minus_one_to_one(tap, monkeypatch):
    seen = []
    encode = tap.vae.encode
    monkeypatch.setattr(tap.vae, "encode", lambda video, **options: seen.append(video) or encode(video, **options))
    frames = torch.zeros(1, 1, 3, 64, 64, dtype=torch.uint8)
    frames[..., 32:] = 255
    tap.read(frames, 0, [0])
    assert seen[0].shape == (1, 3, 1, 64, 64)
    assert (seen[0][..., :32] == -1).all()
    assert (seen[0][..., 32:] == 1).all()


def test_latents_equal_the_conditioning_of_diffusers_pipeline(world, clips, monkeypatch):
    settings = world("rollout")
    vae, scheduler = load_vae(settings), load_scheduler(settings)
    pipeline = Cosmos2VideoToWorldPipeline(
        None, None, load_transformer(settings), vae, scheduler, safety_checker=Guardrail()
    )
    frames = clips[:, :5]
    # Where the pipeline draws a sample of the posterior, take its mean: the rest is the pipeline's own arithmetic.
    module = "diffusers.pipelines.cosmos.pipeline_cosmos2_video2world.retrieve_latents"
    monkeypatch.setattr(module, lambda output, generator: output.latent_dist.mode())
    video = pipeline.video_processor.preprocess_video(frames.float() / 255, 64, 64)
    with torch.no_grad():
        conditioning = pipeline.prepare_latents(video, 3, 16, 64, 64, 5, False, torch.float32, torch.device("cpu"))[1]
    assert torch.allclose(open_tap(world("vae")).read(frames, 0, SEEDS), conditioning, atol=1e-5)


@pytest.mark.parametrize("num_frames", [1, 5])
def test_first_frames_cost_less_and_have_the_bits_of_diffusers_own_vae(world, clips, num_frames):
    theirs, ours = (load_vae(world("vae")) for _ in range(2))
    for layer in theirs.modules():
        if isinstance(layer, WanCausalConv3d):
            layer.__class__ = WanCausalConv3d
    counted = []
    for vae in (theirs, ours):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            latents = encode_mean(vae, clips[:, :num_frames])
        counted.append((counter.get_total_flops(), latents, decode(vae, latents)))
    assert torch.equal(counted[1][1], counted[0][1])
    assert torch.equal(counted[1][2], counted[0][2])
    assert counted[1][0] < {1: 0.4, 5: 0.9}[num_frames] * counted[0][0]


def test_features_are_normalised_to_about_unit_spread(tap, clips):
    features = tap.read(clips[:, :1], 0, SEEDS)
    assert features.shape == (3, 16, 1, 8, 8)
    assert 0.3 < features.std() < 3
    assert features.mean().abs() < 1


def test_a_clip_of_six_frames_is_refused(tap, clips):
    with pytest.raises(ValueError, match="6 frames"):
        tap.read(clips[:, :6], 0, SEEDS)


def test_a_future_is_refused(tap, clips):
    with pytest.raises(ValueError, match="looks ahead"):
        tap.read(clips[:, :1], 1, SEEDS)


def test_seeds_play_no_part(tap, clips):
    assert torch.equal(tap.read(clips[:, :5], 0, [1, 2, 3]), tap.read(clips[:, :5], 0, [7, 8, 9]))


def test_clips_are_counted(world, clips):
    tap = open_tap(world("vae"))
    tap.read(clips[:, :1], 0, SEEDS)
    tap.read(clips[:2, :1], 0, SEEDS[:2])
    assert tap.clips_read == 5


def test_a_frozen_tap_gives_no_gradient_and_leaves_gradients_enabled(tap, clips):
    assert not tap.read(clips[:, :1], 0, SEEDS).requires_grad
    assert not any(parameter.requires_grad for parameter in tap.vae.parameters())
    assert torch.is_grad_enabled()


def test_gradients_reach_a_vae_that_trains(world, clips):
    vae = load_vae(world("vae"))
    encode_mean(vae, clips[:1, :1]).square().mean().backward()
    assert vae.encoder.conv_in.weight.grad.abs().max() > 0


def test_features_are_float32_whatever_the_format_of_the_weights(world, clips, tap):
    half = open_tap(world("vae", dtype="bfloat16"))
    assert next(half.vae.parameters()).dtype == torch.bfloat16
    features = half.read(clips[:, :1], 0, SEEDS)
    assert features.dtype == torch.float32
    assert 0 < (features - tap.read(clips[:, :1], 0, SEEDS)).abs().max() < 0.2


def test_only_true_future_sees_the_frames_after_the_clip(world, tap, clips):
    other_end = clips.clone()
    other_end[:, 5:] = 255 - other_end[:, 5:]
    oracle = open_tap(world("true-future"))
    before, after = oracle.read(clips, 1, SEEDS), oracle.read(other_end, 1, SEEDS)
    assert before.shape == (3, 16, 3, 8, 8)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert (before[:, :, 2] - after[:, :, 2]).abs().max() > 0.1
    assert torch.equal(before[:, :, :2], tap.read(clips[:, :5], 0, SEEDS))


def test_true_future_needs_as_many_frames_as_slots_are_asked_for(world, clips):
    with pytest.raises(ValueError, match="at least 9 frames"):
        open_tap(world("true-future")).read(clips[:, :5], 2, SEEDS)
