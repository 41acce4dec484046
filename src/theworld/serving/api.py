"""OpenAI-compatible API: its routes, from the body of a request to the answer, and its command."""

import asyncio
import hmac
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, get_args

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from theworld.config.serving import ServeSettings
from theworld.modeling import TheWorld
from theworld.modeling.factory import scope_of
from theworld.serving.decoding import BatchDecoder, Finished, Piece, Row
from theworld.serving.engine import Engine, EventQueue
from theworld.serving.inputs import Lane, Prepared, Preparer
from theworld.serving.metrics import Metrics
from theworld.serving.refusals import ClientGoneError, RequestError
from theworld.serving.server import LOOPBACK, EventStream, Service, as_event, open_model, run

logger = logging.getLogger(__name__)

KEY = "THEWORLD_API_KEY"
"""Environment variable with the key that clients must send."""

_T = TypeVar("_T")


class Reply(EventQueue[Piece | Finished]):
    """The answer to one request, event by event.

    Args:
        max_seconds: longest time from now to the last event.
    """

    def __init__(self, max_seconds: float) -> None:
        super().__init__(max_seconds, "ask for fewer tokens, or later")
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.is_counted = False
        """True once the metrics contain its end."""

    async def last(self) -> Finished:
        """Await the end of the answer; drop the pieces before it."""
        while not isinstance(event := await self.next(), Finished):
            pass
        return event


