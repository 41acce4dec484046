"""Hidden states of the denoiser: the `dit` tap reads one block of one forward, and nothing after it runs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from jaxtyping import Float
from torch import Tensor, nn

from theworld.config import WorldSettings
from theworld.world.rollout import RolloutPipeline
from theworld.world.tap import WorldTap, clip_noise
from theworld.world.vae import encode_mean, repeat_last

# The timestep that the pipeline gives slots it is conditioned on: sigma 0.0001 in t = sigma / (1 + sigma).
GIVEN_NOISE_LEVEL = 0.0001 / 1.0001


class _BlockReached(Exception):  # noqa: N818  # no error: it carries the states out of the forward
    def __init__(self, states: Tensor) -> None:
        self.states = states


def states_at(block: nn.Module, run: Callable[[], object], here: Callable[[], bool] = lambda: True) -> Tensor:
    """What `block` gives the first time that it runs while `here()` holds; `run` stops there.

    Raises:
        RuntimeError: if that never happens.
    """

    def stop(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if here():
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
    K = 0              [ z0 noised, z1 noised ]            nothing is given: the frames themselves are noised
    K = 2, repeat      [ z0, z1 | z1 noised, z1 noised ]   given slots clean, the last one repeated
    K = 2, denoised    [ z0, z1 | x2, x3 ]                 the pipeline's own samples on their way down to t
    true-future        [ z0, z1 | z2 noised, z3 noised ]   what really followed
    ```
    """

    def __init__(
        self,
        settings: WorldSettings,
        vae: AutoencoderKLWan,
        transformer: CosmosTransformer3DModel,
        pipeline: RolloutPipeline | None = None,
    ) -> None:
        """Take the loaded parts; `pipeline` is given for `dit_future="denoised"` only.

        Raises:
            ValueError: if the pipeline's samples never get down to `dit_noise_level`.
        """
        super().__init__(settings)
        if pipeline is not None:
            lowest = pipeline.sigma_min / (1 + pipeline.sigma_min)
            if settings.dit_noise_level < lowest:
                raise ValueError(
                    f"dit_noise_level={settings.dit_noise_level} with dit_future='denoised': the samples' noise ends at"
                    f" {lowest:.4f}; choose that or more"
                )
        self.vae = vae
        self.transformer = transformer
        self.pipeline = pipeline

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        pipeline = self.pipeline
        if num_world_steps and pipeline is not None:
            states = states_at(
                self._block,
                run=lambda: pipeline.imagine(frames, num_world_steps, seeds, self.settings),
                here=lambda: _noise_level(pipeline) <= self.settings.dit_noise_level,
            )
        else:
            latents = encode_mean(self.vae, frames)
            if not self.settings.sees_future:
                latents = repeat_last(latents, num_world_steps)
            states = self.states(latents, num_world_steps, seeds)
        side = frames.shape[-1] // self.stride_px
        return states.unflatten(1, (-1, side, side)).permute(0, 4, 1, 2, 3).float()

    def states(self, latents: Float[Tensor, "N C T h w"], num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        """What the block gives, (N, T * h / 2 * w / 2, C), in one forward that ends there."""
        return states_at(self._block, run=lambda: self._denoise_once(latents, num_world_steps, seeds))

    @property
    def _block(self) -> nn.Module:
        return self.transformer.transformer_blocks[self.settings.dit_block]

    def _denoise_once(self, latents: Float[Tensor, "N C T h w"], num_world_steps: int, seeds: Sequence[int]) -> None:
        """One forward, its input as the pipeline makes it: x = (1 - t) latent + t noise, given slots clean."""
        level = self.settings.dit_noise_level
        transformer = self.transformer
        num_clips, _, num_slots, height, width = latents.shape
        noise = clip_noise(latents.shape[1:], seeds).to(latents.device)
        is_given = torch.arange(num_slots, device=latents.device) < num_slots - num_world_steps
        is_given = is_given.view(1, 1, -1, 1, 1)
        if num_world_steps == 0:
            is_given = torch.zeros_like(is_given)
        noised = torch.where(is_given, latents, (1 - level) * latents + level * noise)
        timestep = torch.where(is_given, GIVEN_NOISE_LEVEL, level).expand(num_clips, -1, -1, -1, -1)
        prompt = noised.new_zeros(num_clips, 1, transformer.config["text_embed_dim"])
        padding = noised.new_zeros(1, 1, self.settings.image_size_px, self.settings.image_size_px)
        transformer(
            hidden_states=noised.to(transformer.dtype),
            timestep=timestep.to(transformer.dtype),
            encoder_hidden_states=prompt.to(transformer.dtype),
            fps=self.settings.frame_rate_hz,  # pyright: ignore[reportArgumentType]  # only divides positions
            condition_mask=is_given.expand(num_clips, -1, -1, height, width).to(transformer.dtype),
            padding_mask=padding.to(transformer.dtype),
            return_dict=False,
        )


def _noise_level(pipeline: RolloutPipeline) -> float:
    """t of the forward that the pipeline is in."""
    scheduler = pipeline.scheduler
    sigma = float(scheduler.sigmas[scheduler.step_index or 0])  # None before the first step
    return sigma / (1 + sigma)
