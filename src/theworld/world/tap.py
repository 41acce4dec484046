"""WorldTap, the interface of all world models, with the noise of a clip and the controls that read no model."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from theworld.config import WorldSettings


class WorldTap(ABC):
    """Reads features from a frozen world model.

    A tap is not an nn.Module: DDP, FSDP, the optimiser and `state_dict` never see it, so it keeps its own device and
    number format. Subclasses implement `_read`; `read` checks the input, counts clips and disables gradients.
    """

    fingerprint_fields: ClassVar[tuple[str, ...]] = ()
    """Settings that a feature depends on besides the tap's name, the side of the frames and `repeat_current`."""

    num_channels: int
    """C, channels of a feature."""
    stride_px: int
    """Pixels of the frame per cell of the feature grid: h = image_size_px / stride_px."""
    fingerprint: str
    """Hash of everything that a feature depends on besides the clip: weights, settings, library format."""
    on_disk: WorldSettings | None = None
    """Settings with the local folders that a built-in tap was loaded from."""
    drawing: "WorldTap | None" = None
    """Tap that draws futures with the same world, once one was shown; None: none yet, or this tap draws them itself."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.clips_read = 0
        """Clips read so far: an evaluation checks with it that the world model ran."""

    def read(
        self, frames: UInt8[Tensor, "N F 3 H W"], num_world_steps: int, seeds: Sequence[int]
    ) -> Float[Tensor, "N C T h w"]:
        """Compute the features of N clips.

        Args:
            frames: pixels in 0..255, side `image_size_px`; F = 1 + 4j, the current frame last (`true-future`: the
                true future follows it).
            num_world_steps: K, future latent slots to add.
            seeds: one per clip; the noise of a clip depends on its seed alone.

        Raises:
            ValueError: for a wrong side, dtype, clip length or number of seeds.
        """
        side = self.settings.image_size_px
        if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[2:] != (3, side, side):
            raise ValueError(
                f"frames of shape {tuple(frames.shape)}, {frames.dtype}: expected (N, F, 3, {side}, {side}), uint8"
            )
        if len(seeds) != len(frames):
            raise ValueError(f"{len(seeds)} seeds for {len(frames)} clips")
        num_slots = self.settings.num_slots(frames.shape[1], num_world_steps)
        with torch.no_grad():
            features = self._read(frames, num_world_steps, seeds)
        grid = side // self.cell_px
        expected = (len(frames), self.num_channels, num_slots, grid, grid)
        if tuple(features.shape) != expected:
            raise ValueError(f"{type(self).__name__} gave {tuple(features.shape)}, expected {expected}")
        self.clips_read += len(frames)
        return pooled(features, self.settings.pool)

    @property
    def cell_px(self) -> int:
        """Pixels of the frame per cell of what `_read` returns, before `pool`."""
        return self.stride_px // self.settings.pool

    @abstractmethod
    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor: ...


def pooled(features: Float[Tensor, "N C T h w"], size: int) -> Float[Tensor, "N C T h2 w2"]:
    """Average squares of `size` x `size` cells."""
    if size == 1:
        return features
    means = F.avg_pool2d(features.flatten(1, 2), size)
    return means.unflatten(1, features.shape[1:3])


def clip_seeds(frames: UInt8[Tensor, "N F 3 H W"], seed: int) -> list[int]:
    """Compute one noise seed per clip from its pixels and the run's seed: equal clips get equal noise."""
    seeds = []
    for clip in frames.cpu().contiguous():
        digest = hashlib.sha256(clip.numpy().tobytes() + seed.to_bytes(8, "little")).digest()
        seeds.append(int.from_bytes(digest[:8], "little") >> 1)  # 63 bits, as torch.Generator accepts
    return seeds


_SEED_STRIDE = 0x9E3779B97F4A7C15  # odd and large, so that seeds of several futures do not collide


def seeds_of_future(seeds: Sequence[int], number: int) -> list[int]:
    """Return the seeds of another future of each clip; number 0 keeps the clips' own."""
    return [(seed + number * _SEED_STRIDE) % 2**63 for seed in seeds]


def clip_noise(shape: Sequence[int], seeds: Sequence[int]) -> Float[Tensor, "N ..."]:
    """Draw standard normal noise of this shape for each clip, from its seed alone.

    Each clip has its own generator on the CPU: the noise depends neither on the device nor on other clips of a batch.
    """
    return torch.stack([torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


class ShapeTap(WorldTap):
    """Makes features of another tap's shape, without any weights."""

    def __init__(self, settings: WorldSettings, device: str | torch.device) -> None:
        super().__init__(settings)
        self.device = device

    def _shape(self, frames: Tensor, num_world_steps: int) -> tuple[int, int, int, int]:
        grid = frames.shape[-1] // self.cell_px
        return self.num_channels, self.settings.num_slots(frames.shape[1], num_world_steps), grid, grid


class ZeroTap(ShapeTap):
    """Zeros: the effect of the added tokens alone."""

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        return torch.zeros(len(frames), *self._shape(frames, num_world_steps), device=self.device)


class NoiseTap(ShapeTap):
    """Standard normal noise, different for each clip: a feature that identifies the clip without describing it."""

    fingerprint_fields = ("seed",)

    def _read(self, frames: Tensor, num_world_steps: int, seeds: Sequence[int]) -> Tensor:
        return clip_noise(self._shape(frames, num_world_steps), seeds).to(self.device)
