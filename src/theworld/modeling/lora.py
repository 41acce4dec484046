"""LoRA adapters through peft; separate because peft takes seconds to import."""

from typing import Any, Final

from theworld.config.model import LoraSettings, LoraTarget
from theworld.modeling.fusion import FusedGemma

_LAYERS: Final[dict[LoraTarget, str]] = {
    "language": r"model\.language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)",
    "vision": r"model\.vision_tower\.(vision_model\.)?encoder\.layers\.\d+"
    r"\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])",
}
"""Target to the linear layers that get adapters, by their whole name: both sides have layers called `q_proj`."""

_NAME: Final = "default"


def add_adapters(model: FusedGemma, settings: LoraSettings) -> None:
    """Put adapters beside the target's linear layers; they are drawn so that nothing the model says changes.

    W x becomes W x + (alpha / rank) B A x, with B = 0 at first (https://arxiv.org/abs/2106.09685).
    """
    import peft  # seconds that models without adapters do not spend

    layers = "|".join(_LAYERS[target] for target in settings.targets)
    config = peft.LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=layers
    )
    peft.inject_adapter_in_model(config, model, _NAME)
    model.train(model.training)  # the new layers' dropout is on, whatever the model's mode


def merge_adapters(model: FusedGemma) -> None:
    """Add what the adapters learnt to the weights beside them, in those weights' own format, and take them away."""
    from peft.tuners.lora import LoraLayer

    found: list[tuple[str, Any]] = [
        (name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)
    ]
    for name, module in found:
        module.merge(safe_merge=True)
        model.set_submodule(name, module.get_base_layer())
    del model.peft_config


def saved_name(name: str) -> str:
    """The name of a tensor in a checkpoint: the same whether or not an adapter stands beside it."""
    return name.replace(".base_layer.", ".").replace(f".{_NAME}.", ".")
