"""The tap inside the denoiser: its input, the block that it reads, and the blocks that never run."""

import pytest
import torch

from theworld.world.dit import DitTap, states_at
from theworld.world.factory import open_tap
from theworld.world.families.predict2 import GIVEN_NOISE_LEVEL
from theworld.world.loading import load_transformer
from theworld.world.tap import clip_noise

SEEDS = [1, 2, 3]
BLOCK = 1


@pytest.fixture(scope="module")
def tap(world):
    return open_tap(world("dit"))


@pytest.fixture(scope="module")
def denoised(world):
    return open_tap(world("dit", dit_future="denoised"))


@pytest.fixture
def full(world):
    """The whole transformer, as another tap loads it."""
    return load_transformer(world("rollout"))


def inputs_of(tap: DitTap, *given) -> tuple[torch.Tensor, list[dict]]:
    """The feature, and what each forward of the denoiser was given."""
    calls = []
    handle = tap.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True
    )
    feature = tap.read(*given)
    handle.remove()
    return feature, calls


@pytest.mark.parametrize("num_world_steps", [0, 2])
def test_the_feature_equals_a_hook_on_the_full_forward_bit_for_bit(tap, full, clips, num_world_steps):
    feature, calls = inputs_of(tap, clips[:, :5], num_world_steps, SEEDS)
    outputs = []
    full.transformer_blocks[BLOCK].register_forward_hook(lambda module, args, output: outputs.append(output))
    with torch.no_grad():
        full(**calls[0])
    num_slots = 2 + num_world_steps
    assert feature.shape == (3, 48, num_slots, 4, 4)
    assert torch.equal(feature.permute(0, 2, 3, 4, 1).reshape(3, num_slots * 16, 48), outputs[0])
    assert feature.isfinite().all()


def test_one_forward_is_enough_and_later_blocks_are_not_even_loaded(tap, clips):
    assert len(tap.transformer.transformer_blocks) == BLOCK + 1
    _, calls = inputs_of(tap, clips[:, :5], 2, SEEDS)
    assert len(calls) == 1


def test_later_blocks_of_a_whole_transformer_do_not_run(denoised, clips):
    runs = [0, 0, 0, 0]

    def count(index):
        def hook(module, args, output):
            runs[index] += 1

        return hook

    handles = [
        block.register_forward_hook(count(index)) for index, block in enumerate(denoised.transformer.transformer_blocks)
    ]
    denoised.read(clips[:, :5], 0, SEEDS)
    for handle in handles:
        handle.remove()
    assert runs == [1, 1, 0, 0]


def test_a_clip_without_a_future_is_noised_itself(tap, world, clips):
    _, calls = inputs_of(tap, clips[:, :5], 0, SEEDS)
    latents = open_tap(world("vae")).read(clips[:, :5], 0, SEEDS)
    noise = clip_noise((16, 2, 8, 8), SEEDS)
    assert torch.allclose(calls[0]["hidden_states"], 0.7 * latents + 0.3 * noise, atol=1e-6)
    assert torch.equal(calls[0]["timestep"], torch.full((3, 1, 2, 1, 1), 0.3))
    assert not calls[0]["condition_mask"].any()


def test_repeat_noises_the_last_latent_and_leaves_the_given_ones_clean(tap, world, clips):
    _, calls = inputs_of(tap, clips[:, :5], 2, SEEDS)
    latents = open_tap(world("vae")).read(clips[:, :5], 0, SEEDS)
    noise = clip_noise((16, 4, 8, 8), SEEDS)
    given, future = calls[0]["hidden_states"].split(2, dim=2)
    assert torch.equal(given, latents)
    assert torch.allclose(future, 0.7 * latents[:, :, 1:] + 0.3 * noise[:, :, 2:], atol=1e-6)
    assert calls[0]["timestep"][0].flatten().tolist() == pytest.approx([1e-4, 1e-4, 0.3, 0.3], rel=1e-3)
    assert calls[0]["condition_mask"][0, 0, :, 0, 0].tolist() == [1, 1, 0, 0]
    assert calls[0]["condition_mask"].shape == (3, 1, 4, 8, 8)


