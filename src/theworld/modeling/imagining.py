"""What the world model imagines, as pictures that a person can look at."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.datasets.images import to_frames

if TYPE_CHECKING:
    from theworld.modeling.model import TheWorld


def imagine(model: "TheWorld", clip: Any, num_world_steps: int) -> UInt8[Tensor, "F H W 3"]:
    """Decode the given frames and the imagined future: 1 + 4j + 4K frames.

    Args:
        model: with tap `rollout`.
        clip: one picture, or a clip whose last frame is the current one.
        num_world_steps: K, latent slots to imagine.

    Raises:
        ValueError: if the tap imagines nothing.
        GuardrailRequiredError: if the world is NVIDIA's and its guardrail is not there.
        UnsafeVideoError: if the guardrail lets the video not pass.
    """
    check_shown(model)
    frames = to_frames(clip, model.config.world_image_size)[None]
    return decoded(model, model.read_world(frames, num_world_steps))


def check_shown(model: "TheWorld") -> None:
    """Refuse a model whose imagined future cannot be shown, before it is computed.

    Raises:
        ValueError: if the tap imagines nothing.
        GuardrailRequiredError: if the world is NVIDIA's and its guardrail is not there.
    """
    from theworld.world.guardrail import prepare
    from theworld.world.rollout import RolloutTap

    if not isinstance(model.tap, RolloutTap):
        raise ValueError(f"tap {model.config.world_tap!r} imagines no video: load the model with world_tap='rollout'")
    prepare(model.tap.pipeline.vae, model.config.cosmos_model_name)


@torch.no_grad()
def decoded(model: "TheWorld", features: Float[Tensor, "1 C T h w"]) -> UInt8[Tensor, "F H W 3"]:
    """The frames of what the tap `rollout` read of one clip; of NVIDIA's weights after its guardrail.

    Raises:
        ValueError: as `check_shown`.
        UnsafeVideoError: if the guardrail lets the video not pass.
    """
    from theworld.world.guardrail import show

    check_shown(model)
    tap: Any = model.tap
    return show(tap.pipeline.vae, features, model.config.cosmos_model_name)[0]
