"""The tap that imagines: diffusers' pipeline, its conditioning, its noise, and the guardrail that it never meets."""

import importlib
import sys

import pytest
import torch
from diffusers.pipelines.cosmos.pipeline_cosmos2_video2world import Cosmos2VideoToWorldPipeline
from diffusers.utils import import_utils

import theworld.world.families
import theworld.world.families.predict2
from theworld.world.factory import open_tap
from theworld.world.guardrail import Guardrail, GuardrailRequiredError
from theworld.world.tap import clip_noise

SEEDS = [1, 2, 3]


@pytest.fixture(scope="module")
def tap(world):
    return open_tap(world("rollout"))


def count_forwards(tap, monkeypatch) -> list[int]:
    forwards = []
    forward = tap.pipeline.transformer.forward
    monkeypatch.setattr(tap.pipeline.transformer, "forward", lambda **given: forwards.append(1) or forward(**given))
    return forwards


def test_world_steps_count_latent_slots(tap, clips, monkeypatch):
    asked = []
    prepare = type(tap.pipeline).prepare_latents

    def spy(self, video, batch_size, channels, height, width, num_frames, *rest):
        asked.append((video.shape[2], num_frames))
        return prepare(self, video, batch_size, channels, height, width, num_frames, *rest)

    monkeypatch.setattr(type(tap.pipeline), "prepare_latents", spy)
    assert tap.read(clips[:1, :1], 2, [1]).shape == (1, 16, 3, 8, 8)
    assert tap.read(clips[:1, :5], 2, [1]).shape == (1, 16, 4, 8, 8)
    assert asked == [(1, 1 + 4 * 2), (5, 5 + 4 * 2)]


def test_given_slots_are_the_mean_of_the_vae_bit_for_bit(tap, world, clips):
    mean = open_tap(world("vae")).read(clips[:, :5], 0, SEEDS)
    assert torch.equal(tap.read(clips[:, :5], 2, SEEDS)[:, :, :2], mean)


def test_without_a_future_the_denoiser_does_not_run(tap, world, clips, monkeypatch):
    forwards = count_forwards(tap, monkeypatch)
    mean = open_tap(world("vae")).read(clips[:, :5], 0, SEEDS)
    assert torch.equal(tap.read(clips[:, :5], 0, SEEDS), mean)
    assert not forwards


def test_imagined_slots_equal_those_of_diffusers_pipeline(tap, clips, monkeypatch):
    own = tap.pipeline
    original = Cosmos2VideoToWorldPipeline(
        None, None, own.transformer, own.vae, own.scheduler, safety_checker=Guardrail()
    )
    original.set_progress_bar_config(disable=True)
    module = "diffusers.pipelines.cosmos.pipeline_cosmos2_video2world.retrieve_latents"
    monkeypatch.setattr(module, lambda output, generator: output.latent_dist.mode())
    expected = original(
        video=clips[:, :5].float() / 255,
        prompt_embeds=torch.zeros(3, 512, 32),
        height=64,
        width=64,
        num_frames=13,
        num_inference_steps=4,
        guidance_scale=1.0,
        fps=16,
        latents=clip_noise((16, 4, 8, 8), SEEDS),
        output_type="latent",
    ).frames
    assert torch.allclose(tap.read(clips[:, :5], 2, SEEDS)[:, :, 2:], expected[:, :, 2:], atol=1e-5)


def test_the_last_forward_is_skipped_because_it_changes_nothing(tap, clips, monkeypatch):
    whole = tap.pipeline.imagine(clips[:1, :1], 2, [1], tap.settings)
    forwards = count_forwards(tap, monkeypatch)
    assert torch.equal(tap.read(clips[:1, :1], 2, [1]), whole)
    assert len(forwards) == tap.settings.num_inference_steps - 1


