"""No process outlives a failed test: those that its body started are killed, and whatever they started in turn."""

import multiprocessing
import os
import time
from collections.abc import Generator, Iterator

import psutil
import pytest

_SESSION = "THEWORLD_TEST_SESSION"
os.environ[_SESSION] = f"{os.getpid()}-{time.time()}"  # a test of this name may run elsewhere on this machine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test's body; if it fails, kill what it left running."""
    before = set(multiprocessing.active_children())
    try:
        return (yield)
    except BaseException:
        for process in [*started_in(item.nodeid), *(set(multiprocessing.active_children()) - before)]:
            process.kill()
        raise


def started_in(nodeid: str) -> Iterator[psutil.Process]:
    """Processes that a test's body started, at any remove: pytest leaves its name in their environment."""
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:  # another user's, or gone by now
            continue
        if environment.get(_SESSION) != os.environ[_SESSION]:
            continue
        if environment.get("PYTEST_CURRENT_TEST") == f"{nodeid} (call)" and process.pid != psutil.Process().pid:
            yield process
