"""Calls of the native model inside the fusion: they get the world, too, or are refused.

Trainers with losses of their own, such as TRL's, call the native model and then its head, not the fusion's `forward`.
The native model ignores inputs that it does not know: such a trainer would train without the world, unnoticed.
"""

import weakref
from typing import Any

from jaxtyping import Int
from torch import Tensor

from theworld.modeling.configuration import WorldFields


class DirectCalls:
    """A hook before the native model's forward.

    Its argument is a `Fusion`, which it holds weakly: with a strong reference the memory of a deleted model would stay
    until Python looks for cycles. A copy of the fusion has a hook of its own.
    """

    def __init__(self, fusion: Any) -> None:
        self._fusion = weakref.ref(fusion)

    def __call__(self, module: Any, args: tuple[Any, ...], inputs: dict[str, Any]) -> Any:
        """Fuse the world's inputs of a direct call; `forward` of the fusion leaves none.

        Raises:
            ValueError: for a prompt with placeholders of a world without its inputs, and as the fusion's `forward`.
        """
        fusion = self._fusion()
        if fusion is None:
            return None
        ids = args[0] if args else inputs.get("input_ids")
        if inputs.get("world_pixels") is None and inputs.get("world_features") is None:
            refuse_absent_world(fusion.config, ids, has_pictures=inputs.get("pixel_values") is not None)
            return None
        if len(args) > 1:
            raise ValueError(f"{len(args)} inputs without names beside a world: give all of them by name")
        return (), fusion.fuse_inputs({**inputs, "input_ids": ids})[0]

    def __getstate__(self) -> dict[str, Any]:
        return {"fusion": self._fusion()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["fusion"])


def refuse_absent_world(config: WorldFields, input_ids: Int[Tensor, "B L"] | None, has_pictures: bool) -> None:
    """Raise an error if a model with a world gets none: it must not answer without it unnoticed.

    Raises:
        ValueError: for placeholders of the world; with residual fusion for pictures.
    """
    if input_ids is None or not config.enable_world:
        return
    if config.world_fusion == "tokens":
        if count := int((input_ids == config.world_token_id).sum()):
            raise ValueError(f"{count} world placeholders but 0 features: pass world_pixels or world_features")
    elif has_pictures:
        raise ValueError(
            "pictures without a world: residual fusion leaves no placeholder that would show it; pass world_pixels"
            " or world_features, or load the model with enable_world=False"
        )
