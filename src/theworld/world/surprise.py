"""Surprise of a clip: the error of a frozen world model about the frames that followed, given those before them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config import WorldSettings
from theworld.constants import TEMPORAL_STRIDE
from theworld.precision import concrete_dtype, warn_if_emulated
from theworld.world.families.family import given_mask
from theworld.world.families.table import family_of
from theworld.world.jepa import TUBELETS_PER_SLOT, as_video, load_jepa
from theworld.world.loading import feature_shape, load_prompt, load_transformer, load_vae, locate, world_family
from theworld.world.tap import clip_noise, clip_seeds, seeds_of_future
from theworld.world.vae import encode_mean

VELOCITY_ERROR: Final = "mean squared error of the denoiser's velocity, in units of a latent's variance"
PREDICTOR_ERROR: Final = "mean absolute error of the predicted states, in units of a state's standard deviation"

_DIFFUSION_TAPS: Final = ("vae", "dit", "rollout")


@dataclass(frozen=True)
class Surprise:
    """Surprise of N clips."""

    by_level: Float[Tensor, "N L"]
    """Error over the future slots at each noise level, mean over the draws; V-JEPA 2 has one column, without noise."""
    change: Float[Tensor, " N"]
    """Distance of the future from the current slot in the same latents or states and the same kind of mean: the
    baseline that predicts nothing."""


class SurpriseMeter(ABC):
    """Measures the surprise of clips; the world model is loaded, frozen, and reads no language.

    Args:
        settings: names, size, frame rate, format and seed of the world model; see `as_measured`.
    """

    levels: tuple[float, ...]
    """Noise levels of the columns of `Surprise.by_level`; empty: no noise."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings

    def measure(self, frames: UInt8[Tensor, "N F 3 H W"], num_given: int) -> Surprise:
        """Measure the surprise of N clips.

        Args:
            frames: pixels in 0..255, side `image_size_px`; 1 + 4j given frames and 4K that followed.
            num_given: given frames.

        Raises:
            ValueError: for another number of frames, or another side.
        """
        side = self.settings.image_size_px
        if frames.dtype != torch.uint8 or tuple(frames.shape[2:]) != (3, side, side):
            raise ValueError(
                f"frames of shape {tuple(frames.shape)}, {frames.dtype}: expected (N, F, 3, {side}, {side}), uint8"
            )
        past, future = num_given - 1, frames.shape[1] - num_given
        if past < 0 or past % TEMPORAL_STRIDE or future < TEMPORAL_STRIDE or future % TEMPORAL_STRIDE:
            raise ValueError(
                f"{num_given} given frames of {frames.shape[1]}: expected 1 + {TEMPORAL_STRIDE}j given ones, and"
                f" {TEMPORAL_STRIDE}K that followed"
            )
        with torch.no_grad():
            return self._measure(frames, num_given)

    @abstractmethod
    def _measure(self, frames: Tensor, num_given: int) -> Surprise: ...


class DenoiserMeter(SurpriseMeter):
    """The error of the denoiser's velocity on the true future, noised, behind given slots that are clean.

    ```
    input      [ z0, z1 | x2, x3 ]      x = (1 - t) z + t noise, at each level t and for each draw of the noise
    target     [         v2, v3 ]      v = noise - z
    ```

    Clips with equal given frames get equal noise, so that two futures of one past differ only in themselves.
    """

    def __init__(
        self,
        settings: WorldSettings,
        levels: Sequence[float],
        num_draws: int,
        device: str | torch.device = "cpu",
    ) -> None:
        """Load VAE and denoiser.

        Args:
            settings: as `as_measured` returns them.
            levels: noise levels t, between 0 and 1.
            num_draws: draws of the noise of each clip, over which errors are averaged.
            device: of the networks.

        Raises:
            ValueError: for a checkpoint that cannot be loaded.
        """
        on_disk, _ = locate(settings)
        super().__init__(on_disk)
        self.levels, self.num_draws = tuple(levels), num_draws
        self.vae = load_vae(on_disk, device).requires_grad_(False)
        self.transformer = load_transformer(_with_all_blocks(on_disk), device).requires_grad_(False)
        self.prompt = load_prompt(on_disk)
        self.family = family_of(Path(on_disk.cosmos_model_name))

    def _measure(self, frames: Tensor, num_given: int) -> Surprise:
        seeds = clip_seeds(frames[:, :num_given], self.settings.seed)
        latents = encode_mean(self.vae, frames)
        num_slots = 1 + (num_given - 1) // TEMPORAL_STRIDE
        size = len(latents) if self.family.takes_batches else 1
        parts = [
            self._errors(latents[at : at + size], num_slots, seeds[at : at + size])
            for at in range(0, len(latents), size)
        ]
        future, current = latents[:, :, num_slots:], latents[:, :, num_slots - 1 : num_slots]
        return Surprise(torch.cat(parts).cpu(), (future - current).square().flatten(1).mean(1).cpu())

    def _errors(
        self, latents: Float[Tensor, "N C T h w"], num_given: int, seeds: Sequence[int]
    ) -> Float[Tensor, "N L"]:
        """Return the errors of some clips, each mean over the draws."""
        columns = []
        is_given = given_mask(latents.shape[2], num_given, latents.device)
        noises = [
            clip_noise(latents.shape[1:], seeds_of_future(seeds, draw)).to(latents.device)
            for draw in range(self.num_draws)
        ]
        for level in self.levels:
            settings = replace(self.settings, dit_noise_level=level)
            draws = []
            for noise in noises:
                noised = torch.where(is_given, latents, (1 - level) * latents + level * noise)
                velocity = self.family.denoise(self.transformer, noised, num_given, self.prompt, settings).float()
                error = velocity[:, :, num_given:] - (noise - latents)[:, :, num_given:]
                draws.append(error.square().flatten(1).mean(1))
            columns.append(torch.stack(draws).mean(0))
        return torch.stack(columns, dim=1)


