"""4-bit weights of a frozen language model below its adapters (QLoRA), through transformers and bitsandbytes."""

import copy
from importlib.util import find_spec
from typing import Any, Final

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from theworld.modeling.configuration import WorldFields
from theworld.precision import name_of

STORED_BYTES: Final = "stored_bytes"
"""Attribute of a planned weight: its bytes in 4 bits."""

_BITS: Final = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits of a weight: its own 4, an 8-bit scale for 64 weights, and a float32 scale for 256 of those scales."""

_LAYERS: Final = "model.language_model.layers."
_BUT_LAYERS: Final = rf"(?!{_LAYERS}).*"
"""Names of modules outside of the language model's layers: vision, head and world keep their format."""

_OUR_OWN: Final = ("world", "cosmos_vae")
_HEAD: Final = "lm_head"


def settle(config: WorldFields, options: dict[str, Any]) -> None:
    """Put the quantization that a configuration asks for into the options of transformers' `from_pretrained`.

    Layers in 4 bits compute in `options["dtype"]`, or in the saved format if that is "auto". The caller may have given
    a `quantization_config` instead: if it leaves out nothing, the world's layers are left out.

    Raises:
        ValueError: for both, or without bitsandbytes.
    """
    given = options.get("quantization_config")
    if config.quantize is None:
        if getattr(given, "llm_int8_skip_modules", ()) is None:
            options["quantization_config"] = _without_our_own(given)
        return
    if given is not None:
        raise ValueError(f"quantize={config.quantize!r} and quantization_config= both quantize the base: give one")
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            f"quantize={config.quantize!r} needs bitsandbytes: pip install 'theworld[quantized]', or load the weights"
            " unquantized with quantize=None"
        )
    dtype = options["dtype"]
    options["quantization_config"] = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=name_of((config.dtype or torch.float32) if dtype == "auto" else dtype),
        llm_int8_skip_modules=[_BUT_LAYERS],
    )


def _without_our_own(given: Any) -> Any:
    """Leave the world's layers out: they have no file to be quantized from. A list replaces transformers' own."""
    named = copy.deepcopy(given)
    named.llm_int8_skip_modules = [_HEAD, *_OUR_OWN]
    return named


def mark_planned(model: nn.Module) -> None:
    """Give the weights of a model on `meta` that `quantize` stores in 4 bits an attribute with their bytes."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith(_LAYERS) and ".lora_" not in name:
            setattr(module.weight, STORED_BYTES, round(module.weight.numel() * _BITS / 8))
