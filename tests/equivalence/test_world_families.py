"""Every family is read as diffusers' own pipeline runs it, on random weights: inputs, steps, blocks and futures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.cosmos.pipeline_cosmos2_5_predict import Cosmos2_5_PredictBasePipeline
from diffusers.pipelines.cosmos.pipeline_cosmos3_omni import Cosmos3OmniPipeline
from diffusers.pipelines.wan.pipeline_wan import WanPipeline
from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from theworld import tiny
from theworld.config import WorldSettings
from theworld.tiny.tokenizer import train_tokenizer
from theworld.world.factory import open_tap
from theworld.world.families import predict2_5, wan2_2
from theworld.world.families.cosmos3 import Cosmos3
from theworld.world.guardrail import Guardrail
from theworld.world.loading import load_prompt, load_scheduler, load_transformer, load_vae
from theworld.world.tap import clip_noise
from theworld.world.vae import encode_mean

BLOCK, STEPS = 1, 3
FAMILIES = ("predict2", "predict2.5", "wan2.1", "wan2.2", "cosmos3")
IMAGINE = ("predict2.5", "wan2.2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("worlds")
    return {family: tiny.build_world(family, root / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def settings(folders: dict[str, Path]) -> Callable[..., WorldSettings]:
    def of(family: str, tap: Any, **changes: Any) -> WorldSettings:
        given = {"image_size_px": 64, "num_inference_steps": STEPS, "dit_block": BLOCK, **changes}
        return WorldSettings(tap=tap, cosmos_model_name=str(folders[family]), **given)

    return of


@pytest.fixture(scope="module")
def clips() -> Tensor:
    return torch.randint(0, 256, (2, 9, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def pipelines_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let given latents round as in diffusers' pipelines, which multiply by a reciprocal: all else is bit for bit."""

    def encoded(vae: Any, frames: Tensor) -> Tensor:
        mode = vae.encode((frames.float() / 255 * 2 - 1).transpose(1, 2)).latent_dist.mode()
        mean, std = (torch.tensor(vae.config[name]).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
        rounded = (mode - mean) * (1.0 / std)
        assert torch.allclose(rounded, encode_mean(vae, frames), atol=2e-6)
        return rounded

    monkeypatch.setattr(predict2_5, "encode_mean", encoded)
    monkeypatch.setattr(wan2_2, "encode_mean", encoded)


class Watch:
    """The inputs and outputs of each forward of a transformer, and the outputs of one block."""

    def __init__(self, transformer: Any, block: Any) -> None:
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[Tensor] = []
        self.states: list[Tensor] = []
        transformer.register_forward_pre_hook(lambda module, args, kwargs: self._note(kwargs), with_kwargs=True)
        transformer.register_forward_hook(lambda module, args, output: self.outputs.append(_tensor(output[0]).clone()))
        block.register_forward_hook(lambda module, args, output: self.states.append(_video_states(output).clone()))

    def _note(self, kwargs: dict[str, Any]) -> None:
        self.inputs.append({name: v.clone() if isinstance(v, Tensor) else v for name, v in kwargs.items()})


def blocks(transformer: Any) -> Any:
    return next(
        getattr(transformer, name) for name in ("transformer_blocks", "blocks", "layers") if name in dir(transformer)
    )


def _video_states(output: Any) -> Tensor:
    """A block's output; of Cosmos 3's two streams the one that generates."""
    return output[1][None] if isinstance(output, tuple) else output


def _tensor(output: Any) -> Tensor:
    return output[0] if isinstance(output, list) else output


def assert_same_input(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name, value in theirs.items():
        if isinstance(value, list):
            assert all(map(_equal, ours[name], value)), name
        elif isinstance(value, Tensor):
            assert torch.equal(ours[name].to(value.dtype), value), name
        elif name not in ("attention_kwargs",):
            assert ours.get(name) == value, name
    assert ours.keys() <= theirs.keys()


def run_original(family: str, given: WorldSettings, frames: Tensor, num_world_steps: int) -> tuple[Tensor, Watch, list]:
    """Run diffusers' own pipeline on one clip; return its latents, what its denoiser saw, and latents after steps."""
    vae: Any = load_vae(given)
    transformer, scheduler, prompt = load_transformer(given), load_scheduler(given), load_prompt(given)
    watch, after = Watch(transformer, blocks(transformer)[BLOCK]), []
    absent: Any = None
    video = frames.float() / 255
    num_frames = frames.shape[1] + 4 * num_world_steps
    grid = 64 // vae.config.scale_factor_spatial
    latents = clip_noise((vae.config.z_dim, 1 + (num_frames - 1) // 4, grid, grid), [7])

    def note(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        after.append(tensors["latents"].clone())
        return {}

    options: dict[str, Any] = {
        "prompt_embeds": prompt,
        "height": 64,
        "width": 64,
        "num_frames": num_frames,
        "num_inference_steps": given.num_inference_steps,
        "guidance_scale": 1.0,
        "latents": latents,
        "output_type": "latent",
        "callback_on_step_end": note,
    }
    if family == "predict2.5":
        checker: Any = Guardrail()
        cosmos: Any = Cosmos2_5_PredictBasePipeline(absent, absent, transformer, vae, scheduler, checker)
        num_given = (frames.shape[1] - 1) // 4 + 1
        both = (video * 2 - 1).transpose(1, 2)
        result = cosmos(video=both, num_latent_conditional_frames=num_given, **options).frames
    else:
        wan: Any = WanImageToVideoPipeline(
            absent, absent, vae, scheduler, transformer=transformer, expand_timesteps=True
        )
        result = wan(image=video[:, 0], **options).frames
    return result, watch, after  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("family", FAMILIES)
def test_given_latents_are_the_normalised_mode_of_the_vae(
    family: str, settings: Callable[..., WorldSettings], clips: Tensor
) -> None:
    given = settings(family, "vae")
    vae: Any = load_vae(given)
    with torch.no_grad():
        mode = vae.encode((clips[:, :5].float() / 255 * 2 - 1).transpose(1, 2)).latent_dist.mode()
    mean, std = (torch.tensor(vae.config[name]).view(-1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    assert torch.equal(open_tap(given).read(clips[:, :5], 0, [1, 2]), (mode - mean) / std)


@pytest.mark.parametrize("num_world_steps", [0, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_state_equals_a_hook_on_the_whole_denoiser_bit_for_bit_and_later_blocks_are_not_loaded(
    family: str, num_world_steps: int, settings: Callable[..., WorldSettings], clips: Tensor
) -> None:
    given = settings(family, "dit")
    tap: Any = open_tap(given)
    assert len(blocks(tap.transformer)) == BLOCK + 1
    inputs: list[dict[str, Any]] = []
    tap.transformer.register_forward_pre_hook(lambda module, args, kwargs: inputs.append(kwargs), with_kwargs=True)
    feature = tap.read(clips[:, :5], num_world_steps, [1, 2])
    assert len(inputs) == (2 if family == "cosmos3" else 1)
    whole: Any = load_transformer(settings(family, "dit", dit_block=3))
    assert len(blocks(whole)) == 4
    watch = Watch(whole, blocks(whole)[BLOCK])
    with torch.no_grad():
        for given_input in inputs:
            whole(**given_input)
    assert torch.equal(feature.permute(0, 2, 3, 4, 1).flatten(1, 3), torch.cat(watch.states))
    assert all((output != 0).any() for output in watch.outputs)


def _equal(one: Any, two: Any) -> bool:
    return torch.equal(one, two) if isinstance(one, Tensor) else tuple(one) == tuple(two)


@pytest.mark.usefixtures("pipelines_rounding")
@pytest.mark.parametrize(("family", "num_given"), [("predict2.5", 1), ("predict2.5", 5), ("wan2.2", 1)])
def test_every_step_of_a_rollout_is_that_of_diffusers_pipeline(
    family: str, num_given: int, settings: Callable[..., WorldSettings], clips: Tensor
) -> None:
    given = settings(family, "rollout")
    expected, original, after = run_original(family, given, clips[:1, :num_given], 2)
    tap: Any = open_tap(given)
    watch, ours = Watch(tap.pipeline.transformer, blocks(tap.pipeline.transformer)[BLOCK]), []

    def note(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        ours.append(tensors["latents"].clone())
        return {}

    with torch.no_grad():
        future = tap.pipeline.imagine(clips[:1, :num_given], 2, [7], given, note)
    assert len(watch.inputs) == len(original.inputs) == STEPS
    for mine, theirs in zip(watch.inputs, original.inputs, strict=True):
        assert_same_input(mine, theirs)
    assert all(map(torch.equal, watch.states, original.states))
    num_slots = (num_given - 1) // 4 + 1
    for mine, theirs in zip(ours, after, strict=True):
        assert torch.equal(mine[:, :, num_slots:], theirs[:, :, num_slots:])
    assert torch.equal(future[:, :, num_slots:], expected[:, :, num_slots:])
    assert torch.equal(tap.read(clips[:1, :num_given], 2, [7]), future)
    assert (after[0] - after[-1]).abs().max() > 0.1


@pytest.mark.usefixtures("pipelines_rounding")
@pytest.mark.parametrize("family", IMAGINE)
def test_a_denoised_state_is_a_hook_on_diffusers_pipeline_at_its_step(
    family: str, settings: Callable[..., WorldSettings], clips: Tensor
) -> None:
    given = settings(family, "dit", dit_future="denoised", dit_noise_level=0.9)
    _, original, _ = run_original(family, given, clips[:1, :1], 2)
    scale = 1_000 if family == "wan2.2" else 1
    levels = [call["timestep"].flatten()[-1].item() / scale for call in original.inputs]
    step = next(step for step, level in enumerate(levels) if level <= 0.9)
    assert 0 < step < STEPS
    feature = open_tap(given).read(clips[:1, :1], 2, [7])
    assert torch.equal(feature.permute(0, 2, 3, 4, 1).flatten(1, 3), original.states[step])


@pytest.mark.parametrize("family", ["wan2.1", "wan2.2"])
def test_a_noised_clip_is_read_as_wans_own_pipeline_runs_it(
    family: str, settings: Callable[..., WorldSettings], clips: Tensor
) -> None:
    given = settings(family, "dit", dit_noise_level=0.999)
    tap: Any = open_tap(given)
    inputs: list[dict[str, Any]] = []
    tap.transformer.register_forward_pre_hook(lambda module, args, kwargs: inputs.append(kwargs), with_kwargs=True)
    feature = tap.read(clips[:1, :5], 0, [7])
    whole: Any = load_transformer(settings(family, "dit", dit_block=3))
    watch = Watch(whole, blocks(whole)[BLOCK])
    absent: Any = None
    expand = family == "wan2.2"
    vae: Any = load_vae(given)
    pipeline = WanPipeline(absent, absent, vae, load_scheduler(given), whole, expand_timesteps=expand)
    pipeline(
        prompt_embeds=load_prompt(given),
        height=64,
        width=64,
        num_frames=5,
        num_inference_steps=1,
        guidance_scale=1.0,
        latents=inputs[0]["hidden_states"],
        output_type="latent",
    )
    assert watch.inputs[0]["timestep"].flatten()[0].item() == 999
    assert_same_input(inputs[0], watch.inputs[0])
    assert torch.equal(feature.permute(0, 2, 3, 4, 1).flatten(1, 3), watch.states[0])


def test_the_null_prompt_of_predict2_5_is_the_stored_one_and_changes_its_states(
    folders: dict[str, Path], settings: Callable[..., WorldSettings], clips: Tensor
) -> None:
    given = settings("predict2.5", "dit")
    tap: Any = open_tap(given)
    stored = load_file(folders["predict2.5"] / "null_prompt" / "prompt.safetensors")["prompt"]
    assert torch.equal(tap.prompt[0], stored)
    feature = tap.read(clips[:1, :1], 0, [7])
    tap.prompt = torch.zeros_like(tap.prompt)
    assert (tap.read(clips[:1, :1], 0, [7]) - feature).abs().max() > 0.1  # zeros are not neutral: the bias


@pytest.mark.parametrize("num_world_steps", [0, 2])
def test_cosmos3_is_read_as_its_own_pipeline_runs_it(
    num_world_steps: int, settings: Callable[..., WorldSettings], clips: Tensor
) -> None:
    given = settings("cosmos3", "dit", dit_noise_level=0.999, frame_rate_hz=10.0)
    tokenizer: Any = train_tokenizer()
    prompt = Cosmos3().embed(None, tokenizer, "", {"default_use_system_prompt": False})
    tap: Any = open_tap(given)
    tap.prompt = prompt
    inputs: list[dict[str, Any]] = []
    tap.transformer.register_forward_pre_hook(lambda module, args, kwargs: inputs.append(kwargs), with_kwargs=True)
    feature = tap.read(clips[:1, :5], num_world_steps, [7])
    whole: Any = load_transformer(settings("cosmos3", "dit", dit_block=3))
    watch = Watch(whole, blocks(whole)[BLOCK])
    vae: Any = load_vae(given)
    options = {"enable_safety_checker": False, "default_use_system_prompt": False}
    pipeline = Cosmos3OmniPipeline(whole, tokenizer, vae, load_scheduler(given), **options)
    video: Any = [Image.new("RGB", (64, 64))] * 5 if num_world_steps else None
    pipeline(
        "",
        video=video,
        condition_frame_indexes_vision=(0, 1),
        num_frames=5 + 4 * num_world_steps,
        height=64,
        width=64,
        fps=10.0,
        num_inference_steps=1,
        guidance_scale=1.0,
        latents=inputs[0]["vision_tokens"][0],
        output_type="latent",
        add_resolution_template=False,
        add_duration_template=False,
    )
    assert len(prompt.flatten()) > 8
    assert watch.inputs[0]["vision_timesteps"][0].item() == 999
    assert len(watch.inputs[0]["vision_timesteps"]) == (num_world_steps or 2) * 4
    assert_same_input(inputs[0], watch.inputs[0])
    assert torch.equal(feature.permute(0, 2, 3, 4, 1).flatten(1, 3), watch.states[0])
