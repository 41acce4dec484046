"""The process around the service: model, key, socket, threads, and an orderly end."""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from theworld.config.serving import ServeSettings
from theworld.serving.engine import Engine
from theworld.serving.listening import LOOPBACK, OrderlyServer, address, bound
from theworld.serving.metrics import Metrics
from theworld.serving.preparing import Preparer
from theworld.serving.service import Service

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
