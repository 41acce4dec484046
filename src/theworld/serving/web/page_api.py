"""Service: the page and the routes behind it, and the way of a question from its bytes to its last event."""

import asyncio
import base64
import binascii
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from theworld.config.base import STRICT
from theworld.config.serving import AppSettings
from theworld.datasets.foresight import Task
from theworld.datasets.foresight.items import NUM_SHIPPED
from theworld.report.html import style_sheet
from theworld.serving.api import EventStream
from theworld.serving.protocol import RequestError
from theworld.serving.web.about import AuditVerdict, Steps, about
from theworld.serving.web.demo_answer import Asked, TwoAnswers, as_url
from theworld.serving.web.inputs import Given, read_files, read_scene, shown
from theworld.serving.web.line import Event, Line, Turn

PAGE: Final = Path(__file__).parent / "static"
NUM_SCENES: Final = NUM_SHIPPED["test"]

_SCENE_SHOWN_PX: Final = 448
"""Side of the picture of a scene on the page; the model sees the same scene at its own size."""

_SMALL_BYTES: Final = 100_000
"""Of a request, besides a picture or a question."""

_ESCAPED_BYTES: Final = 12
"""Most bytes of a character in JSON: two escapes of six, for one outside of the basic plane."""

_T = TypeVar("_T")

_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(config=STRICT)
class SceneRequest:
    """Which scene."""

    task: Task
    number: Annotated[int, Field(ge=1, le=NUM_SCENES)]


@dataclass(config=STRICT)
class PictureRequest:
    """Files, base64."""

    files: list[str]


@dataclass(config=STRICT)
class Question:
    """A question about a picture."""

    picture_id: str
    question: str
    num_world_steps: Annotated[int, Field(ge=0)] = 0


