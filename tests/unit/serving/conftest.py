"""A server for all tests, and a gate before its model."""

from collections.abc import Iterator
from typing import Any

import pytest
from served_model import Gate, Served, served


@pytest.fixture(scope="session")
def server(fused: Any) -> Iterator[Served]:
    """A server with the random fused model; its counters go on from test to test."""
    with served(fused) as running:
        yield running


@pytest.fixture
def gate(fused: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """A gate before `fused`."""
    stands = Gate()
    monkeypatch.setattr(fused, "generate", stands.before(fused.generate))
    yield stands
    stands.open.set()
