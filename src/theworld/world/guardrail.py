"""NVIDIA's guardrail, which its licence requires for videos and prompts of its weights, but not for features.

The import of the package `cosmos_guardrail` disables gradients for the whole process. It is imported here, when a video
or a prompt needs it, and the gradient mode is restored afterwards.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.utils import import_utils
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
_VAE_WIDTH: Final = 96  # `base_dim` of the Wan VAE in every Cosmos-Predict2; the embedded world is narrower


class GuardrailRequiredError(ValueError):
    """Prompts and decoded videos of NVIDIA's weights must pass its guardrail, which is not installed."""


class UnsafeVideoError(ValueError):
    """NVIDIA's guardrail rejects a video as unsafe."""


def is_nvidias(cosmos_model_name: str, vae: AutoencoderKLWan) -> bool:
    """Return True for NVIDIA's worlds, also in a local folder: by the name, or by the VAE's size, which Wan's has, too.

    A VAE that was loaded with a family of other makers says so itself, `is_nvidias` False.
    """
    if cosmos_model_name.startswith(_OWNER):
        return True
    return vae.config["base_dim"] >= _VAE_WIDTH and getattr(vae, "is_nvidias", True)


def prepare(vae: AutoencoderKLWan, cosmos_model_name: str) -> None:
    """Load the guardrail, before a future is computed, if `show` will need it.

    Raises:
        GuardrailRequiredError: if it is needed and not installed.
    """
    if is_nvidias(cosmos_model_name, vae):
        guardrail().load()


def show(
    vae: AutoencoderKLWan, latents: Float[Tensor, "N C T h w"], cosmos_model_name: str
) -> UInt8[Tensor, "N F H W 3"]:
    """Decode latents to pictures for a person or a program; for NVIDIA's weights the guardrail checks them first.

    Args:
        vae: of the world.
        latents: normalised, as taps return them.
        cosmos_model_name: of the world.

    Raises:
        GuardrailRequiredError: if the guardrail is needed and not installed.
        UnsafeVideoError: if the guardrail rejects a video.
    """
    if not is_nvidias(cosmos_model_name, vae):
        return decode(vae, latents)
    prepare(vae, cosmos_model_name)
    checker = guardrail()
    video = decode(vae, latents)
    checker.to(vae.device)
    passed = [clip for frames in video if (clip := checker.check_video_safety(frames.numpy())) is not None]
    checker.to("cpu")
    if len(passed) < len(video):
        raise UnsafeVideoError("NVIDIA's guardrail holds what was imagined to be unsafe: it is not shown")
    return torch.from_numpy(np.stack(passed))


class Guardrail:
    """Takes the place of the guardrail in diffusers' pipeline, and loads NVIDIA's only when a check needs it."""

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
        """Return True if a prompt is safe.

        Raises:
            GuardrailRequiredError: if the guardrail is not installed.
        """
        with _gradients_as_before():
            return self.load().check_text_safety(prompt)

    def check_video_safety(self, frames: UInt8[np.ndarray, "F H W 3"]) -> UInt8[np.ndarray, "F H W 3"] | None:
        """Return the frames with blurred faces; None if they are unsafe.

        Raises:
            GuardrailRequiredError: if the guardrail is not installed.
        """
        with _gradients_as_before():
            return self.load().check_video_safety(frames)

    def load(self) -> Any:
        """Return NVIDIA's own checker, loaded once.

        Raises:
            GuardrailRequiredError: if its package or its weights are missing.
        """
        if self._checker is None:
            with _gradients_as_before():
                self._checker = _open_checker()
            self._checker.to(self._device)
        return self._checker


@cache
def guardrail() -> Guardrail:
    """Return the guardrail of this process."""
    return Guardrail()


@contextmanager
def without_guardrail() -> Iterator[None]:
    """Hide cosmos_guardrail from diffusers, whose pipelines would import it: it disables gradients for the process."""
    installed = import_utils._cosmos_guardrail_available
    import_utils._cosmos_guardrail_available = False
    try:
        yield
    finally:
        import_utils._cosmos_guardrail_available = installed


def _gradients_as_before() -> Any:
    return torch.set_grad_enabled(torch.is_grad_enabled())  # restores the mode on exit


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
