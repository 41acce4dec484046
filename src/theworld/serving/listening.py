"""OrderlyServer: one socket, and an end in good order when a signal comes."""

import math
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

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
