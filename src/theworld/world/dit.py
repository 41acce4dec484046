"""Tap `dit`: the hidden states of one block of the denoiser; later blocks do not run."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from jaxtyping import Float
from torch import Tensor, nn

from theworld.config import WorldSettings
from theworld.world.families.family import Family, Imagination, given_mask
from theworld.world.tap import WorldTap, clip_noise
from theworld.world.vae import encode_mean, repeat_last


class _BlockReached(Exception):  # noqa: N818  # not an error: it carries the states out of the forward
    def __init__(self, states: Any) -> None:
        self.states = states


def states_at(block: nn.Module, run: Callable[[], object], when: Callable[[], bool] | None = None) -> Any:
    """Return the output of a block, and stop `run` there.

    Args:
        block: a submodule that `run` calls.
        run: starts the forward passes.
        when: chooses the call of the block; None: the first.

    Raises:
        RuntimeError: if no call of the block is chosen.
    """

    def stop(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if when is None or when():
            raise _BlockReached(output)

    handle = block.register_forward_hook(stop)
    try:
        run()
    except _BlockReached as reached:
        return reached.states
    finally:
        handle.remove()
    raise RuntimeError("the tapped block never ran")


class DitTap(WorldTap):
    """Reads block `dit_block` of the denoiser at noise level t.

    ```
    K = 0              [ z0 noised, z1 noised ]            no slot is given: the frames themselves are noised
    K = 2, repeat      [ z0, z1 | z1 noised, z1 noised ]   given slots clean, the last one repeated
    true-future        [ z0, z1 | z2 noised, z3 noised ]   the true future
    ```
    """

    fingerprint_fields = ("dtype", "seed", "frame_rate_hz", "dit_block", "dit_noise_level", "dit_future")

    def __init__(
        self, settings: WorldSettings, vae: AutoencoderKLWan, transformer: Any, family: Family, prompt: Tensor
    ) -> None:
        """Take the loaded networks, and the embedding of the null prompt, (1, L, W)."""
        super().__init__(settings)
        self.vae = vae
        self.transformer = transformer
        self.family = family
        self.prompt = prompt

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        states = self._states_of(frames, num_world_steps, seeds)
        side = frames.shape[-1] // self.cell_px
        return states.unflatten(1, (-1, side, side)).permute(0, 4, 1, 2, 3).float()

    def _states_of(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        latents = encode_mean(self.vae, frames)
        if not self.settings.sees_future:
            latents = repeat_last(latents, num_world_steps)
        return self.states(latents, num_world_steps, seeds)

    def states(self, latents: Float[Tensor, "N C T h w"], num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        """Return the block's output, (N, T * h / 2 * w / 2, C), from forwards that end there: one, or one a clip."""
        size = len(latents) if self.family.takes_batches else 1
        starts = range(0, len(latents), size)
        states = [
            self._states_of_some(latents[at : at + size], num_world_steps, seeds[at : at + size]) for at in starts
        ]
        return torch.cat(states) if len(states) > 1 else states[0]

    def _states_of_some(self, latents: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        output = states_at(self._block, run=lambda: self._denoise_once(latents, num_world_steps, seeds))
        return self.family.states(output)

    @property
    def _block(self) -> nn.Module:
        return self.family.blocks_of(self.transformer)[self.settings.dit_block]

    def _denoise_once(self, latents: Float[Tensor, "N C T h w"], num_world_steps: int, seeds: Sequence[int]) -> None:
        """Run one forward on the pipeline's kind of input: x = (1 - t) latent + t noise, given slots clean."""
        level = self.settings.dit_noise_level
        num_slots = latents.shape[2]
        noise = clip_noise(latents.shape[1:], seeds).to(latents.device)
        num_given = num_slots - num_world_steps if num_world_steps and self.family.given_slots else 0
        is_given = given_mask(num_slots, num_given, latents.device)
        noised = torch.where(is_given, latents, (1 - level) * latents + level * noise)
        self.family.denoise(self.transformer, noised, num_given, self.prompt, self.settings)


class DenoisedDitTap(DitTap):
    """Reads the block while the pipeline denoises the future: its samples on their way down to noise level t.

    ```
    K = 2              [ z0, z1 | x2, x3 ]                 K = 0: as DitTap
    ```
    """

    fingerprint_fields = (*DitTap.fingerprint_fields, "num_inference_steps")

    def __init__(self, settings: WorldSettings, pipeline: Imagination) -> None:
        """Take the loaded pipeline.

        Raises:
            ValueError: if the pipeline's samples never get down to `dit_noise_level`.
        """
        super().__init__(settings, pipeline.vae, pipeline.transformer, pipeline.family, pipeline.prompt)
        lowest = pipeline.lowest_level(settings.num_inference_steps)
        if settings.dit_noise_level < lowest:
            raise ValueError(
                f"dit_noise_level={settings.dit_noise_level} with dit_future='denoised': the samples' noise ends at"
                f" {lowest:.4f}; choose that or more"
            )
        self.pipeline = pipeline

    def _states_of(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        if num_world_steps == 0:
            return super()._states_of(frames, num_world_steps, seeds)
        return states_at(
            self._block,
            run=lambda: self.pipeline.imagine(frames, num_world_steps, seeds, self.settings),
            when=lambda: self.pipeline.noise_level() <= self.settings.dit_noise_level,
        )