class PredictorMeter(SurpriseMeter):
    """The error of V-JEPA 2's predictor: the states of the frames that followed, from those of the given ones.

    The encoder reads the given frames alone for the prediction, and all frames for its target, whose states are
    normalised over their channels, as in the training of such models (I-JEPA, arXiv 2301.08243, `forward_target`).
    """

    levels = ()

    def __init__(self, settings: WorldSettings, device: str | torch.device = "cpu") -> None:
        """Load encoder and predictor; raises as `load_jepa`."""
        on_disk, _ = locate(settings)
        super().__init__(on_disk)
        self.jepa = load_jepa(on_disk, device)

    def _measure(self, frames: Tensor, num_given: int) -> Surprise:
        video = as_video(frames.to(self.jepa.device))
        all_states: Any = self.jepa.encoder(pixel_values_videos=video).last_hidden_state
        given: Any = self.jepa.encoder(pixel_values_videos=video[:, : num_given + 1]).last_hidden_state
        positions = torch.arange(all_states.shape[1], device=given.device).expand(len(frames), -1)
        before, after = positions.split([given.shape[1], all_states.shape[1] - given.shape[1]], dim=1)
        predicted: Any = self.jepa.predictor(given, context_mask=[before], target_mask=[after]).last_hidden_state
        target = _normalised(all_states[:, given.shape[1] :])
        last = given.shape[1] * TUBELETS_PER_SLOT // (num_given + 1)  # patches of a tubelet
        current = _normalised(given[:, -last:]).repeat(1, target.shape[1] // last, 1)
        error = (predicted.float() - target).abs().flatten(1).mean(1)
        return Surprise(error[:, None].cpu(), (current - target).abs().flatten(1).mean(1).cpu())


def _normalised(states: Float[Tensor, "N P C"]) -> Float[Tensor, "N P C"]:
    return F.layer_norm(states.float(), (states.shape[-1],))


def open_meter(
    measured: WorldSettings, levels: Sequence[float], num_draws: int, device: str | torch.device = "cpu"
) -> SurpriseMeter:
    """Load the meter of a world model.

    Args:
        measured: settings of `as_measured`.
        levels: noise levels of the denoiser; without a meaning for V-JEPA 2.
        num_draws: of its noise.
        device: of the networks.

    Raises:
        ValueError: for a checkpoint that cannot be loaded.
    """
    warn_if_emulated(measured.dtype, device=torch.device(device))
    if measured.reads == "v-jepa2":
        return PredictorMeter(measured, device)
    return DenoiserMeter(measured, levels, num_draws, device)


def measure_of(measured: WorldSettings) -> str:
    """Return quantity and unit of a measure."""
    return PREDICTOR_ERROR if measured.reads == "v-jepa2" else VELOCITY_ERROR


def as_measured(settings: WorldSettings, device: str | torch.device = "cpu") -> WorldSettings:
    """Return the settings with which a world model is measured; no weights load.

    Args:
        settings: names, side, frame rate, format and seed. The tap may be `v-jepa2`, or `random` for weights drawn from
            the seed.
        device: decides the format `auto`.

    Raises:
        ValueError: for a tap without a prediction, a family that cannot be told of given frames, or a side that does
            not fit.
    """
    tap, drawn = settings.tap, settings.tap == "random"
    read = settings.control_of if drawn else tap
    settings = replace(settings, dtype=concrete_dtype(settings.dtype, torch.device(device)), pool=1)  # no mean hides it
    if read == "v-jepa2":
        result = settings
    elif read in _DIFFUSION_TAPS:
        shape: dict[str, Any] = {"tap": "random", "control_of": "dit"} if drawn else {"tap": "dit"}
        # Block and level are fixed: they are in the fingerprint, and the whole denoiser runs at levels of its own.
        result = replace(settings, **shape, repeat_current=False, dit_block=0, dit_noise_level=0.5, dit_future="repeat")
    else:
        raise ValueError(
            f"world.tap={tap!r}: surprise is the error of a denoiser (vae, dit or rollout name the same one) or of the"
            " predictor of v-jepa2, with random for drawn weights: choose one of these"
        )
    feature_shape(result)  # it may refuse the side
    family = world_family(result)
    if family is not None and not family.given_slots:
        raise ValueError(
            f"{settings.cosmos_model_name}: the denoiser of {family.name} cannot be told which frames are given, so it"
            " has no surprise about the others: take Wan 2.2 TI2V, Cosmos or V-JEPA 2"
        )
    return result


def _with_all_blocks(settings: WorldSettings) -> WorldSettings:
    """Return settings of the same weights that load every block: those of a tap that runs the whole denoiser."""
    if settings.tap == "random":
        return replace(settings, control_of="rollout")
    return replace(settings, tap="rollout")
