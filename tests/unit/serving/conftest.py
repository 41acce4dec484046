"""Fixtures: one server for all tests, and a gate in front of its model."""

from collections.abc import Iterator
from typing import Any

import pytest
from served_model import Gate, Served, served


@pytest.fixture(scope="session")
def server(fused: Any) -> Iterator[Served]:
    """A server with the random fused model; its counters accumulate over the tests."""
    with served(fused) as running:
        yield running


@pytest.fixture
def gate(fused: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate in front of `fused`."""
    gate = Gate()
    monkeypatch.setattr(fused, "generate", gate.before(fused.generate))
    yield gate
    gate.open.set()
