"""The floating-point operations that training asks for, batch by batch, and what the device could do."""

import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from theworld.constants import IGNORE_INDEX
from theworld.datasets.packing import NO_SAMPLE
from theworld.modeling import TheWorld
from theworld.precision import DTYPE_OF, is_emulated

_MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}
_NUM_TRIALS = 4


class Work(NamedTuple):
    """Floating-point operations of a batch."""

    total: float
    """Forward and backward, as far as a gradient is needed; recomputed activations are not counted."""
    frozen: float
    """Of these, in towers that are frozen and have nothing that trains before them: forward alone."""


class Weights(NamedTuple):
    """Numbers of a part's weights that are multiplied with every position."""

    every: int
    trained: int


class WorkCounter:
    """Counts the operations of a batch from its shapes.

    A weight costs 2 operations a position in the forward pass, 2 more if a gradient flows through it, and 2 more if it
    trains itself. A gradient flows through a part if any of it trains, or anything before it. Attention costs
    4 L W H D a layer and sequence (queries by keys, weights by values; L tokens, W of them seen, H heads of D), and
    twice that more in the backward pass; causality is not credited, a window is. After Chowdhery et al., "PaLM",
    appendix B. The world model is not taken apart: its forward pass is measured once for each shape of clip.

    Args:
        model: as it will be trained, not yet wrapped or sharded.
    """

    def __init__(self, model: TheWorld) -> None:
        self.model = model
        config = model.config
        vision: Any = config.vision_config
        text: Any = config.text
        inner: Any = model.model
        self._vision = _weights(inner.vision_tower)
        self._bridge = inner.multi_modal_projector.mm_input_projection_weight
        self._language = _weights(inner.language_model)
        self._head = _weights(model.lm_head)
        self._world = _weights(model.world) if config.enable_world else Weights(0, 0)
        self._sees = any(one.requires_grad for one in [*inner.vision_tower.parameters(), self._bridge])
        learns_world = any(name.startswith(("world.", "cosmos_vae.")) for name in _trained(model))
        self._reads = self._sees or learns_world or self._language.trained > 0
        self._num_patches = (vision.image_size // vision.patch_size) ** 2
        self._patch_attention = 4 * vision.num_hidden_layers * vision.hidden_size * self._num_patches**2
        self._layers: list[str] = list(text.layer_types)
        self._window: int = text.sliding_window
        self._heads: int = text.num_attention_heads * text.head_dim
        self._clips: dict[tuple[int, ...], int] = {}

    def __call__(self, batch: dict[str, Any]) -> Work:
        """Operations of one batch of the collator."""
        pictures, imitates = batch.get("pixel_values"), "slot_pixel_values" in batch
        if imitates:
            pictures = batch["slot_pixel_values"].flatten(0, 1)
        seen = self._seen(0 if pictures is None else len(pictures), self._sees and not imitates)
        clips, learns_clips = self._read(batch)
        total = seen + clips + self._fused(batch)
        if not imitates:
            total += self._said(batch)
        frozen = (0 if self._sees and not imitates else seen) + (0 if learns_clips else clips)
        return Work(float(total), float(frozen))

    def _seen(self, num_pictures: int, sees: bool) -> int:
        """Gemma's vision tower and the matrix behind it."""
        config: Any = self.model.config
        tower = _products(self._vision, self._num_patches, sees) + self._patch_attention * (3 if sees else 1)
        matrix = Weights(self._bridge.numel(), self._bridge.numel() * self._bridge.requires_grad)
        return num_pictures * (tower + _products(matrix, config.mm_tokens_per_image, sees))

    def _fused(self, batch: dict[str, Any]) -> int:
        """The world's own layers; before them lies nothing that trains but a VAE."""
        config: Any = self.model.config
        if config.tokens_per_slot:
            num_tokens = int((batch["input_ids"] == config.world_token_id).sum())
        else:
            num_tokens = _num_clips(batch) * config.mm_tokens_per_image
        return _products(self._world, num_tokens, self._world.trained > 0)

    def _said(self, batch: dict[str, Any]) -> int:
        """The language model at every token that is no padding, its head at those that are supervised."""
        lengths = _lengths(batch)
        seen = sum(
            length * (length if kind == "full_attention" else min(length, self._window))
            for kind in self._layers
            for length in lengths
        )
        attention = 4 * self._heads * seen * (3 if self._reads else 1)
        supervised = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
        head = _products(self._head, supervised, self._reads)
        return _products(self._language, sum(lengths), self._reads) + attention + head

    def _read(self, batch: dict[str, Any]) -> tuple[int, bool]:
        """The world model, where features do not come from a store; and whether it trains."""
        trains = any(name.startswith("cosmos_vae.") for name in _trained(self.model))
        pixels: Tensor | None = batch.get("world_pixels")
        if pixels is None:
            return 0, trains
        steps = batch["num_world_steps"]
        key = (*pixels.shape[1:], steps)
        if key not in self._clips:
            with torch.no_grad(), torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
                self.model.read_world(pixels[:1], steps)
            self._clips[key] = counter.get_total_flops()
        return len(pixels) * self._clips[key] * (3 if trains else 1), trains


def _lengths(batch: dict[str, Any]) -> list[int]:
    """Tokens of each sample, whether it has a row of its own or shares one."""
    places: Tensor | None = batch.get("packed_samples")
    if places is None:
        return batch["attention_mask"].sum(-1).tolist()
    rows = [torch.unique(row[row != NO_SAMPLE], return_counts=True)[1] for row in places]
    return torch.cat(rows).tolist()


def _num_clips(batch: dict[str, Any]) -> int:
    return next((len(batch[name]) for name in ("world_pixels", "world_features") if name in batch), 0)


def _trained(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def _weights(part: nn.Module) -> Weights:
    """Weights of linear layers and convolutions: all others are added or looked up."""
    weights = [module.weight for module in part.modules() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd)]
    return Weights(sum(one.numel() for one in weights), sum(one.numel() for one in weights if one.requires_grad))


def _products(weights: Weights, num_positions: int, flows: bool) -> int:
    """Operations of a forward and backward pass, and of the gradients of what trains."""
    return 2 * num_positions * (weights.every * (2 if flows else 1) + weights.trained)


def measured_peak(device: torch.device, precision: str) -> float:
    """Operations per second of a large matrix product on this device in this number format: what it can reach.

    The best of several. On a processor its own time is counted, so that other programs take nothing away. Where a
    format is emulated the layers of a model fall back to float32, whose rate counts if it is higher.

    Args:
        device: where the model trains.
        precision: fp32, bf16 or fp16, as the forward pass computes.
    """
    dtypes = {DTYPE_OF[precision], "float32"} if is_emulated(DTYPE_OF[precision], device) else {DTYPE_OF[precision]}
    return max(_rate(device, getattr(torch, dtype)) for dtype in dtypes)


def _rate(device: torch.device, dtype: torch.dtype) -> float:
    side = _MATRIX_SIDE.get(device.type, _MATRIX_SIDE["cpu"])
    one = torch.ones(side, side, device=device, dtype=dtype)
    seconds: list[float] = []
    for _ in range(_NUM_TRIALS):  # the first one also wakes the device
        started = _clock(device)
        torch.mm(one, one)
        seconds.append(_clock(device) - started)
    return 2 * side**3 / min(seconds)


def _clock(device: torch.device) -> float:
    """Seconds: of a GPU when it has done what it was given, of a processor what each of our threads has computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()