def test_a_clip_gives_the_same_feature_alone_and_in_any_batch(tap, clips):
    together = tap.read(clips[:, :5], 2, SEEDS)
    reversed_order = tap.read(clips[:, :5].flip(0), 2, SEEDS[::-1]).flip(0)
    alone = torch.cat([tap.read(clips[i : i + 1, :5], 2, [SEEDS[i]]) for i in range(3)])
    assert (together - alone).abs().max() < 1e-4
    assert (together - reversed_order).abs().max() < 1e-4


def test_the_seed_decides_the_future(tap, clips):
    one, same, other = (tap.read(clips[:1, :1], 1, [seed]) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert (one - other).abs().max() > 0.01


def test_the_frame_rate_reaches_the_denoiser(tap, world, clips):
    slow = open_tap(world("rollout", frame_rate_hz=4.5))
    assert (slow.read(clips[:1, :1], 2, [1]) - tap.read(clips[:1, :1], 2, [1])).abs().max() > 1e-4


def test_gradients_stay_enabled(tap, clips):
    tap.read(clips[:1, :1], 1, [1])
    assert torch.is_grad_enabled()


def test_a_scheduler_without_karras_sigmas_is_refused(cosmos, world, tmp_path):
    for part in ("vae", "transformer"):
        (tmp_path / part).symlink_to(cosmos / part)
    (tmp_path / "scheduler").mkdir()
    config = (cosmos / "scheduler" / "scheduler_config.json").read_text()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text(
        config.replace('"use_karras_sigmas": true', '"use_karras_sigmas": false')
    )
    with pytest.raises(ValueError, match="Karras"):
        open_tap(world("rollout", cosmos_model_name=str(tmp_path)))


def test_the_guardrail_is_never_asked_for_latents(tap, clips, monkeypatch):
    def fail(*given):
        raise AssertionError("asked")

    monkeypatch.setattr(Guardrail, "check_text_safety", fail)
    monkeypatch.setattr(Guardrail, "check_video_safety", fail)
    tap.read(clips[:1, :1], 1, [1])


def test_prompts_and_decoded_videos_are_refused_and_the_guardrail_named(tap, clips, monkeypatch):
    monkeypatch.setitem(sys.modules, "cosmos_guardrail", None)  # as if it were not installed
    monkeypatch.setattr(tap.pipeline, "safety_checker", Guardrail())
    call = {
        "video": clips[:1, :1].float() / 255,
        "height": 64,
        "width": 64,
        "num_frames": 5,
        "num_inference_steps": 2,
        "guidance_scale": 1.0,
        "latents": clip_noise((16, 2, 8, 8), [1]),
    }
    with pytest.raises(GuardrailRequiredError, match=r"theworld\[guardrail\]"):
        tap.pipeline(prompt="a ball", **call)
    with pytest.raises(GuardrailRequiredError, match=r"theworld\[guardrail\]"):
        tap.pipeline(prompt_embeds=torch.zeros(1, 1, 32), output_type="np", **call)


def test_an_installed_guardrail_is_not_imported(monkeypatch):
    class Installed:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "cosmos_guardrail":
                raise AssertionError("cosmos_guardrail was imported")

    monkeypatch.setattr(sys, "meta_path", [Installed, *sys.meta_path])
    monkeypatch.setattr(import_utils, "_cosmos_guardrail_available", True)
    package = sys.modules["diffusers.pipelines.cosmos"]
    monkeypatch.setattr(package, "pipeline_cosmos2_video2world", package.pipeline_cosmos2_video2world)
    families = theworld.world.families
    monkeypatch.setattr(families, "predict2", families.predict2)
    for name in ("diffusers.pipelines.cosmos.pipeline_cosmos2_video2world", "theworld.world.families.predict2"):
        monkeypatch.delitem(sys.modules, name)
    before = families.predict2.RolloutPipeline
    fresh = importlib.import_module("theworld.world.families.predict2")
    assert fresh.RolloutPipeline is not before
    assert import_utils._cosmos_guardrail_available is True
