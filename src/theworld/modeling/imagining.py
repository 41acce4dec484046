"""What the world model imagines, as pictures that a person can look at."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.constants import TINY_MODEL
from theworld.datasets.images import to_frames

if TYPE_CHECKING:
    from theworld.modeling.model import TheWorld


def imagine(model: "TheWorld", clip: Any, num_world_steps: int) -> UInt8[Tensor, "F H W 3"]:
    """Decode the given frames and the imagined future: 1 + 4j + 4K frames.

    Args:
        model: with tap `rollout`; its world is the embedded one.
        clip: one picture, or a clip whose last frame is the current one.
        num_world_steps: K, latent slots to imagine.

    Raises:
        ValueError: if the tap imagines nothing.
        GuardrailRequiredError: for any weights but the embedded ones: decoded video of NVIDIA's weights must pass
            its guardrail.
    """
    check_shown(model)
    frames = to_frames(clip, model.config.world_image_size)[None]
    return decoded(model, model.read_world(frames, num_world_steps))


def check_shown(model: "TheWorld") -> None:
    """Refuse a model whose imagined future cannot be shown.

    Raises:
        ValueError: if the tap imagines nothing.
        GuardrailRequiredError: for any weights but the embedded ones.
    """
    from theworld.world.rollout import GuardrailRequiredError, RolloutTap

    if not isinstance(model.tap, RolloutTap):
        raise ValueError(f"tap {model.config.world_tap!r} imagines no video: load the model with world_tap='rollout'")
    if model.config.cosmos_model_name != TINY_MODEL:
        raise GuardrailRequiredError(
            "decoded video of NVIDIA's weights must pass its guardrail: pip install 'theworld[guardrail]'"
        )


@torch.no_grad()
def decoded(model: "TheWorld", features: Float[Tensor, "1 C T h w"]) -> UInt8[Tensor, "F H W 3"]:
    """The frames of what the tap `rollout` read of one clip.

    Raises:
        ValueError: as `check_shown`.
    """
    from theworld.world.vae import decode

    check_shown(model)
    tap: Any = model.tap
    return decode(tap.pipeline.vae, features)[0]
