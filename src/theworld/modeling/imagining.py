"""What the world model imagines, as pictures that a person can look at."""

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import UInt8
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
    from theworld.world.rollout import GuardrailRequiredError, RolloutTap
    from theworld.world.vae import decode

    if not isinstance(model.tap, RolloutTap):
        raise ValueError(f"tap {model.config.world_tap!r} imagines no video: load the model with world_tap='rollout'")
    if model.config.cosmos_model_name != TINY_MODEL:
        raise GuardrailRequiredError(
            "decoded video of NVIDIA's weights must pass its guardrail: pip install 'theworld[guardrail]'"
        )
    frames = to_frames(clip, model.config.world_image_size)[None]
    with torch.no_grad():
        latents = model.read_world(frames, num_world_steps)
        return decode(model.tap.pipeline.vae, latents)[0]
