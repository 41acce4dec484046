"""Activation memory: trace the bytes that a block keeps and needs for a moment, on tensors without storage."""

import copy
import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from torch.utils.weak import WeakIdKeyDictionary

from theworld.precision import Precision

_FUSED: dict[Any, Any] = {  # torch counts only the kernels of GPUs
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda query, key, value, *_, **__: sdpa_flop_count(
        query, key, value
    )
}
AUTOCAST: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Traced(NamedTuple):
    """Bytes of one block."""

    kept: int
    """Held between its forward and its backward pass, output included; without gradients only the output."""
    forward: int
    """Peak of its forward pass, beyond `kept`."""
    backward: int
    """Peak of its backward pass, beyond `kept`, without the gradients of weights that are finished."""
    gradients: int
    """Gradients of the trained weights."""
    flops: int
    """Operations of the forward pass."""


class LiveBytes(TorchDispatchMode):
    """Counts the live bytes of the storages that operations allocate."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known = WeakIdKeyDictionary()
        """Storages to the finalizers that subtract them; None: a storage that does not count."""
        for tensor in tensors:
            self._known[tensor.untyped_storage()] = None

    def forget(self, tensor: Tensor) -> None:
        """Stop counting the storage of a tensor."""
        storage = tensor.untyped_storage()
        if (finalizer := self._known.get(storage)) is not None:
            finalizer()
            self._known[storage] = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: Any) -> None:
        if storage in self._known:
            return
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        self._known[storage] = weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.live -= size


def trace(
    block: nn.Module,
    inputs: Callable[[], tuple[tuple[Tensor, ...], dict[str, Any]]],
    precision: Precision = "fp32",
    *,
    flows: bool,
    answers: bool = False,
    run: Callable[..., Any] | None = None,
) -> Traced:
    """Run a block forward, and backward if anything needs a gradient, on tensors without storage.

    Args:
        block: on `meta`; it stays unchanged.
        inputs: makes positional and named arguments; called in a mode in which new tensors have no storage.
        precision: of the forward pass, not `auto`; bf16 and fp16 run under autocast, and its copies of weights count.
        flows: True if a gradient flows to the first positional argument.
        answers: True for a forward pass alone, whatever trains.
        run: takes the block and the arguments; default: calls the block.
    """
    twin = copy.deepcopy(block)
    if answers:
        twin.requires_grad_(False)
    with FakeTensorMode():
        _take_storage(twin)
        args, kwargs = inputs()
        if flows:
            args[0].requires_grad_()
        weights = [*twin.parameters(), *twin.buffers()]
        live = LiveBytes(value for value in (*weights, *args, *tree_iter(kwargs)) if isinstance(value, Tensor))
        trained = [weight for weight in twin.parameters() if weight.requires_grad]
        learns = flows or bool(trained)
        counter = FlopCounterMode(display=False, custom_mapping=_FUSED)
        with live, counter, torch.set_grad_enabled(learns), _autocast(precision):
            result = (twin if run is None else lambda *a, **k: run(twin, *a, **k))(*args, **kwargs)
        kept, forward = live.live, live.peak
        if not learns:
            return Traced(kept, forward - kept, 0, 0, counter.get_total_flops())
        live.peak = live.live
        flops = counter.get_total_flops()
        output = result[0] if isinstance(result, tuple) else result
        for weight in trained:  # a gradient counts while it is computed; what it adds up to counts with its part
            weight.register_post_accumulate_grad_hook(lambda weight: live.forget(cast(Tensor, weight.grad)))
        with live:
            output.backward(torch.empty_like(output))
        gradients = sum(weight.nbytes for weight in trained)
        return Traced(kept, forward - kept, live.peak - kept, gradients, flops)


def _autocast(precision: Precision) -> Any:
    return torch.autocast("cpu", dtype=AUTOCAST[precision]) if precision in AUTOCAST else nullcontext()


def _take_storage(block: nn.Module) -> None:
    """Replace the weights of a block by weights without storage.

    The block then runs through the kernels of a CPU, whose flash attention keeps as much as that of a GPU.
    """
    for module in block.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                fresh = torch.empty(weight.shape, dtype=weight.dtype)
                module._parameters[name] = nn.Parameter(fresh, requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
