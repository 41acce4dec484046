"""Service: the routes of the server, and the way of a request from its bytes to its answer."""

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from theworld.config.serving import ServeSettings
from theworld.serving.decoding import Event, Finished, Piece
from theworld.serving.engine import Engine
from theworld.serving.inputs import Prepared, Preparer
from theworld.serving.metrics import Metrics
from theworld.serving.protocol import ClientGoneError, RequestError, ShuttingDownError


class EventStream(StreamingResponse):
    """Server-sent events; `on_end` is called at their end, also when the client leaves before it."""

    def __init__(self, events: AsyncIterator[str], on_end: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


_T = TypeVar("_T")


class Reply:
    """What a client waits for: the events of its row, in order, until the time is over.

    Args:
        max_seconds: from now to the last event.
    """

    def __init__(self, max_seconds: float) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.is_counted = False
        """Whether its end is among the metrics."""
        self._max_seconds = max_seconds
        self._loop = asyncio.get_running_loop()
        self.started = self._loop.time()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def emit(self, event: Event) -> None:
        """Take an event; called in the model's thread."""
        if not self._loop.is_closed():  # after a forced end nobody listens
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def within_time(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of some work on the reply.

        Raises:
            RequestError: if the time is over.
        """
        try:
            async with asyncio.timeout_at(self.started + self._max_seconds):
                return await work
        except TimeoutError:
            raise RequestError(
                f"no whole answer within {self._max_seconds:g} s; ask for fewer tokens, or later", 504, "timeout"
            ) from None

    async def next(self) -> Piece | Finished:
        """The next event.

        Raises:
            RequestError: if there will be no answer, or the time is over.
        """
        event = await self.within_time(self._events.get())
        if isinstance(event, RequestError):
            raise event
        return event

    async def last(self) -> Finished:
        """The end of the answer, whatever comes before it."""
        while not isinstance(event := await self.next(), Finished):
            pass
        return event


class Service:
    """The routes, as an ASGI application (`app`).

    Args:
        engine: answers rows.
        preparer: makes rows of requests.
        settings: limits.
        metrics: where requests are counted.
        key: what clients must show as `Authorization: Bearer`; None: nothing.
    """

    def __init__(
        self, engine: Engine, preparer: Preparer, settings: ServeSettings, metrics: Metrics, key: str | None = None
    ) -> None:
        self.engine = engine
        self.preparer = preparer
        self.settings = settings
        self.metrics = metrics
        self.draining = False
        """Whether new requests are refused, since the server shuts down."""
        self._created = int(time.time())
        self._preparing = ThreadPoolExecutor(1, "preparing")
        self._num_preparing = 0
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/v1/models/{name:path}", self.model),
                Route("/health", self.health),
                Route("/metrics", self.show_metrics),
            ],
            exception_handlers={RequestError: _refuse, HTTPException: _refuse_route, Exception: _break_down},
            middleware=[] if key is None else [Middleware(RequireKey, key=key)],
        )

    async def models(self, request: Request) -> Response:
        """The one model."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        """The one model, by its name."""
        if request.path_params["name"] != self.preparer.name:
            raise RequestError(
                f"no model {request.path_params['name']!r} here: expected {self.preparer.name!r}",
                404,
                "model_not_found",
            )
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        return {"id": self.preparer.name, "object": "model", "created": self._created, "owned_by": "theworld"}

    async def health(self, request: Request) -> Response:
        """200 as long as requests are taken."""
        if self.draining:
            raise ShuttingDownError
        return JSONResponse({"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    # --- chat completions ------------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, whole or piece by piece."""
        reply = Reply(self.settings.max_seconds)
        try:
            body = await reply.within_time(self._body(request))
            prepared, first = await _while_there(request, self._begin(body, reply))
        except ClientDisconnect:
            return self._give_up(reply, ClientGoneError())
        except RequestError as error:
            return self._give_up(reply, error)
        if isinstance(first, Finished) and not prepared.request.stream:
            self._count(reply, 200)
            return JSONResponse(self._whole(reply, prepared, first))
        return EventStream(self._pieces(reply, prepared, first), lambda: self._end_stream(reply, prepared))

    def _give_up(self, reply: Reply, error: RequestError) -> Response:
        self._count(reply, error.status, error)
        return _answer_error(error)

    def _count(self, reply: Reply, status: int, error: RequestError | None = None) -> None:
        if reply.is_counted:
            return
        reply.is_counted = True
        self.metrics.requests.labels(str(status)).inc()
        self.metrics.request_seconds.observe(asyncio.get_running_loop().time() - reply.started)
        if error is not None:
            self.metrics.errors.labels(error.code).inc()

    async def _body(self, request: Request) -> bytes:
        """The bytes of a request, as long as they are few enough."""
        if self.draining:
            raise ShuttingDownError
        if self._num_preparing + self.engine.num_waiting >= self.settings.max_queue:
            raise RequestError(f"{self.settings.max_queue} requests are waiting already; ask later", 429, "queue_full")
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # also what keeps web pages from asking a server on their reader's machine
            raise RequestError(f"content-type {kind!r}: expected application/json", 415, "unsupported_media_type")
        most = self.settings.max_request_bytes
        body = bytearray()
        self._num_preparing += 1
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    raise RequestError(
                        f"a request of more than {most:,} bytes; send fewer or smaller pictures",
                        413,
                        "request_too_large",
                    )
        finally:
            self._num_preparing -= 1
        return bytes(body)

    async def _begin(self, body: bytes, reply: Reply) -> tuple[Prepared, Piece | Finished]:
        """A request's row, on its way, and the first that is to be sent of its answer."""
        loop = asyncio.get_running_loop()
        self._num_preparing += 1
        try:
            preparing = loop.run_in_executor(self._preparing, self.preparer, body, reply.emit)
            prepared = await reply.within_time(_result(preparing))
        finally:
            self._num_preparing -= 1
        self.engine.submit(prepared.row)
        try:
            return prepared, await (reply.next() if prepared.request.stream else reply.last())
        except (RequestError, asyncio.CancelledError):
            self.engine.cancel(prepared.row)
            raise

    def _whole(self, reply: Reply, prepared: Prepared, end: Finished) -> dict[str, Any]:
        message = {"role": "assistant", "content": end.text, "refusal": None}
        return {
            **self._head(reply, "chat.completion"),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": end.reason}],
            "usage": _usage(prepared, end),
            "world": _reading(prepared),
        }

    async def _pieces(self, reply: Reply, prepared: Prepared, first: Piece | Finished) -> AsyncIterator[str]:
        """The answer as server-sent events; a failure on the way is one of them, and then there is no [DONE]."""
        try:
            yield self._chunk(reply, {"role": "assistant", "content": ""})
            event = first
            while isinstance(event, Piece):
                yield self._chunk(reply, {"content": event.text})
                event = await reply.next()
        except RequestError as error:
            self._count(reply, error.status, error)
            yield _sent(error.body())
            return
        if event.rest:
            yield self._chunk(reply, {"content": event.rest})
        yield self._chunk(reply, {}, event.reason, world=_reading(prepared))
        if prepared.request.stream_options.include_usage:
            head = self._head(reply, "chat.completion.chunk")
            yield _sent({**head, "choices": [], "usage": _usage(prepared, event)})
        self._count(reply, 200)
        yield "data: [DONE]\n\n"

    def _end_stream(self, reply: Reply, prepared: Prepared) -> None:
        gone = ClientGoneError()
        self._count(reply, gone.status, gone)  # unless its end was counted
        self.engine.cancel(prepared.row)

    def _chunk(self, reply: Reply, delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _sent({**self._head(reply, "chat.completion.chunk"), "choices": [choice], **more})

    def _head(self, reply: Reply, kind: str) -> dict[str, Any]:
        return {"id": reply.id, "object": kind, "created": reply.created, "model": self.preparer.name}


class RequireKey:
    """Lets requests pass that show the key; /health needs none."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        shown = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["path"] == "/health" or hmac.compare_digest(shown, self._expected):
            await self.app(scope, receive, send)
            return
        error = RequestError(
            "the API key is missing or wrong: expected Authorization: Bearer KEY", 401, "invalid_api_key"
        )
        await _answer_error(error)(scope, receive, send)


async def _while_there(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of some work, which is given up when the client goes away.

    Raises:
        ClientGoneError: when it did.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _result(future: asyncio.Future[_T]) -> _T:
    return await future


def _usage(prepared: Prepared, end: Finished) -> dict[str, int]:
    prompt = prepared.row.num_prompt_tokens
    return {"prompt_tokens": prompt, "completion_tokens": end.num_tokens, "total_tokens": prompt + end.num_tokens}


def _reading(prepared: Prepared) -> dict[str, Any]:
    """What was read from the world for an answer."""
    return {"clips_read": prepared.row.num_clips, "num_world_steps": prepared.row.num_world_steps}


def _sent(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _answer_error(error: RequestError) -> Response:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse(error.body(), error.status, headers)


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return _answer_error(error)


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = "/v1/chat/completions, /v1/models, /health, /metrics"
    message = f"{request.method} {request.url.path}: {error.detail}; this server has {known}"
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
    return _answer_error(RequestError(message, error.status_code, code))


async def _break_down(request: Request, error: Exception) -> Response:
    """A fault of this program; Starlette raises it again, so that the log has its traceback."""
    return _answer_error(RequestError("the server broke down on this request; its log says why", 500, "internal_error"))
