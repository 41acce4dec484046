"""HTTP server of the API and the page: routes with one error mapping, request bodies, socket, signals, model thread."""

import asyncio
import json
import math
import signal
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from theworld.config.serving import AppSettings, ServeSettings
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine, to_be_asked
from theworld.serving.engine import Engine
from theworld.serving.protocol import ClientGoneError, RequestError, ShuttingDownError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that only this machine reaches."""


class Service(ABC):
    """Routes in front of an engine, as an ASGI application (`app`).

    Args:
        engine: answers the jobs of the routes.
        routes: the routes.
        middleware: wraps the routes.
    """

    known_routes = ""
    """Routes that the answer to an unknown route names; empty: none."""

    def __init__(self, engine: Engine[Any], routes: Sequence[Route], middleware: Sequence[Middleware] = ()) -> None:
        self.engine = engine
        self.draining = False
        """True while the server shuts down and refuses new requests."""
        self.app = Starlette(
            routes=list(routes),
            middleware=list(middleware),
            exception_handlers={
                RequestError: self._refuse,
                HTTPException: self._refuse_route,
                Exception: self._break_down,
            },
        )

    @abstractmethod
    def error_response(self, error: RequestError) -> Response:
        """Return the response that reports an error."""

    def check_open(self) -> None:
        """Refuse new requests during shutdown.

        Raises:
            RequestError: while the server shuts down.
        """
        if self.draining:
            raise ShuttingDownError

    async def read_body(self, request: Request, max_bytes: int, too_large: str) -> bytes:
        """Read the JSON body of a request; stop at the limit.

        Args:
            request: the request.
            max_bytes: largest body.
            too_large: message for a larger body.

        Raises:
            RequestError: during shutdown, for another content type than JSON, for a body that is too large, or if the
                client disconnects.
        """
        self.check_open()
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":  # a page of another site cannot send this type to a local server
            raise RequestError(f"content-type {media_type!r}: expected application/json", 415, "unsupported_media_type")
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise RequestError(too_large, 413, "request_too_large")
        except ClientDisconnect:
            raise ClientGoneError from None
        return bytes(body)

    async def _refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return self.error_response(error)

    async def _refuse_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        hint = f"; this server has {self.known_routes}" if self.known_routes else ""
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        message = f"{request.method} {request.url.path}: {error.detail}{hint}"
        return self.error_response(RequestError(message, error.status_code, code))

    async def _break_down(self, request: Request, error: Exception) -> Response:
        """Report a programming error; Starlette raises it again, so the log has its traceback."""
        return self.error_response(
            RequestError("the server broke down on this request; its log says why", 500, "internal_error")
        )


class EventStream(StreamingResponse):
    """Server-sent events; calls `on_end` after the last one, or when the client leaves."""

    def __init__(self, events: AsyncIterator[str], on_end: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


def as_event(content: dict[str, Any]) -> str:
    """Format one server-sent event with JSON content."""
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


class Server(uvicorn.Server):
    """One service on one socket, with its model thread.

    SIGTERM and SIGINT end the server in good order: it refuses new requests, finishes the accepted ones, and
    `serve_forever` returns. A second SIGINT drops the connections.

    Args:
        service: answers the requests.
        max_seconds: longest wait at the end for running answers.
    """

    def __init__(self, service: Service, max_seconds: float) -> None:
        self.service = service
        super().__init__(
            uvicorn.Config(
                service.app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=math.ceil(max_seconds),  # ends connections of clients that no longer read
            )
        )

    def serve_forever(self, listening: socket.socket) -> None:
        """Answer requests until a signal, or `stop`.

        Raises:
            Exception: the programming error that ended the model thread, if there was one.
        """
        engine = self.service.engine
        with ThreadPoolExecutor(1, "model") as model_thread:  # two forwards at once on a CPU take longer than in turn
            working = model_thread.submit(engine.run)
            working.add_done_callback(self._on_model_end)
            try:
                asyncio.run(self.serve(sockets=[listening]))
            finally:
                engine.close()
            working.result()

    def stop(self) -> None:
        """Refuse new requests, answer the accepted ones, then end."""
        self.service.draining = True
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.stop()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals here alone; uvicorn's own version raises them again afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def _on_model_end(self, working: "Future[None]") -> None:
        if working.exception() is not None:
            self.stop()


_S = TypeVar("_S", bound=Service)


def run(settings: ServeSettings | AppSettings, open_service: Callable[[], _S], on_ready: Callable[[str], None]) -> _S:
    """Run a service until SIGTERM or SIGINT.

    Args:
        settings: address and time limit.
        open_service: loads the model and returns the service; called once the address is reserved.
        on_ready: called with the address once the server listens.

    Raises:
        OSError: if the address is not available.
    """
    with bound(settings.host, settings.port) as listening:
        service = open_service()
        listening.listen(128)
        on_ready(address(listening))
        Server(service, settings.max_seconds).serve_forever(listening)
    return service


def address(listening: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def bound(host: str, port: int) -> socket.socket:
    """Bind a socket without listening: an address in use is refused before the model loads.

    Raises:
        OSError: if the address is not available.
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


def open_model(settings: ServeSettings | AppSettings, **options: Any) -> TheWorld:
    """Load the model that the settings name, ready to answer.

    Args:
        settings: name and number format of the model.
        options: passed to `TheWorld.from_pretrained`.

    Raises:
        ValueError: for a model that reads true futures: no client can send them.
    """
    model = TheWorld.from_pretrained(to_be_asked(settings.model), **options, **on_this_machine(settings.dtype))
    if model.config.enable_world and model.config.world_settings().sees_future:
        raise ValueError(
            f"{settings.model} reads true futures, which no client can show: align it to another tap"
            " (model.transfer_tap), or serve it with `theworld serve --no-enable-world`"
        )
    return model
