"""Errors of imagined futures: distances of imagined latents from true ones by slot, beside three baselines."""

from dataclasses import dataclass
from typing import Any, Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.constants import TEMPORAL_STRIDE
from theworld.world.vae import encode_mean

_LEAST: Final = 1e-6
"""Smaller distances of a still future are taken for this, so that their ratio stays a number."""


READING: Final = (
    "Distances of latents from the true ones: of the imagined latents; of a still future, in which the current frame"
    " stays; of the current latent, repeated; and of one that goes on as the last step did. Below 1, imagined / still"
    " says that the model knows more than the present."
)
"""Explanation of the columns of a table of errors."""


@dataclass(frozen=True)
class SlotErrors:
    """Root mean square distances from the true latent of each future slot, in units of a latent's spread."""

    imagined: Float[Tensor, "N K"]
    """Distance of the imagined latent."""
    still: Float[Tensor, "N K"]
    """Distance of the latent of a still future, in which the current frame stays: the baseline to beat."""
    repeated: Float[Tensor, "N K"]
    """Distance of the current latent. The latent of a first frame differs from the later ones of the same picture, so
    this baseline is weak after a single frame."""
    extrapolated: Float[Tensor, "N K"] | None
    """Distance of the latent that continues the step from the slot before to the current one; None: there is no slot
    before."""

    @property
    def relative(self) -> Float[Tensor, "N K"]:
        """Imagined distances as multiples of those of a still future: below 1 the model knows more than the present."""
        return self.imagined / self.still.clamp(min=_LEAST)


def errors_of(
    vae: Any, imagined: Float[Tensor, "N C T h w"], frames: UInt8[Tensor, "N F 3 H W"], num_given: int
) -> SlotErrors:
    """Compare the imagined future of clips with their true one.

    Args:
        vae: of the world model.
        imagined: latents of the given slots and of the imagined ones, as the tap `rollout` returns them.
        frames: the given frames, and those that followed.
        num_given: given frames, 1 + 4j, of which the last is the current one.

    Raises:
        ValueError: as `slot_errors`.
    """
    given = frames[:, :num_given]
    still = torch.cat([given, given[:, -1:].expand(-1, frames.shape[1] - num_given, -1, -1, -1)], dim=1)
    with torch.no_grad():
        true, frozen = encode_mean(vae, frames), encode_mean(vae, still)
    return slot_errors(imagined, true, frozen, 1 + (num_given - 1) // TEMPORAL_STRIDE)


def slot_errors(
    imagined: Float[Tensor, "N C T h w"],
    true: Float[Tensor, "N C T2 h w"],
    still: Float[Tensor, "N C T2 h w"],
    num_given: int,
) -> SlotErrors:
    """Compare imagined latents with true ones, slot by slot.

        slots       0    1    2    3    4
        imagined    given     ^    ^    ^      num_given = 2
        true        given     ^    ^

    Args:
        imagined: normalised latents of the given slots and of the imagined ones.
        true: latents of the true clip, of the same first slots; slots beyond the shorter of both are not compared.
        still: latents of the clip whose current frame stays, of the shape of `true`.
        num_given: given slots, of which the last is the current one.

    Raises:
        ValueError: if there is no slot to compare, or the shapes differ.
    """
    num_slots = min(imagined.shape[2], true.shape[2])
    is_same = imagined[:, :, :0].shape == true[:, :, :0].shape and true.shape == still.shape
    if not 1 <= num_given < num_slots or not is_same:
        raise ValueError(
            f"imagined latents {tuple(imagined.shape)}, true ones {tuple(true.shape)}, {num_given} given slots:"
            " expected equal shapes but for the number of slots, and at least one slot after the given ones"
        )
    future = true[:, :, num_given:num_slots].double()
    current = true[:, :, num_given - 1 : num_given].double()
    extrapolated = None
    if num_given > 1:
        step = current - true[:, :, num_given - 2 : num_given - 1].double()
        ahead = torch.arange(1, future.shape[2] + 1, device=true.device, dtype=torch.double)
        extrapolated = _distance(current + step * ahead[:, None, None], future)
    return SlotErrors(
        imagined=_distance(imagined[:, :, num_given:num_slots].double(), future),
        still=_distance(still[:, :, num_given:num_slots].double(), future),
        repeated=_distance(current.expand_as(future), future),
        extrapolated=extrapolated,
    )


def psnr(pictures: UInt8[Tensor, "K F H W 3"], true: UInt8[Tensor, "K F H W 3"]) -> Float[Tensor, " K"]:
    """Return the peak signal-to-noise ratio of each group of F pictures, dB; of equal ones 100 dB."""
    error = (pictures.double() - true.double()).square().flatten(1).mean(1)
    return (10 * torch.log10(255.0**2 / error.clamp(min=255.0**2 / 1e10))).cpu()


def _distance(latents: Float[Tensor, "N C K h w"], true: Float[Tensor, "N C K h w"]) -> Float[Tensor, "N K"]:
    return (latents - true).square().mean((1, 3, 4)).sqrt().cpu()