def test_given_slots_have_the_timestep_that_the_pipeline_gives_them(denoised, clips):
    _, calls = inputs_of(denoised, clips[:, :5], 2, SEEDS)
    assert calls[0]["timestep"][0, 0, :2].flatten().tolist() == pytest.approx([GIVEN_NOISE_LEVEL] * 2, rel=1e-6)
    assert calls[0]["condition_mask"][0, 0, :, 0, 0].tolist() == [1, 1, 0, 0]


def test_repeat_and_denoised_ask_the_denoiser_in_the_same_way(tap, denoised, clips):
    repeated, sampled = (inputs_of(each, clips[:, :5], 2, SEEDS)[1][-1] for each in (tap, denoised))
    assert repeated.keys() == sampled.keys()
    for name in ("encoder_hidden_states", "condition_mask", "padding_mask"):
        assert torch.equal(repeated[name], sampled[name]), name
    assert repeated["fps"] == sampled["fps"]
    assert torch.allclose(repeated["hidden_states"][:, :, :2], sampled["hidden_states"][:, :, :2], atol=1e-6)


def test_denoised_reads_the_first_forward_at_or_below_the_noise_level(denoised, world, full, clips):
    feature, calls = inputs_of(denoised, clips[:, :5], 2, SEEDS)
    levels = [call["timestep"][0, 0, -1].item() for call in calls]
    assert levels[0] == pytest.approx(80 / 81)
    assert all(level > 0.3 for level in levels[:-1])
    assert levels[-1] <= 0.3
    with torch.no_grad():
        states = states_at(full.transformer_blocks[BLOCK], lambda: full(**calls[-1]))
    assert torch.equal(feature.permute(0, 2, 3, 4, 1).reshape(3, 64, 48), states)


def test_denoised_walks_the_states_of_the_rollout(denoised, world, clips):
    rollout = open_tap(world("rollout"))
    seen = []
    rollout.pipeline.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["hidden_states"]), with_kwargs=True
    )
    rollout.read(clips[:, :5], 2, SEEDS)
    _, calls = inputs_of(denoised, clips[:, :5], 2, SEEDS)
    for call, states in zip(calls, seen, strict=False):
        assert torch.equal(call["hidden_states"], states)


def test_two_steps_of_denoising_reach_any_level_that_the_schedule_has(world, clips):
    tap = open_tap(world("dit", dit_future="denoised", num_inference_steps=2, dit_noise_level=0.01))
    assert tap.read(clips[:1, :1], 1, [1]).isfinite().all()


def test_a_level_below_the_last_of_the_schedule_is_refused(world):
    with pytest.raises(ValueError, match="noise ends at"):
        open_tap(world("dit", dit_future="denoised", dit_noise_level=0.001))


def test_a_future_is_refused_when_nothing_fills_it(world, clips):
    with pytest.raises(ValueError, match="no future slots"):
        open_tap(world("dit", dit_future="none")).read(clips[:, :1], 1, SEEDS)


@pytest.mark.parametrize("future", ["repeat", "denoised"])
def test_a_clip_gives_the_same_feature_alone_and_in_any_batch(world, clips, future):
    tap = open_tap(world("dit", dit_future=future))
    together = tap.read(clips[:, :5], 1, SEEDS)
    reversed_order = tap.read(clips[:, :5].flip(0), 1, SEEDS[::-1]).flip(0)
    alone = torch.cat([tap.read(clips[i : i + 1, :5], 1, [SEEDS[i]]) for i in range(3)])
    assert (together - alone).abs().max() < 1e-4
    assert (together - reversed_order).abs().max() < 1e-4


def test_block_level_and_frame_rate_each_change_the_feature(tap, world, clips):
    base = tap.read(clips[:1, :1], 1, [1])
    for change in ({"dit_block": 2}, {"dit_noise_level": 0.6}, {"frame_rate_hz": 4.0}, {"dit_future": "denoised"}):
        other = open_tap(world("dit", **change)).read(clips[:1, :1], 1, [1])
        assert (other - base).abs().max() > 1e-4, change


def test_a_block_that_never_runs_is_an_error():
    with pytest.raises(RuntimeError, match="never ran"):
        states_at(torch.nn.Identity(), lambda: None)
