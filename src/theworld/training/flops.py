"""FLOPs of training: operations of each batch, and the peak rate of the device for MFU."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from theworld.constants import IGNORE_INDEX
from theworld.datasets.packing import NO_SAMPLE
from theworld.modeling import TheWorld
from theworld.modeling.bases import GEMMA4, QWEN3_VL
from theworld.modeling.freezing import num_weights
from theworld.precision import DTYPE_OF, is_emulated

_MATRIX_SIDE = {"cpu": 1024, "cuda": 8192}
_NUM_TRIALS = 4


class Work(NamedTuple):
    """Floating-point operations of a batch."""

    total: float
    """Forward pass, and backward pass as far as gradients flow; without activations that are computed again."""
    frozen: float
    """The share of frozen towers with nothing trainable before them, which run forward only."""


class LinearWeights(NamedTuple):
    """Number of weights in linear layers and convolutions, which every position is multiplied by."""

    total: int
    trained: int

    def flops(self, num_positions: int, *, has_gradient: bool) -> int:
        """Return the operations of a forward pass, and of a backward pass if a gradient flows through."""
        return 2 * num_positions * (self.total * (2 if has_gradient else 1) + self.trained)


@dataclass(frozen=True)
class VisionFlops:
    """Operations of Gemma's vision tower and of the projection after it."""

    tower: LinearWeights
    projection: LinearWeights
    num_patches: int | None
    """Patches of a picture; None: those of the batch, where pictures have grids of any shape."""
    pooled: int
    """Patches that become one image token."""
    attention: int
    """Operations of attention in a forward pass of one picture, for each pair of its patches."""

    @classmethod
    def of(cls, model: TheWorld) -> "VisionFlops":
        inner: Any = model.model
        config: Any = model.config.vision_config
        if (
            model.config.BASE is QWEN3_VL
        ):  # its tower holds its projections: one behind it, and one for each early layer
            after = nn.ModuleList([inner.visual.merger, inner.visual.deepstack_merger_list])
            whole, projection = _linear_weights(inner.visual), _linear_weights(after)
            return cls(
                tower=LinearWeights(whole.total - projection.total, whole.trained - projection.trained),
                projection=projection,
                num_patches=None,
                pooled=config.spatial_merge_size**2,
                attention=4 * config.depth * config.hidden_size,
            )
        tower = _linear_weights(inner.vision_tower)
        if model.config.BASE is GEMMA4:
            return cls(
                tower=tower,
                projection=_linear_weights(inner.embed_vision),
                num_patches=None,
                pooled=config.pooling_kernel_size**2,
                attention=4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim,
            )
        num_patches = (config.image_size // config.patch_size) ** 2
        return cls(
            tower=tower,
            projection=_count([inner.multi_modal_projector.mm_input_projection_weight]),
            num_patches=num_patches,
            pooled=num_patches // model.config.mm_tokens_per_image,  # pyright: ignore[reportOperatorIssue]
            attention=4 * config.num_hidden_layers * config.hidden_size,
        )

    def flops(self, batch: dict[str, Any], *, has_gradient: bool) -> int:
        """Count a batch's pictures; padding up to the largest grid is computed like patches."""
        patches = self._patches(batch)
        tower = self.tower.flops(sum(patches), has_gradient=has_gradient)
        attention = self.attention * sum(number**2 for number in patches) * (3 if has_gradient else 1)
        num_tokens = sum(number // self.pooled for number in patches)
        return tower + attention + self.projection.flops(num_tokens, has_gradient=has_gradient)

    def _patches(self, batch: dict[str, Any]) -> list[int]:
        """Return the patches of each picture."""
        if "image_grid_thw" in batch:
            return batch["image_grid_thw"].prod(-1).tolist()
        num_patches = self.num_patches
        if num_patches is None:
            num_patches = batch["pixel_values"].shape[1] if "pixel_values" in batch else 0
        return [num_patches] * _num_pictures(batch)


@dataclass(frozen=True)
class LanguageFlops:
    """Operations of Gemma's language model."""

    layers: LinearWeights
    head: LinearWeights
    layer_types: tuple[str, ...]
    window: int
    """Tokens that a layer of sliding attention sees."""
    widths: tuple[int, ...]
    """Width of all heads together, by layer."""

    @classmethod
    def of(cls, model: TheWorld) -> "LanguageFlops":
        inner: Any = model.model
        config: Any = model.config.text
        return cls(
            layers=_linear_weights(inner.language_model),
            head=_linear_weights(model.lm_head),
            layer_types=tuple(getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers),
            window=getattr(config, "sliding_window", None) or 0,
            widths=tuple(layer.self_attn.q_proj.out_features for layer in inner.language_model.layers),
        )

    def flops(self, batch: dict[str, Any], *, has_gradient: bool) -> int:
        """Count the layers at every token but padding, and the head at supervised tokens."""
        lengths = _lengths(batch)
        num_pairs = sum(
            width * length * (length if kind == "full_attention" else min(length, self.window))
            for kind, width in zip(self.layer_types, self.widths, strict=True)
            for length in lengths
        )
        num_supervised = int((batch["labels"][:, 1:] != IGNORE_INDEX).sum())
        return (
            self.layers.flops(sum(lengths), has_gradient=has_gradient)
            + 4 * num_pairs * (3 if has_gradient else 1)
            + self.head.flops(num_supervised, has_gradient=has_gradient)
        )


class WorkCounter:
    """Counts the operations of a batch from its shapes.

    A weight costs 2 operations a position in the forward pass, 2 more if a gradient flows through it, and 2 more if it
    is trained. A gradient flows through a part if anything in it or before it is trained. Attention costs 4 L W H D a
    layer and sequence (queries by keys, weights by values; L tokens, W of them visible, H heads of D), and twice that
    in the backward pass; a sliding window lowers W, causality does not. After Chowdhery et al., "PaLM", appendix B.
    The world model has no formula: the counter measures its forward pass once for each shape of clip.

    Args:
        model: frozen as for training, but not yet wrapped or sharded.
        head: of distillation; None: none.
    """

    def __init__(self, model: TheWorld, head: nn.Module | None = None) -> None:
        self.model = model
        self._head = LinearWeights(0, 0) if head is None else _linear_weights(head)
        self._vision = VisionFlops.of(model)
        self._language = LanguageFlops.of(model)
        self._projector = _linear_weights(model.world) if model.config.enable_world else LinearWeights(0, 0)
        trained = [name for name, weight in model.named_parameters() if weight.requires_grad]
        vision_parts = (
            "model.vision_tower.",
            "model.multi_modal_projector.mm_input_projection_weight",
            "model.embed_vision.",
            "model.visual.",
        )
        self._trains_vision = any(name.startswith(vision_parts) for name in trained)
        self._trains_vae = any(name.startswith("cosmos_vae.") for name in trained)
        trains_world = any(name.startswith(("world.", "cosmos_vae.")) for name in trained)
        self._trains_language = self._trains_vision or trains_world or self._language.layers.trained > 0
        self._clip_flops: dict[tuple[int, ...], int] = {}
        """Forward pass of the world model, by the shape of a clip and the steps ahead."""

    def __call__(self, batch: dict[str, Any]) -> Work:
        """Return the operations of one batch of the collator."""
        imitates = "slot_pixel_values" in batch
        trains_vision = self._trains_vision and not imitates
        vision = self._vision.flops(batch, has_gradient=trains_vision)
        world_model = self._world_model(batch)
        total = vision + world_model + self._world_projector(batch)
        if (taught := batch.get("teacher_features")) is not None:
            total += self._head.flops(len(taught) * self.model.config.image_grid**2, has_gradient=True)
        if not imitates:
            total += self._language.flops(batch, has_gradient=self._trains_language)
        frozen = (0 if trains_vision else vision) + (0 if self._trains_vae else world_model)
        return Work(float(total), float(frozen))

    def _world_projector(self, batch: dict[str, Any]) -> int:
        """Count the layers between world features and language model; nothing before them trains but a VAE."""
        config: Any = self.model.config
        if config.tokens_per_slot:
            num_tokens = int((batch["input_ids"] == config.world_token_id).sum())
        else:
            num_tokens = _num_clips(batch) * config.mm_tokens_per_image
        return self._projector.flops(num_tokens, has_gradient=self._projector.trained > 0)

    def _world_model(self, batch: dict[str, Any]) -> int:
        """Measure the world model; 0 if the features come from a store."""
        pixels: Tensor | None = batch.get("world_pixels")
        if pixels is None:
            return 0
        steps = batch["num_world_steps"]
        key = (*pixels.shape[1:], steps)
        if key not in self._clip_flops:
            with torch.no_grad(), torch.random.fork_rng(), FlopCounterMode(display=False) as counter:
                self.model.read_world(pixels[:1], steps)
            self._clip_flops[key] = counter.get_total_flops()
        return len(pixels) * self._clip_flops[key] * (3 if self._trains_vae else 1)


def _num_pictures(batch: dict[str, Any]) -> int:
    """Count the pictures of a batch; in imitation, one for each slot of each clip."""
    if "slot_pixel_values" in batch:
        num_clips, num_slots = batch["slot_pixel_values"].shape[:2]
        return num_clips * num_slots
    return len(batch["pixel_values"]) if "pixel_values" in batch else 0


def _num_clips(batch: dict[str, Any]) -> int:
    return next((len(batch[name]) for name in ("world_pixels", "world_features") if name in batch), 0)


def _lengths(batch: dict[str, Any]) -> list[int]:
    """Count the tokens of each sample, also where samples share a row."""
    places: Tensor | None = batch.get("packed_samples")
    if places is None:
        return batch["attention_mask"].sum(-1).tolist()
    rows = [torch.unique(row[row != NO_SAMPLE], return_counts=True)[1] for row in places]
    return torch.cat(rows).tolist()


def _linear_weights(part: nn.Module) -> LinearWeights:
    """Count the weights of linear layers and convolutions; all others are added or looked up."""
    return _count(module.weight for module in part.modules() if isinstance(module, nn.Linear | nn.modules.conv._ConvNd))


def _count(weights: Iterable[Tensor]) -> LinearWeights:
    sizes = [(num_weights(weight), weight.requires_grad) for weight in weights]
    return LinearWeights(sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains))


def measured_peak(device: torch.device, precision: str) -> float:
    """Measure the rate of a large matrix product in operations per second: the best of several.

    A CPU's own time is counted, so that other programs take nothing away. Where the CPU emulates a number format, the
    layers of a model fall back to float32, and the higher of both rates counts.

    Args:
        device: device of the training.
        precision: fp32, bf16 or fp16, as in the forward pass.
    """
    dtypes = {DTYPE_OF[precision], "float32"} if is_emulated(DTYPE_OF[precision], device) else {DTYPE_OF[precision]}
    return max(_rate(device, getattr(torch, dtype)) for dtype in dtypes)


def _rate(device: torch.device, dtype: torch.dtype) -> float:
    side = _MATRIX_SIDE.get(device.type, _MATRIX_SIDE["cpu"])
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    seconds: list[float] = []
    for _ in range(_NUM_TRIALS):  # the first one also initialises the device
        started = _clock(device)
        torch.mm(matrix, matrix)
        seconds.append(_clock(device) - started)
    return 2 * side**3 / min(seconds)


def _clock(device: torch.device) -> float:
    """Return seconds: on a GPU after all its work is done, on a CPU the processor time of each thread."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time() / torch.get_num_threads()
