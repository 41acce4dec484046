"""LoRA adapters through peft; separate because peft takes seconds to import."""

from typing import Any, Final

from theworld.config.model import LoraSettings, LoraTarget
from theworld.modeling.bases import GEMMA3, GEMMA4, QWEN3_VL
from theworld.modeling.fusion import Fusion

_LANGUAGE: Final = r"model\.language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
_VISION: Final = {
    GEMMA3.kind: r"model\.vision_tower\.(vision_model\.)?encoder\.layers\.\d+"
    r"\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])",
    GEMMA4.kind: r"model\.vision_tower\.encoder\.layers\.\d+"
    r"\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)\.linear",
    QWEN3_VL.kind: r"model\.visual\.blocks\.\d+\.(attn\.(qkv|proj)|mlp\.linear_fc[12])",
}
"""Full names of linear layers, by the kind of base: vision and language both have layers called `q_proj`."""

ADAPTER_NAME: Final = "default"


def add_adapters(model: Fusion, settings: LoraSettings) -> None:
    """Add adapters to the target's linear layers; at first they do not change the model's outputs.

    W x becomes W x + (alpha / rank) B A x, with B = 0 at first (https://arxiv.org/abs/2106.09685).
    """
    import peft  # slow to import, and only models with adapters need it

    of_target: dict[LoraTarget, str] = {"language": _LANGUAGE, "vision": _VISION[model.config.BASE.kind]}
    layers = "|".join(of_target[target] for target in settings.targets)
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=layers
    )
    peft.inject_adapter_in_model(config, model, ADAPTER_NAME)
    if getattr(model, "is_quantized", False):
        model._hf_peft_config_loaded = True  # Trainer refuses quantized weights that have no adapters
    model.train(model.training)  # new layers start with dropout on


def merge_adapters(model: Fusion) -> None:
    """Add the adapters to the weights of their layers, in the format of these weights, and remove the adapters.

    Raises:
        ValueError: for quantized weights, which would round the adapters.
    """
    if getattr(model, "is_quantized", False):
        raise ValueError("adapters cannot be merged into quantized weights: load with quantize=None, then merge")
    from peft.tuners.lora import LoraLayer

    layers: list[tuple[str, Any]] = [
        (name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)
    ]
    for name, module in layers:
        module.merge(safe_merge=True)
        model.set_submodule(name, module.get_base_layer())
    del model.peft_config
