"""Processes that start warm: forked from a server that has imported all, so that tests can end dozens of them."""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["pytest", "fixtures_warm"])

TIMEOUT_SECONDS = 300


def start(target: Callable[..., None], *arguments: Any, environment: dict[str, str] | None = None) -> BaseProcess:
    """A process that calls a function of a module."""
    with pytest.MonkeyPatch.context() as patch:  # where the server, which the first call starts, finds what it imports
        patch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)]))
        forkserver.ensure_running()
    process = SERVER.Process(target=_call, args=(environment or {}, target, arguments))
    process.start()
    return process


def run_ranks(num_processes: int, target: Callable[..., None], *arguments: Any) -> list[int | None]:
    """Call a function in several processes that find each other as under a launcher; their exit codes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    shared |= {"WORLD_SIZE": str(num_processes), "LOCAL_WORLD_SIZE": str(num_processes)}
    ranks = [
        start(target, *arguments, environment={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(num_processes)
    ]
    for rank in ranks:
        rank.join(TIMEOUT_SECONDS)
        if rank.is_alive():
            for one in ranks:
                one.kill()
            raise TimeoutError(f"a process of {target.__name__} hangs")
    return [rank.exitcode for rank in ranks]


def _call(environment: dict[str, str], target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    import torch

    torch.set_num_threads(1)
    target(*arguments)
