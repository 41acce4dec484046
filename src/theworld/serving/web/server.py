"""The process around the page: model, socket, threads, and an orderly end."""

import asyncio
import logging
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from theworld.config.serving import AppSettings
from theworld.serving.server import LOOPBACK, OrderlyServer, address, bound
from theworld.serving.web.about import AuditVerdict, verdict_of
from theworld.serving.web.page_api import Service

logger = logging.getLogger(__name__)


class Server(OrderlyServer):
    """The page on one socket, with its model's thread."""

    def __init__(self, model: Any, settings: AppSettings, verdict: AuditVerdict) -> None:
        self.service = Service(model, settings, verdict)
        super().__init__(self.service.app, settings.max_seconds)

    def serve_forever(self, listening: socket.socket) -> None:
        """Answer visitors until a signal, or `stop`.

        Raises:
            Exception: whatever ended the model's thread, if it was a fault of this program.
        """
        line = self.service.line
        with ThreadPoolExecutor(1, "model") as model_thread:  # a forward on a CPU must not run twice at once
            working = model_thread.submit(line.run)
            working.add_done_callback(self._on_model_end)
            try:
                asyncio.run(self.serve(sockets=[listening]))
            finally:
                line.close()
            working.result()

    def _on_model_end(self, working: "Future[None]") -> None:
        if working.exception() is not None:
            self.stop()


def show(settings: AppSettings, on_ready: Callable[[str], None]) -> dict[str, Any]:
    """Show the page until SIGTERM or SIGINT.

    Args:
        settings: which model, where, with which limits.
        on_ready: called with the page's address once it listens.

    Returns:
        How many questions were answered.

    Raises:
        ValueError: for a model that cannot be shown, or an audit of another one.
        OSError: if the address cannot be had.
    """
    with bound(settings.host, settings.port) as listening:
        if settings.host not in LOOPBACK:
            logger.warning("%s is open to the network: everybody there can ask", settings.host)
        model = open_shown(settings)
        server = Server(model, settings, verdict_of(model, settings.model, settings.audit))
        listening.listen(128)
        on_ready(address(listening))
        server.serve_forever(listening)
    return {"answered": server.service.num_answered}


def open_shown(settings: AppSettings) -> Any:
    """The model that settings name, ready to answer.

    Raises:
        ValueError: for a model that reads true futures, which no visitor can show.
    """
    from theworld.modeling import TheWorld
    from theworld.modeling.factory import on_this_machine, to_be_asked

    model = TheWorld.from_pretrained(to_be_asked(settings.model), **on_this_machine(settings.dtype))
    if model.config.enable_world and model.config.world_settings().sees_future:
        raise ValueError(
            f"{settings.model} reads true futures, which no visitor can show: align it to another tap"
            " (model.transfer_tap)"
        )
    return model
