"""The process around the service: model, key, socket, threads, and an orderly end."""

import asyncio
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from theworld.config.serving import ServeSettings
from theworld.serving.api import Service
from theworld.serving.engine import Engine
from theworld.serving.inputs import Preparer
from theworld.serving.metrics import Metrics

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that only this machine reaches."""


class OrderlyServer(uvicorn.Server):
    """A server that SIGTERM and SIGINT end in good order: what was begun is finished, then `serve` returns.

    A second SIGINT drops the connections.

    Args:
        app: what answers.
        max_seconds: longest wait for answers that are under way at the end.
    """

    def __init__(self, app: ASGIApp, max_seconds: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(max_seconds),  # also for clients that no longer read
            )
        )

    def stop(self) -> None:
        """End when what was begun is finished."""
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What a signal does."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals end the server and nothing else: uvicorn's own way would raise them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


def address(listening: socket.socket) -> str:
    """Where a browser or a client finds it."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address, not yet listening: an address that is taken is refused before a model is loaded.

    Raises:
        OSError: if the address cannot be had.
    """
    try:
        (family, kind, protocol, _, place), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OSError(f"{host}:{port}: {error.strerror or error}; choose another with --host") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        listening.close()
        raise OSError(f"{host}:{port}: {error.strerror or error}; choose another with --host or --port") from error
    return listening


logger = logging.getLogger(__name__)

KEY = "THEWORLD_API_KEY"
"""Environment variable with the key that clients must show."""


class Server(OrderlyServer):
    """One service on one socket, with its model's thread."""

    def __init__(self, model: Any, settings: ServeSettings, key: str | None = None) -> None:
        self.metrics = Metrics()
        self.engine = Engine(model, settings.max_batch_size, settings.batch_wait_ms / 1000, self.metrics)
        preparer = Preparer(model, settings, settings.served_name or settings.model)
        self.service = Service(self.engine, preparer, settings, self.metrics, key)
        super().__init__(self.service.app, settings.max_seconds)

    def serve_forever(self, listening: socket.socket) -> None:
        """Answer requests until a signal, or `stop`.

        Raises:
            Exception: whatever ended the model's thread, if it was a fault of this program.
        """
        with ThreadPoolExecutor(1, "model") as model_thread:
            working = model_thread.submit(self.engine.run)
            working.add_done_callback(self._on_model_end)
            try:
                asyncio.run(self.serve(sockets=[listening]))
            finally:
                self.engine.close()
            working.result()

    def stop(self) -> None:
        """Refuse new requests, answer those that were taken, end."""
        self.service.draining = True
        super().stop()

    def _on_model_end(self, working: "Future[None]") -> None:
        if working.exception() is not None:
            self.stop()


def serve(settings: ServeSettings, on_ready: Callable[[str], None]) -> dict[str, Any]:
    """Serve a model until SIGTERM or SIGINT.

    Args:
        settings: which model, where, with which limits.
        on_ready: called with the server's address once it listens.

    Returns:
        How many requests were answered and refused, and in how many batches.

    Raises:
        ValueError: for a model that cannot be served, or an empty key.
        OSError: if the address cannot be had.
    """
    key = os.environ.get(KEY)
    if key is not None and not (key.isascii() and key.strip() == key != ""):
        raise ValueError(f"{KEY} is empty, has white space around it, or is not ASCII: unset it, or give a key")
    with bound(settings.host, settings.port) as listening:
        if key is None and settings.host not in LOOPBACK:
            logger.warning("%s is open to the network and asks for no key: set %s", settings.host, KEY)
        server = Server(open_served(settings), settings, key)
        listening.listen(128)
        on_ready(f"{address(listening)}/v1")
        server.serve_forever(listening)
    value = server.metrics.value
    return {
        "answered": int(value("theworld_requests_total", status="200")),
        "batches": int(value("theworld_batch_rows_count")),
        "completion_tokens": int(value("theworld_completion_tokens_total")),
    }


def open_served(settings: ServeSettings) -> Any:
    """The model that settings name, ready to answer.

    Raises:
        ValueError: for a model that cannot answer clients, who know no future.
    """
    from theworld.modeling import TheWorld
    from theworld.modeling.factory import on_this_machine, to_be_asked

    options: dict[str, Any] = {} if settings.enable_world else {"enable_world": False}
    if settings.num_world_steps is not None:
        options["num_world_steps"] = settings.num_world_steps
    model = TheWorld.from_pretrained(to_be_asked(settings.model), **options, **on_this_machine(settings.dtype))
    if model.config.enable_world and model.config.world_settings().sees_future:
        raise ValueError(
            f"{settings.model} reads true futures, which no client can show: align it to another tap"
            " (model.transfer_tap), or serve it with --no-enable-world"
        )
    return model
