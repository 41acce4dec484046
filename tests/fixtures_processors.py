"""Processors that this machine may not have, as the choice of number formats sees them."""

from collections.abc import Callable

import pytest
import torch

from theworld import precision
from theworld.training import metrics


@pytest.fixture
def cpu_with(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let this machine have no GPU and a processor with these instruction sets: `cpu_with("avx2", "amx_bf16")`."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    for once in (precision._warn, precision._warn_replaced, metrics._warn_of_peak):
        once.cache_clear()

    def has(*flags: str) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(precision, "processor_flags", lambda: frozenset(flags))

    return has
