"""The first 300 test items of each task, read once for all tests of Foresight."""

from collections.abc import Iterator

import jaxtyping
import pytest

from theworld.datasets.foresight.items import Item, make_item
from theworld.datasets.foresight.scene import TASKS, Task

NUM_ITEMS = 300


@pytest.fixture(scope="session")
def items_of() -> dict[Task, list[Item]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # checking every small call doubles the time
        return {task: [make_item("test", index, task) for index in range(NUM_ITEMS)] for task in TASKS}


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


@pytest.fixture
def items(items_of: dict[Task, list[Item]], task: Task) -> list[Item]:
    """The items of each task in turn."""
    return items_of[task]


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Let wrong arguments through to our own errors, and long simulations run at their own speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield
