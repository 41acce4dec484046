"""NVIDIA's guardrail: what its licence asks of videos and prompts of its weights, and of no feature.

The package `cosmos_guardrail` switches gradients off for good when it is imported. It is imported here, when a video or
a prompt needs it, and gradients are as they were afterwards.
"""

from functools import cache
from typing import Any, Final

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.hub import REFUSALS, remedy
from theworld.world.vae import decode

LICENCE: Final = (
    "NVIDIA Open Model License, https://www.nvidia.com/en-us/agreements/enterprise-software/nvidia-open-model-license"
)
WEIGHTS: Final = "nvidia/Cosmos-1.0-Guardrail"
"""The repository of the guardrail's own weights, which is gated."""

_OWNER: Final = "nvidia/"
_VAE_WIDTH: Final = 96  # `base_dim` of the Wan VAE in every Cosmos-Predict2; worlds trained here are narrower


class GuardrailRequiredError(ValueError):
    """Prompts and decoded videos of NVIDIA's weights must pass its guardrail, which is not there."""


class UnsafeVideoError(ValueError):
    """NVIDIA's guardrail holds a video to be unsafe."""


def is_nvidias(cosmos_model_name: str, vae: AutoencoderKLWan) -> bool:
    """Whether a world is NVIDIA's, wherever its weights lie: by its name, or by the size of its VAE."""
    return cosmos_model_name.startswith(_OWNER) or vae.config["base_dim"] >= _VAE_WIDTH


def prepare(vae: AutoencoderKLWan, cosmos_model_name: str) -> None:
    """Load the guardrail if `show` will need it: before a future is computed, and not after.

    Raises:
        GuardrailRequiredError: if it is needed and not there.
    """
    if is_nvidias(cosmos_model_name, vae):
        guardrail().load()


def show(
    vae: AutoencoderKLWan, latents: Float[Tensor, "N C T h w"], cosmos_model_name: str
) -> UInt8[Tensor, "N F H W 3"]:
    """Latents as pictures for a person, or a program, to look at; of NVIDIA's weights after its guardrail.

    Args:
        vae: that of the world.
        latents: normalised, as taps give them.
        cosmos_model_name: of the world.

    Raises:
        GuardrailRequiredError: if the guardrail is needed and not there.
        UnsafeVideoError: if the guardrail lets a video not pass.
    """
    if not is_nvidias(cosmos_model_name, vae):
        return decode(vae, latents)
    prepare(vae, cosmos_model_name)
    checker = guardrail()
    video = decode(vae, latents)
    checker.to(vae.device)
    passed = [clip for one in video if (clip := checker.check_video_safety(one.numpy())) is not None]
    checker.to("cpu")
    if len(passed) < len(video):
        raise UnsafeVideoError("NVIDIA's guardrail holds what was imagined to be unsafe: it is not shown")
    return torch.from_numpy(np.stack(passed))


class Guardrail:
    """Stands where diffusers' pipeline keeps its guardrail: latents need none, and what needs one loads NVIDIA's."""

    def __init__(self) -> None:
        self._checker: Any = None
        self._device: str | torch.device = "cpu"

    def to(self, device: str | torch.device = "cpu", dtype: torch.dtype | None = None) -> "Guardrail":
        """Move the guardrail, now or when it is loaded."""
        self._device = device
        if self._checker is not None:
            self._checker.to(device, dtype)
        return self

    def check_text_safety(self, prompt: str) -> bool:
        """Whether a prompt is safe.

        Raises:
            GuardrailRequiredError: if the guardrail is not there.
        """
        with _gradients_as_before():
            return self.load().check_text_safety(prompt)

    def check_video_safety(self, frames: UInt8[np.ndarray, "F H W 3"]) -> UInt8[np.ndarray, "F H W 3"] | None:
        """The frames with faces made unrecognisable; None if they are unsafe.

        Raises:
            GuardrailRequiredError: if the guardrail is not there.
        """
        with _gradients_as_before():
            return self.load().check_video_safety(frames)

    def load(self) -> Any:
        """NVIDIA's own checker, loaded once.

        Raises:
            GuardrailRequiredError: if its package or its weights are not there.
        """
        if self._checker is None:
            with _gradients_as_before():
                self._checker = _open_checker()
            self._checker.to(self._device)
        return self._checker


@cache
def guardrail() -> Guardrail:
    """The guardrail of this process."""
    return Guardrail()


def _gradients_as_before() -> Any:
    return torch.set_grad_enabled(torch.is_grad_enabled())  # on leaving, the mode that it found


def _open_checker() -> Any:
    why = f"prompts and decoded videos of NVIDIA's weights must pass its guardrail ({LICENCE})"
    try:
        from cosmos_guardrail import CosmosSafetyChecker  # pyright: ignore[reportMissingImports]  # an extra
    except ModuleNotFoundError as error:
        raise GuardrailRequiredError(f"{why}; {error.name} is missing: pip install 'theworld[guardrail]'") from error
    try:
        return CosmosSafetyChecker()
    except REFUSALS as error:
        raise GuardrailRequiredError(f"{why}; its weights {WEIGHTS} do not load: {remedy(WEIGHTS, error)}") from error
