"""Pauses in the middle of a batch, before each layer of its networks; separate from decoding, which knows no layers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from theworld.modeling import TheWorld
from theworld.world.changed_weights import networks_of


def layers_of(model: TheWorld) -> list[nn.Module]:
    """Return the layers of a model, and those of the world that it reads: all members of lists of modules."""
    networks: list[nn.Module] = [model, *(networks_of(model.tap).values() if model.tap is not None else ())]
    lists = [module for network in networks for module in network.modules() if isinstance(module, nn.ModuleList)]
    return [layer for layers in lists for layer in layers]


@contextmanager
def pausing(model: TheWorld, layers: Sequence[nn.Module], pause: Callable[[], None]) -> Iterator[None]:
    """Call `pause` before each layer within the block; the model may answer other prompts there.

    A forward keeps all else in its own variables, and Qwen3-VL alone keeps positions in the model.
    """
    inner: Any = model.model

    def call(*_: Any) -> None:
        deltas = getattr(inner, "rope_deltas", None)
        pause()
        if deltas is not None:
            inner.rope_deltas = deltas

    hooks = [layer.register_forward_pre_hook(call) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
