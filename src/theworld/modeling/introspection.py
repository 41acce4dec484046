"""Attention of the first answer token to image and world tokens, and decoded imagined futures."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config import WorldSettings
from theworld.config.world import check_world_steps
from theworld.datasets.images import to_frames
from theworld.datasets.video import VideoClip, is_video
from theworld.modeling.cache_name import CACHE
from theworld.modeling.chats import read_part
from theworld.modeling.generation import PrefixCache
from theworld.modeling.model import TheWorld
from theworld.world.tap import WorldTap, clip_seeds


@dataclass(frozen=True)
class Attention:
    """Shares of one position's attention, mean over layers and heads; the rest up to 1 is on text and markers."""

    image: Float[Tensor, " I"]
    """Share of each image token of Gemma, row by row of each picture's grid."""
    world: Float[Tensor, "T W"]
    """Share of each world token of each slot, row by row of the grid; no slots if the fusion has no tokens."""


@torch.no_grad()
def first_attention(seen: PrefixCache, question: str) -> Attention:
    """Compute the attention of the last position of a prompt, whose output is the first token of the answer.

    The question runs once more with plain attention, since faster kernels keep no attention weights. A layer with a
    sliding window gives no attention to positions outside it.

    Args:
        seen: the prefix of the pictures, with at most one clip.
        question: plain text.
    """
    model, inputs = seen.model, seen.inputs(question)
    ids, length = inputs["input_ids"], seen.input_ids.shape[1]
    with _plain_attention(model):
        output = model(
            input_ids=ids[:, length:],
            attention_mask=inputs["attention_mask"],
            **{CACHE: inputs[CACHE]},
            use_cache=True,
            logits_to_keep=1,
            output_attentions=True,
        )
    total = ids.shape[1]
    layers = [layer[0, :, -1].float().mean(0) for layer in output.attentions]
    shares = torch.stack([F.pad(layer, (total - len(layer), 0)) for layer in layers]).mean(0).cpu()
    config = model.config
    on_world = shares[(ids[0] == config.world_token_id).cpu()] if config.tokens_per_slot else shares[:0]
    return Attention(
        image=shares[(ids[0] == config.image_token_id).cpu()],
        world=on_world.view(-1, config.tokens_per_slot or 1),
    )


@contextmanager
def _plain_attention(model: Any) -> Iterator[None]:
    language = model.model.language_model
    before = language.config._attn_implementation
    language.set_attn_implementation("eager")
    try:
        yield
    finally:
        language.set_attn_implementation(before)


def imagine(model: TheWorld, clip: Any, num_world_steps: int) -> UInt8[Tensor, "F H W 3"]:
    """Imagine the future of a clip, and decode it together with the given frames: 1 + 4j + 4K frames.

    Args:
        model: with tap `rollout`, or `dit`, whose world draws what its states foretell.
        clip: one picture; a video, as a file, its bytes, a decoder, a VideoClip or a part of a chat (see `read_part`);
            or frames in time order whose last is the current one.
        num_world_steps: K, latent slots to imagine.

    Raises:
        ValueError: if the tap imagines no video, or a clip cannot be read.
        GuardrailRequiredError: if the world is NVIDIA's and its guardrail is not installed.
        UnsafeVideoError: if the guardrail rejects the video.
    """
    check_shown(model)
    if isinstance(clip, VideoClip) or is_video(clip):
        clip = {"type": "video", "video": clip}
    if isinstance(clip, Mapping):
        clip = read_part(clip, model.config.clip_rule).frames
    frames = to_frames(clip, model.config.world_image_size)[None]
    return decoded(model, future_latents(model, frames, num_world_steps))


def check_shown(model: TheWorld) -> None:
    """Check, before any computation, that the model's imagined future can be shown.

    Raises:
        ValueError: if the tap imagines no video, or its world cannot draw one.
        GuardrailRequiredError: if the world is NVIDIA's and its guardrail is not installed.
    """
    from theworld.world.guardrail import prepare
    from theworld.world.loading import feature_shape

    if not _draws(model):
        feature_shape(_drawing(model))  # refuses a world that draws no future
    prepare(world_vae(model), model.config.cosmos_model_name)


def future_latents(
    model: TheWorld,
    frames: UInt8[Tensor, "N F 3 H W"],
    num_world_steps: int,
    read_features: Callable[[Tensor, int], Tensor] | None = None,
) -> Float[Tensor, "N C T h w"]:
    """Return latents of the given slots and of those that the world model imagines after them, for `decoded`.

    The tap `rollout` reads them itself. For a model that reads states of the denoiser (`dit`), the same world draws
    the future from the same noise. Its networks are loaded whole when the first future is shown, unless the tap has
    them (`denoised`).

    Args:
        model: as for `imagine`.
        frames: pixels in 0..255, F = 1 + 4j, the current frame last.
        num_world_steps: K.
        read_features: source of the features of a tap `rollout`; None: the model's own world.

    Raises:
        ValueError: as `check_shown`, or for frames that the world cannot take.
    """
    if _draws(model):
        return (read_features or model.read_world)(frames, num_world_steps)
    settings, tap = _drawing(model), model.tap
    assert tap is not None  # `_drawing` refuses a model without
    check_world_steps(num_world_steps, model.config.max_world_steps)
    if tap.drawing is None:
        tap.drawing = _open_drawing(settings, tap)
    return tap.drawing.read(frames, num_world_steps, clip_seeds(frames, settings.seed))


def world_vae(model: TheWorld) -> Any:
    """Return the autoencoder of the latents of `future_latents`.

    Raises:
        ValueError: as `check_shown`.
    """
    tap: Any = model.tap
    if _draws(model):
        return tap.pipeline.vae
    _drawing(model)
    return tap.vae


@torch.no_grad()
def decoded(model: TheWorld, latents: Float[Tensor, "1 C T h w"]) -> UInt8[Tensor, "F H W 3"]:
    """Decode latents of `future_latents` of one clip; for NVIDIA's weights the guardrail checks the video.

    Raises:
        ValueError: as `check_shown`.
        UnsafeVideoError: if the guardrail rejects the video.
    """
    from theworld.world.guardrail import show

    check_shown(model)
    return show(world_vae(model), latents, model.config.cosmos_model_name)[0]


def _draws(model: TheWorld) -> bool:
    """Return True if the model's own tap draws futures."""
    from theworld.world.rollout import RolloutTap

    return isinstance(model.tap, RolloutTap)


def _open_drawing(settings: WorldSettings, tap: Any) -> WorldTap:
    """Return a tap that draws futures: with the pipeline of a tap that denoises, else with the world loaded whole."""
    from theworld.world.factory import open_tap
    from theworld.world.loading import feature_shape
    from theworld.world.rollout import RolloutTap

    if not hasattr(tap, "pipeline"):
        return open_tap(settings, tap.vae.device)
    drawing = RolloutTap(settings, tap.pipeline)
    drawing.num_channels, drawing.stride_px = feature_shape(settings)
    return drawing


def _drawing(model: TheWorld) -> WorldSettings:
    """Return the settings of a tap that draws futures with the world whose states the model reads.

    Raises:
        ValueError: for a model that reads no states of a denoiser.
    """
    tap = model.tap
    if tap is None and model.config.world_tap in ("rollout", "dit"):
        raise ValueError("no world is loaded, so no future can be shown: use load_world()")
    if tap is None or tap.settings.tap != "dit":
        raise ValueError(
            f"tap {model.config.world_tap!r} imagines no video: load the model with world_tap='rollout' or 'dit'"
        )
    return replace(tap.settings, tap="rollout", pool=1)
