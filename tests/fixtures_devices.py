"""Two accelerators that a CPU stands in for: tensors say where they lie, and operations refuse to mix the places.

A tensor of a stand-in device holds an ordinary tensor and the name of its device. Every operation runs on the ordinary
tensors, once its arguments were found to lie on one device; so numbers are those of the CPU, and a forgotten `.to`
fails as it would on real accelerators. transformers' placing and accelerate's hooks run unchanged.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CPU = torch.device("cpu")
STAND_IN = "cuda"  # the type of device that is played
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
TAKES_CPU_INDICES = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}


class Placed(Tensor):
    """A tensor that lies on a stand-in device."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device | None = None, requires_grad: bool = False) -> "Placed":
        of_class = device is None  # accelerate makes a parameter by calling the class of the one before
        if isinstance(inner, Placed):
            inner, device = inner.held, inner.device
        placed = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            dtype=inner.dtype,
            device=CPU if device is None else device,
            requires_grad=requires_grad,
        )
        placed.held = inner
        if of_class:
            placed._is_param = True
        return placed

    def tolist(self) -> list[Any]:
        return self.held.tolist()

    def new_tensor(self, data: Any, **options: Any) -> Tensor:
        return self.held.new_tensor(data, **options).to(self.device)

    def __deepcopy__(self, memo: Any) -> "Placed":  # pyright: ignore[reportIncompatibleMethodOverride]
        return Placed(self.held.clone(), self.device)

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def __repr__(self, **_: Any) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return f"{self.device}: {self.held}"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, on the ordinary tensors; what it gives lies where its arguments lie, or where it is asked to."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    wanted = None if kwargs.get("device") is None else torch.device(kwargs["device"])
    if not any(isinstance(tensor, Placed) for tensor in tensors) and (wanted is None or wanted.type != STAND_IN):
        return func(*args, **kwargs)
    places = {tensor.device for tensor in tensors if tensor.ndim or tensor.device != CPU}
    if func in TAKES_CPU_INDICES and tensors[0].device != CPU:
        places -= {CPU}
    if len(places) > 1 and func not in MOVES:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found {sorted(map(str, places))}")
    place = wanted if wanted is not None else next(iter(places), CPU)
    if func is torch.ops.aten.copy_.default:
        place = tensors[0].device
    owners = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Placed)}
    inner_args, inner_kwargs = tree_map(lambda leaf: leaf.held if isinstance(leaf, Placed) else leaf, (args, kwargs))
    if wanted is not None:
        inner_kwargs = {**inner_kwargs, "device": CPU}
    given = func(*inner_args, **inner_kwargs)
    if func is torch.ops.aten._to_copy.default and any(given is tensor for tensor in tensors):
        given = given.clone()

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in owners:  # changed in place
            return owners[id(leaf)]
        return leaf if place == CPU else Placed(leaf, place)

    return tree_map(wrapped, given)


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


@contextmanager
def _standing_in() -> Iterator[None]:
    tensor: Any = torch.tensor  # of numbers: the one factory that asks no mode

    def tensor_of(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        if device is None or torch.device(device).type != STAND_IN:
            return tensor(data, device=device, **options)
        return tensor(data, device=CPU, **options).to(device)

    torch._C._ensureCUDADeviceGuardSet()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # `.data =` would lose what a tensor holds
    try:
        with pytest.MonkeyPatch.context() as patch, torch.no_grad(), _Mode():
            patch.setattr(torch.cuda, "_lazy_init", lambda: None)
            patch.setattr(torch, "tensor", tensor_of)
            patch.setenv("HF_DEACTIVATE_ASYNC_LOAD", "1")  # the mode holds in this thread only
            patch.setattr("transformers.modeling_utils.caching_allocator_warmup", lambda *args: None)
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.fixture
def accelerators(stack: Path) -> Callable[[], AbstractContextManager[None]]:
    """Within it models can be loaded onto cuda:0 and cuda:1, for inference."""
    if torch.cuda.is_available():
        pytest.skip("a real accelerator is there")
    return _standing_in
