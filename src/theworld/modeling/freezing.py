"""Freeze the parts of the fused model by name, and remember those that were ever trained."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import torch
from torch import nn

if TYPE_CHECKING:
    from theworld.modeling.configuration import WorldFields

PARTS: dict[str, tuple[str, ...]] = {
    "world": ("world.",),
    "vision": ("model.vision_tower.", "model.multi_modal_projector.", "model.embed_vision.", "model.visual."),
    "language": ("model.language_model.", "lm_head."),
    "adapters": (),
    "cosmos_vae": ("cosmos_vae.encoder.", "cosmos_vae.quant_conv."),
}
"""Part to the prefixes of its parameters; adapters are inside the other parts, and have a mark in their names. The
VAE's decoder belongs to no part: features do not depend on it."""

_IMAGE_PROJECTOR: Final = (
    "model.multi_modal_projector.",
    "model.embed_vision.",
    "model.visual.merger.",
    "model.visual.deepstack_merger_list.",
)
"""Prefixes within `vision` of the layers between the tower and the language model."""

_ADAPTER_MARK = ".lora_"


def part_of(name: str) -> str | None:
    """Return the part of a parameter, or None."""
    if _ADAPTER_MARK in name:
        return "adapters"
    return next((part for part, prefixes in PARTS.items() if name.startswith(prefixes)), None)


def trainable_parts(config: "WorldFields") -> list[str]:
    """Return the parts that train under this configuration, in the order of PARTS."""
    trains = {
        "world": config.enable_world,
        "vision": not (config.freeze_gemma_vision and _freezes_projector(config)),
        "language": not config.freeze_gemma_language,
        "adapters": config.lora is not None,
        "cosmos_vae": config.enable_world and not config.freeze_cosmos_vae,
    }
    return [part for part in PARTS if trains[part]]


def _freezes_projector(config: "WorldFields") -> bool:
    own = config.freeze_gemma_projector
    return config.freeze_gemma_vision if own is None else own


def _is_frozen(name: str, part: str | None, config: "WorldFields") -> bool:
    """Return True for a parameter of the part `vision` that stays while others of the part train."""
    if part != "vision":
        return False
    return _freezes_projector(config) if name.startswith(_IMAGE_PROJECTOR) else config.freeze_gemma_vision


def check_names(parts: Iterable[str]) -> None:
    """Check the names of parts to freeze or unfreeze.

    Raises:
        ValueError: for a name that no setting `freeze_NAME` has.
    """
    if unknown := set(parts) - {"gemma_vision", "gemma_projector", "gemma_language", "cosmos_vae"}:
        raise ValueError(
            f"freeze got {sorted(unknown)}: expected gemma_vision, gemma_projector, gemma_language or cosmos_vae"
        )


def freeze(model: nn.Module, config: "WorldFields") -> None:
    """Let exactly the configured parts train, and add them to `config.trained_parts`.

    Parts that train are float32, whatever the format of the rest: bfloat16 loses updates below a 256th of a weight, so
    markers, scale and most of the projector would not move at usual learning rates. The world's own layers are float32
    even if they are frozen: they are small, and were trained in it.

    Raises:
        ValueError: for a part that would train in quantized weights.
    """
    parts = trainable_parts(config)
    for name, parameter in model.named_parameters():
        part = part_of(name)
        trains = part in parts and not _is_frozen(name, part, config)
        if trains and getattr(parameter, "quant_state", None) is not None:
            raise ValueError(f"{part} cannot train, since its weights are quantized: load it with quantize=None")
        parameter.requires_grad_(trains)
        if (part in parts or part == "world") and parameter.dtype != torch.float32:
            parameter.data = parameter.data.float()
    config.trained_parts = [part for part in PARTS if part in parts or part in (config.trained_parts or [])]


def num_weights(parameter: torch.Tensor) -> int:
    """Return the number of weights of a parameter, also where a byte of it holds two."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else state.shape.numel()


def count_parameters(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Count (trainable, total) parameters by part; `other` counts those of no part."""
    counts: dict[str, tuple[int, int]] = dict.fromkeys((*PARTS, "other"), (0, 0))
    for name, parameter in model.named_parameters():
        part = part_of(name) or "other"
        trainable, total = counts[part]
        size = num_weights(parameter)
        counts[part] = (trainable + (size if parameter.requires_grad else 0), total + size)
    return {part: pair for part, pair in counts.items() if pair[1]}


def parameter_table(model: nn.Module) -> str:
    """Format a table: part, trainable and total parameters, share."""
    rows = count_parameters(model)
    trainable, total = (sum(column) for column in zip(*rows.values(), strict=True))
    lines = [f"{'part':<12}{'trainable':>16}{'total':>16}{'%':>9}"]
    for part, (num_trainable, num_all) in [*rows.items(), ("all", (trainable, total))]:
        lines.append(f"{part:<12}{num_trainable:>16,}{num_all:>16,}{100 * num_trainable / num_all:>9.3f}")
    return "\n".join(lines)