class Service:
    """The page, as an ASGI application (`app`).

    Args:
        model: a TheWorld.
        settings: limits.
        verdict: of its audit.
    """

    def __init__(self, model: Any, settings: AppSettings, verdict: AuditVerdict) -> None:
        self.settings = settings
        self.line = Line(settings.max_queue)
        self.num_answered = 0
        self._answers = TwoAnswers(model, settings)
        self._steps = Steps.of(model.config, settings)
        self._about = about(model, settings, verdict, self._steps)
        self._rate_hz: float = model.config.frame_rate_hz
        self._most_frames = self._steps.most_frames
        self._scene_px: int = max(model.config.vision_config.image_size, model.config.world_image_size)
        self._pictures: OrderedDict[str, Given] = OrderedDict()
        self._reading = ThreadPoolExecutor(1, "reading")
        self._num_pictures = 0
        self.app = Starlette(
            routes=[
                Route("/", _file("index.html")),
                *(Route(f"/{path.name}", _file(path.name)) for path in sorted(PAGE.iterdir())),
                Route("/house.css", _house_style),
                Route("/about", self.tell_about),
                Route("/scene", self.scene, methods=["POST"]),
                Route("/picture", self.picture, methods=["POST"]),
                Route("/ask", self.ask, methods=["POST"]),
            ],
            exception_handlers={
                RequestError: _refuse,
                HTTPException: _refuse_route,
                ClientDisconnect: _let_go,
                Exception: _break_down,
            },
            middleware=[Middleware(Headers)],
        )

    async def tell_about(self, request: Request) -> Response:
        """What the page says of the model, and what may be chosen."""
        return JSONResponse(self._about)

    async def scene(self, request: Request) -> Response:
        """A scene of Foresight, ready to be asked about."""
        wanted = _validated(_SCENE, await self._words(request))
        async with self._room():
            given, larger = [
                await self._read(read_scene, wanted.task, wanted.number - 1, side_px, self._most_frames)
                for side_px in (self._scene_px, _SCENE_SHOWN_PX)
            ]
            strip = await self._read(shown, larger.frames)
        return JSONResponse(self._keep(f"{wanted.task} {wanted.number}", given, strip))

    async def picture(self, request: Request) -> Response:
        """A picture or a clip that was sent, ready to be asked about."""
        async with self._room():
            most = self.settings.max_request_bytes * 4 // 3 + _SMALL_BYTES  # base64
            limit = f"{self.settings.max_request_bytes / 1e6:g} MB"
            body = await self._body(request, most, f"larger than {limit}: send a smaller picture or a shorter clip")
            files = await self._read(_decoded, body)
            given = await self._read(read_files, files, self.settings, self._rate_hz, self._most_frames)
            strip = await self._read(shown, given.frames)
        return JSONResponse(self._keep(secrets.token_urlsafe(16), given, strip))

    def _keep(self, key: str, given: Given, strip: bytes) -> Event:
        self._pictures.pop(key, None)
        self._pictures[key] = given
        while len(self._pictures) > self.settings.num_pictures:
            self._pictures.popitem(last=False)
        return {
            "picture_id": key,
            "strip": as_url(strip),
            "num_frames": len(given.frames),
            "note": given.note,
            "questions": [{"text": one.text, "answer": one.answer} for one in given.questions],
            "num_world_steps": given.num_world_steps,
        }

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        """Room for one more picture that is received and read, and the time for it.

        Raises:
            RequestError: if there is none, or the time is over.
        """
        if self._num_pictures >= self.settings.max_queue:
            raise RequestError("many pictures are being read; send it again in a moment", 429, "queue_full")
        self._num_pictures += 1
        try:
            async with asyncio.timeout(self.settings.max_seconds):
                yield
        except TimeoutError:
            raise RequestError("this picture took too long; send a smaller one", 504, "timeout") from None
        finally:
            self._num_pictures -= 1

    async def _read(self, call: Callable[..., _T], *arguments: Any) -> _T:
        """Pictures are read and shown in a thread of their own, one after the other: no other visitor waits for it."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, call, *arguments)

    async def ask(self, request: Request) -> Response:
        """Both answers, as a stream of events."""
        asked = self._asked(_validated(_QUESTION, await self._words(request)))
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

        def emit(event: Event) -> None:
            if not loop.is_closed():  # after a forced end nobody listens
                loop.call_soon_threadsafe(events.put_nowait, event)

        turn = Turn(lambda turn: self._answers.answer(turn, asked), emit)
        self.line.submit(turn)
        return EventStream(self._told(events), lambda: self.line.cancel(turn))

    def _asked(self, wanted: Question) -> Asked:
        question, most = wanted.question.strip(), self.settings.max_question_characters
        if not question:
            raise RequestError("no question: write one")
        if len(question) > most:
            raise RequestError(f"a question of {len(question):,} characters: expected at most {most:,}")
        given = self._pictures.get(wanted.picture_id)
        if given is None:
            raise RequestError("this picture is forgotten, since others came after it: choose it again", 410, "gone")
        self._pictures.move_to_end(wanted.picture_id)
        self._steps.check(wanted.num_world_steps)
        return Asked(wanted.picture_id, given, question, wanted.num_world_steps)

    async def _told(self, events: asyncio.Queue[Event]) -> AsyncIterator[str]:
        """Events as they come, until the last one or the end of the time."""
        until = asyncio.get_running_loop().time() + self.settings.max_seconds
        event: Event = {}
        while event.get("is") not in ("done", "error"):
            try:
                async with asyncio.timeout_at(until):
                    event = await events.get()
            except TimeoutError:
                told = f"no whole answer within {self.settings.max_seconds:g} s; look less far ahead, or ask later"
                event = {"is": "error", "sentence": told}
            self.num_answered += event["is"] == "done"
            if event["is"] == "error":
                event["sentence"] = _as_sentence(event["sentence"])
            yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"

    async def _words(self, request: Request) -> bytes:
        """The bytes of a request without a picture."""
        most = _SMALL_BYTES + _ESCAPED_BYTES * self.settings.max_question_characters
        return await self._body(request, most, "a request of too many bytes: write less")

    async def _body(self, request: Request, most: int, told: str) -> bytes:
        """The bytes of a request; beyond so many, nothing more is read, and what is `told` is the answer."""
        if request.headers.get("content-type") != "application/json":  # what other sites' pages cannot send
            raise RequestError("expected application/json", 415, "unsupported_media_type")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise RequestError(told, 413, "too_large")
        return bytes(body)


class Headers:
    """Lets the page load from nowhere else, and nothing be kept of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        await self.app(scope, receive, with_headers)


_SCENE, _PICTURE, _QUESTION = TypeAdapter(SceneRequest), TypeAdapter(PictureRequest), TypeAdapter(Question)


def _validated(adapter: TypeAdapter[Any], body: bytes) -> Any:
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise RequestError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _decoded(body: bytes) -> list[bytes]:
    """The contents of the files of a PictureRequest."""
    files = _validated(_PICTURE, body).files
    try:
        return [base64.b64decode(content, validate=True) for content in files]
    except (binascii.Error, ValueError):
        raise RequestError("a file that is not base64: send it from the page") from None


def _file(name: str) -> Any:
    async def give(request: Request) -> Response:
        return FileResponse(PAGE / name, headers={"cache-control": "no-cache"})

    return give


async def _house_style(request: Request) -> Response:
    return Response(style_sheet(), media_type="text/css", headers={"cache-control": "no-cache"})


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse({"sentence": _as_sentence(str(error))}, error.status)


async def _refuse_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"sentence": f"{request.method} {request.url.path}: {error.detail}."}, error.status_code)


async def _let_go(request: Request, error: Exception) -> Response:
    """Who leaves while sending hears nothing any more; 499 is what web servers log for it."""
    return Response(status_code=499)


async def _break_down(request: Request, error: Exception) -> Response:
    """A fault of this program; Starlette raises it again, so that the log has its traceback."""
    return JSONResponse({"sentence": "The server broke down on this; its log says why."}, 500)


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
