"""The validation items of one whole period, made once for all tests of Foresight."""

import jaxtyping
import pytest

from theworld.foresight.drop import PERIOD
from theworld.foresight.items import Item, make_item


@pytest.fixture(scope="session")
def items() -> list[Item]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # checking every small call doubles the time
        return [make_item("validation", index) for index in range(PERIOD)]


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let wrong arguments through to our own errors: beartype would complain first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