class ChatApi(Service):
    """The routes of the API.

    Args:
        model: answers.
        settings: name of the model, and limits.
        key: clients must send it as `Authorization: Bearer`; None: no key.
    """

    known_routes = "/v1/chat/completions, /v1/models, /health, /metrics"

    def __init__(self, model: TheWorld, settings: ServeSettings, key: str | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.preparer = Preparer(model, settings, settings.served_name or settings.model)
        decoder = BatchDecoder(model, self.metrics, settings.max_kept_bytes)
        self.engine: Engine[Row] = Engine(
            decoder,
            max_queue=settings.max_queue,
            max_batch_size=settings.max_batch_size,
            batch_wait_seconds=settings.batch_wait_ms / 1000,
        )
        decoder.pause = self.engine.answer_quick
        self.metrics.waiting.set_function(lambda: self.engine.num_waiting)
        self._created = int(time.time())
        self._scope = scope_of(model.config, self.preparer.name)
        self._reading = ThreadPoolExecutor(2, "reading")
        self._encoding = {lane: ThreadPoolExecutor(1, lane) for lane in get_args(Lane)}
        self._num_preparing = 0
        super().__init__(
            self.engine,
            [
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/v1/models/{name:path}", self.model),
                Route("/health", self.health),
                Route("/metrics", self.show_metrics),
            ],
            [] if key is None else [Middleware(RequireKey, key=key)],
        )

    def error_response(self, error: RequestError) -> Response:
        """Return an error in OpenAI's form."""
        return _openai_error(error)

    async def models(self, request: Request) -> Response:
        """List the one model."""
        return JSONResponse({"object": "list", "data": [self._card()]})

    async def model(self, request: Request) -> Response:
        """Describe the one model, by its name."""
        if request.path_params["name"] != self.preparer.name:
            raise RequestError(
                f"no model {request.path_params['name']!r} here: expected {self.preparer.name!r}",
                404,
                "model_not_found",
            )
        return JSONResponse(self._card())

    def _card(self) -> dict[str, Any]:
        card = {"id": self.preparer.name, "object": "model", "created": self._created, "owned_by": "theworld"}
        return {**card, "description": self._scope} if self._scope else card

    async def health(self, request: Request) -> Response:
        """Return 200 until the shutdown begins, then 503."""
        self.check_open()
        return JSONResponse({"status": "ok"})

    async def show_metrics(self, request: Request) -> Response:
        """Return the metrics in Prometheus' text format."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    # --- chat completions ------------------------------------------------------------------------------------

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, whole or piece by piece."""
        reply = Reply(self.settings.max_seconds)
        try:
            body = await reply.within_time(self._body(request))
            prepared, first = await _while_connected(request, self._begin(body, reply))
        except RequestError as error:
            self._count(reply, error.status, error)
            return self.error_response(error)
        if isinstance(first, Finished) and not prepared.request.stream:
            self._count(reply, 200)
            return JSONResponse(self._whole(reply, prepared, first))
        return EventStream(self._pieces(reply, prepared, first), lambda: self._end_stream(reply, prepared))

    def _count(self, reply: Reply, status: int, error: RequestError | None = None) -> None:
        if reply.is_counted:
            return
        reply.is_counted = True
        self.metrics.requests.labels(str(status)).inc()
        self.metrics.request_seconds.observe(asyncio.get_running_loop().time() - reply.started)
        if error is not None:
            self.metrics.errors.labels(error.code).inc()

    async def _body(self, request: Request) -> bytes:
        """Read the body of a request, if the queue has room for it."""
        self.check_open()
        self.engine.check_room(self._num_preparing)
        most = self.settings.max_request_bytes
        body = await self.read_body(
            request, most, f"a request of more than {most:,} bytes; send fewer or smaller pictures and videos"
        )
        self.engine.check_room(self._num_preparing)  # it may have filled up while the body arrived
        return body

    async def _begin(self, body: bytes, reply: Reply) -> tuple[Prepared, Piece | Finished]:
        """Submit the row of a request; return it with the first event to send."""
        loop = asyncio.get_running_loop()
        self._num_preparing += 1
        try:
            reading = loop.run_in_executor(self._reading, self.preparer.read, body)
            checked = await reply.within_time(_result(reading))
            encoder = self._encoding[checked.lane]
            encoding = loop.run_in_executor(encoder, self.preparer.encode, checked, reply.emit)
            prepared = await reply.within_time(_result(encoding))
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
            "world": _world(prepared),
        }

    async def _pieces(self, reply: Reply, prepared: Prepared, first: Piece | Finished) -> AsyncIterator[str]:
        """Yield the answer as server-sent events; an error on the way is the last event, without a [DONE]."""
        try:
            yield self._chunk(reply, {"role": "assistant", "content": ""})
            event = first
            while isinstance(event, Piece):
                yield self._chunk(reply, {"content": event.text})
                event = await reply.next()
        except RequestError as error:
            self._count(reply, error.status, error)
            yield as_event(error.body())
            return
        if event.rest:
            yield self._chunk(reply, {"content": event.rest})
        yield self._chunk(reply, {}, event.reason, world=_world(prepared))
        if prepared.request.stream_options.include_usage:
            head = self._head(reply, "chat.completion.chunk")
            yield as_event({**head, "choices": [], "usage": _usage(prepared, event)})
        self._count(reply, 200)
        yield "data: [DONE]\n\n"

    def _end_stream(self, reply: Reply, prepared: Prepared) -> None:
        gone = ClientGoneError()
        self._count(reply, gone.status, gone)  # no effect after a counted end
        self.engine.cancel(prepared.row)

    def _chunk(self, reply: Reply, delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return as_event({**self._head(reply, "chat.completion.chunk"), "choices": [choice], **more})

    def _head(self, reply: Reply, kind: str) -> dict[str, Any]:
        return {"id": reply.id, "object": kind, "created": reply.created, "model": self.preparer.name}


class RequireKey:
    """Middleware that refuses requests without the key; /health needs none."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self.app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = dict(scope.get("headers", ())).get(b"authorization", b"")
        scheme, _, key = authorization.partition(b" ")
        is_right = scheme.lower() == b"bearer" and hmac.compare_digest(key.strip(b" "), self._key)
        if scope["path"] == "/health" or is_right:
            await self.app(scope, receive, send)
            return
        error = RequestError(
            "the API key is missing or wrong: expected Authorization: Bearer KEY", 401, "invalid_api_key"
        )
        await _openai_error(error)(scope, receive, send)


def serve(settings: ServeSettings, on_ready: Callable[[str], None]) -> dict[str, Any]:
    """Serve a model until SIGTERM or SIGINT.

    Args:
        settings: model, address and limits.
        on_ready: called with the base URL of the API once the server listens.

    Returns:
        Number of answered requests, of batches, and of tokens in the answers.

    Raises:
        ValueError: for a model that cannot be served, or an empty key.
        OSError: if the address is not available.
    """
    key = os.environ.get(KEY)
    if key is not None and not (key.isascii() and key.strip() == key != ""):
        raise ValueError(f"{KEY} is empty, has white space around it, or is not ASCII: unset it, or give a key")

    def open_service() -> ChatApi:
        if key is None and settings.host not in LOOPBACK:
            logger.warning("%s is open to the network and asks for no key: set %s", settings.host, KEY)
        return ChatApi(open_served(settings), settings, key)

    value = run(settings, open_service, lambda address: on_ready(f"{address}/v1")).metrics.value
    return {
        "answered": int(value("theworld_requests_total", status="200")),
        "batches": int(value("theworld_batch_rows_count")),
        "completion_tokens": int(value("theworld_completion_tokens_total")),
    }


def open_served(settings: ServeSettings) -> TheWorld:
    """Load the model that the settings name, ready to answer.

    Raises:
        ValueError: for a model that reads true futures: no client can send them.
    """
    options: dict[str, Any] = {} if settings.enable_world else {"enable_world": False}
    for name in ("num_world_steps", "num_inference_steps"):
        if (value := getattr(settings, name)) is not None:
            options[name] = value
    return open_model(settings, **options)


async def _while_connected(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Await some work; cancel it when the client disconnects.

    Raises:
        ClientGoneError: if the client disconnected.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _result(future: asyncio.Future[_T]) -> _T:
    return await future


def _usage(prepared: Prepared, end: Finished) -> dict[str, int]:
    prompt = prepared.row.num_prompt_tokens
    return {"prompt_tokens": prompt, "completion_tokens": end.num_tokens, "total_tokens": prompt + end.num_tokens}


def _world(prepared: Prepared) -> dict[str, Any]:
    """Return the field `world` of an answer."""
    notes = {"notes": list(prepared.notes)} if prepared.notes else {}
    return {**prepared.row.world_report, **notes}


def _openai_error(error: RequestError) -> Response:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(error.status)
    return JSONResponse(error.body(), error.status, headers)
