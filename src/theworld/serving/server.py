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
from uvicorn.protocols.http.h11_impl import H11Protocol

from theworld.config.serving import AppSettings, ServeSettings
from theworld.modeling import TheWorld
from theworld.modeling.factory import on_this_machine, to_be_asked
from theworld.serving.engine import Engine
from theworld.serving.refusals import ClientGoneError, RequestError, ShuttingDownError

_HEAD_SECONDS = 10.0
"""Longest wait for the head of a request."""
_FIRST_BODY_SECONDS = 10.0
_LEAST_BYTES_PER_SECOND = 10_000
"""A body must arrive within 10 s, and 1 s more per 10 kB received."""
_MOST_BODIES = 8
"""Bodies of the largest size that may be in memory while they arrive; further bytes are refused with 429."""

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
        self._arriving_bytes = 0
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
            RequestError: during shutdown, for another content type than JSON, for a body that is too large or too
                slow, while too many bodies arrive at once, or if the client disconnects.
        """
        self.check_open()
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":  # a page of another site cannot send this type to a local server
            raise RequestError(f"content-type {media_type!r}: expected application/json", 415, "unsupported_media_type")
        body = bytearray()
        try:
            async with asyncio.timeout(_FIRST_BODY_SECONDS) as limit:
                begun = limit.when() or 0.0
                async for chunk in request.stream():
                    body += chunk
                    self._arriving_bytes += len(chunk)
                    if len(body) > max_bytes:
                        raise RequestError(too_large, 413, "request_too_large")
                    if self._arriving_bytes > _MOST_BODIES * max_bytes:
                        raise RequestError("too many requests arrive at once; ask later", 429, "queue_full")
                    limit.reschedule(begun + len(body) / _LEAST_BYTES_PER_SECOND)
        except ClientDisconnect:
            raise ClientGoneError from None
        except TimeoutError:
            message = f"only {len(body):,} bytes of the body arrived in time; send it faster"
            raise RequestError(message, 408, "request_timeout") from None
        finally:
            self._arriving_bytes -= len(body)
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


class HostCheck:
    """ASGI application in front of a service: refuses requests for other host names, as DNS rebinding sends them.

    Args:
        service: answers the other requests.
        hosts: names that clients may use; IPv6 addresses in brackets.
    """

    def __init__(self, service: Service, hosts: Sequence[str]) -> None:
        self.service = service
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = next((value.decode("latin-1") for key, value in scope.get("headers", ()) if key == b"host"), "")
        name = name[: name.index("]") + 1] if name.startswith("[") and "]" in name else name.partition(":")[0]
        if name.lower() in self.hosts:
            await self.service.app(scope, receive, send)
            return
        message = f"host {name!r}: expected {' or '.join(self.hosts)}; name others with --allowed-hosts"
        await self.service.error_response(RequestError(message, 421, "wrong_host"))(scope, receive, send)


class TimelyProtocol(H11Protocol):
    """HTTP connections that end if the head of a request does not arrive in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start the clock of the first head."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Stop the clock once a head is whole; start it at the first byte of the next one."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for_head()
        else:
            self._stop_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _unsupported_upgrade_warning(self) -> None:
        """Log nothing: the request is answered, and no package would add a WebSocket to this server."""

    def _wait_for_head(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _stop_clock(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


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
        hosts: host names that clients may use; none: any.
    """

    def __init__(self, service: Service, max_seconds: float, hosts: Sequence[str] = ()) -> None:
        self.service = service
        super().__init__(
            uvicorn.Config(
                HostCheck(service, hosts) if hosts else service.app,
                http=TimelyProtocol,
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
        own_names = tuple(f"[{name}]" if ":" in name else name for name in LOOPBACK)
        hosts = settings.allowed_hosts or (own_names if settings.host in LOOPBACK else ())
        Server(service, settings.max_seconds, hosts).serve_forever(listening)
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
