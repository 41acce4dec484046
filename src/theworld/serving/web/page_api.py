"""The web page: its files, its routes, from a question to the last event of the answers, and its command."""

import asyncio
import logging
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, ValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from theworld.config.data_base import Shift
from theworld.config.serving import AppSettings
from theworld.datasets.foresight import Task
from theworld.datasets.foresight.items import NUM_SHIPPED
from theworld.modeling import TheWorld
from theworld.report.html import style_sheet
from theworld.serving.engine import Engine, EventQueue
from theworld.serving.inputs import own_tokenizer
from theworld.serving.media import from_base64
from theworld.serving.protocol import StrictBody, read_json
from theworld.serving.refusals import RequestError, problem
from theworld.serving.server import LOOPBACK, EventStream, Service, as_event, open_model, run
from theworld.serving.web.about import AuditVerdict, Steps, about, verdict_of
from theworld.serving.web.demo_answer import DemoQuestion, PageEvent, TwoAnswers, as_url
from theworld.serving.web.uploads import Clip, read_files, read_scene, shown

logger = logging.getLogger(__name__)

PAGE: Final = Path(__file__).parent / "static"
NUM_SCENES: Final = NUM_SHIPPED["test"]

_SCENE_SHOWN_PX: Final = 448
"""Side of a scene's picture on the page; the model sees the same scene at its own size."""

_SMALL_BYTES: Final = 100_000
"""Bytes of a request besides its picture or question."""

_MOST_VALUES: Final = 10_000
"""Most values in a request; the commas of a question count."""

_ESCAPED_BYTES: Final = 12
"""Most bytes of a character in JSON: two escapes of six bytes each, outside the basic plane."""

_T = TypeVar("_T")
_B = TypeVar("_B", bound=StrictBody)

_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class SceneRequest(StrictBody):
    """Kind and number of a scene, and what is changed in it: camera and light as in `Shift`, and its gravity."""

    task: Task
    number: Annotated[int, Field(ge=1, le=NUM_SCENES)]
    camera_px: Annotated[float, Field(ge=-8, le=8)] = 0.0
    zoom: Annotated[float, Field(ge=0.5, le=1.5)] = 1.0
    light: Annotated[float, Field(ge=0.25, le=1.5)] = 1.0
    gravity: Annotated[float, Field(ge=0.25, le=4)] = 1.0


class PictureRequest(StrictBody):
    """Files in base64."""

    files: list[str]


class QuestionRequest(StrictBody):
    """A question about a picture."""

    picture_id: str
    question: str
    num_world_steps: Annotated[int, Field(ge=0)] = 0


class PageApi(Service):
    """The routes of the page.

    Args:
        model: answers.
        settings: limits.
        verdict: verdict of the model's audit.
    """

    def __init__(self, model: TheWorld, settings: AppSettings, verdict: AuditVerdict) -> None:
        self.settings = settings
        self.num_answered = 0
        self._answers = TwoAnswers(model, settings)
        self._steps = Steps.of(model.config, settings)
        self._about = about(model, settings, verdict, self._steps)
        self._rate_hz = model.config.frame_rate_hz
        self._scene_px: int = max(self._about["image_px"], self._about["world_px"])
        self._clips: OrderedDict[str, Clip] = OrderedDict()
        self._parsing = ThreadPoolExecutor(2, "parsing")
        self._reading = ThreadPoolExecutor(1, "reading")
        self._counting = own_tokenizer(model)
        self._num_reading = 0
        self.engine: Engine[DemoQuestion] = Engine(
            lambda questions: self._answers.answer(questions[0]), max_queue=settings.max_queue
        )
        super().__init__(
            self.engine,
            [
                Route("/", _file("index.html")),
                *(Route(f"/{path.name}", _file(path.name)) for path in sorted(PAGE.iterdir())),
                Route("/house.css", _house_style),
                Route("/about", self.show_about),
                Route("/scene", self.scene, methods=["POST"]),
                Route("/picture", self.picture, methods=["POST"]),
                Route("/ask", self.ask, methods=["POST"]),
            ],
            [Middleware(Headers)],
        )

    def error_response(self, error: RequestError) -> Response:
        """Return an error as a sentence for the page."""
        return JSONResponse({"sentence": _as_sentence(str(error))}, error.status)

    async def show_about(self, request: Request) -> Response:
        """Describe the model and the choices of the page."""
        return JSONResponse(self._about)

    async def scene(self, request: Request) -> Response:
        """Prepare a scene of Foresight for questions."""
        wanted = _parse(SceneRequest, await self._small_body(request))
        shift = Shift(camera_px=wanted.camera_px, zoom=wanted.zoom, light=wanted.light)
        async with self._room():
            clip, larger = [
                await self._read(
                    read_scene, wanted.task, wanted.number - 1, side_px, self._steps.most_frames, shift, wanted.gravity
                )
                for side_px in (self._scene_px, _SCENE_SHOWN_PX)
            ]
            strip = await self._read(shown, larger.frames)
        return JSONResponse(self._keep(" ".join(map(str, wanted.model_dump().values())), clip, strip))

    async def picture(self, request: Request) -> Response:
        """Prepare an uploaded picture or clip for questions."""
        self._check_room()
        most = self.settings.max_request_bytes * 4 // 3 + _SMALL_BYTES  # base64
        limit = f"{self.settings.max_request_bytes / 1e6:g} MB"
        too_large = f"larger than {limit}: send a smaller picture or a shorter clip"
        body = await self.read_body(request, most, too_large)
        async with self._room():
            files = await asyncio.get_running_loop().run_in_executor(self._parsing, _decode, body)
            clip = await self._read(read_files, files, self.settings, self._rate_hz, self._steps.most_frames)
            strip = await self._read(shown, clip.frames)
        return JSONResponse(self._keep(secrets.token_urlsafe(16), clip, strip))

    def _keep(self, picture_id: str, clip: Clip, strip: bytes) -> dict[str, Any]:
        """Store a clip, drop the oldest ones, and describe the clip for the page."""
        self._clips.pop(picture_id, None)
        self._clips[picture_id] = clip
        limits = self.settings
        while len(self._clips) > limits.num_pictures or (
            len(self._clips) > 1 and sum(clip.num_bytes for clip in self._clips.values()) > limits.max_kept_bytes
        ):
            self._clips.popitem(last=False)
        return {
            "picture_id": picture_id,
            "strip": as_url(strip),
            "num_frames": len(clip.frames),
            "note": clip.note,
            "questions": [{"text": question.text, "answer": question.answer} for question in clip.questions],
            "num_world_steps": clip.num_world_steps,
        }

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        """Reserve room and time for one more upload.

        Raises:
            RequestError: if there is no room, or the time is over.
        """
        self._check_room()
        self._num_reading += 1
        try:
            async with asyncio.timeout(self.settings.max_seconds):
                yield
        except TimeoutError:
            raise RequestError("this picture took too long; send a smaller one", 504, "timeout") from None
        finally:
            self._num_reading -= 1

    def _check_room(self) -> None:
        if self._num_reading >= self.settings.max_queue:
            raise RequestError(
                "the server is reading many pictures; send this one again in a moment", 429, "queue_full"
            )

    async def _read(self, call: Callable[..., _T], *arguments: Any) -> _T:
        """Run `call` in the thread that reads pictures, one after the other; the routes stay responsive."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, call, *arguments)

    async def ask(self, request: Request) -> Response:
        """Stream both answers as events."""
        wanted = _parse(QuestionRequest, await self._small_body(request))
        events: EventQueue[PageEvent] = EventQueue(self.settings.max_seconds, "look less far ahead, or ask later")
        question = self._question(wanted, events.emit)
        self.engine.submit(question)
        return EventStream(self._stream(events), lambda: self.engine.cancel(question))

    def _question(self, wanted: QuestionRequest, emit: Callable[[Any], None]) -> DemoQuestion:
        """Return the job of a question.

        Raises:
            RequestError: for an empty or long question (an emoji has several tokens), an unknown picture, or an
                unsupported number of steps.
        """
        text, most = wanted.question.strip(), self.settings.max_question_characters
        if not text:
            raise RequestError("no question: write one")
        if len(text) > most:
            raise RequestError(f"a question of {len(text):,} characters: expected at most {most:,}")
        clip = self._clips.get(wanted.picture_id)
        if clip is None:
            raise RequestError("the server no longer keeps this picture: choose it again", 410, "gone")
        self._clips.move_to_end(wanted.picture_id)
        self._steps.check(wanted.num_world_steps)
        if (num_tokens := len(self._counting(text, add_special_tokens=False)["input_ids"])) > most:
            raise RequestError(f"a question of {num_tokens:,} tokens: expected at most {most:,}; write less")
        return DemoQuestion(wanted.picture_id, clip, text, wanted.num_world_steps, emit)

    async def _stream(self, events: EventQueue[PageEvent]) -> AsyncIterator[str]:
        """Yield the events up to `done` or an error."""
        event: PageEvent = {}
        while event.get("is") not in ("done", "error"):
            try:
                event = await events.next()
            except RequestError as error:
                event = {"is": "error", "sentence": _as_sentence(str(error))}
            self.num_answered += event["is"] == "done"
            yield as_event(event)

    async def _small_body(self, request: Request) -> bytes:
        """Read the body of a request without a picture."""
        most = _SMALL_BYTES + _ESCAPED_BYTES * self.settings.max_question_characters
        return await self.read_body(request, most, "a request of too many bytes: write less")


class Headers:
    """Middleware that adds the security headers of the page: it loads only from its own server."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self.app(scope, receive, with_headers)


def show(settings: AppSettings, on_ready: Callable[[str], None]) -> dict[str, Any]:
    """Show the page until SIGTERM or SIGINT.

    Args:
        settings: model, address and limits.
        on_ready: called with the URL of the page once the server listens.

    Returns:
        Number of answered questions.

    Raises:
        ValueError: for a model that cannot be shown, or an audit of another model.
        OSError: if the address is not available.
    """

    def open_service() -> PageApi:
        if settings.host not in LOOPBACK:
            logger.warning("%s is open to the network: everybody there can ask", settings.host)
        model = open_model(settings)
        return PageApi(model, settings, verdict_of(model, settings.model, settings.audit))

    return {"answered": run(settings, open_service, on_ready).num_answered}


def _parse(kind: type[_B], body: bytes) -> _B:
    fields = read_json(body, _MOST_VALUES)
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise RequestError(f"the field {problem(error, fields)}") from None


def _decode(body: bytes) -> list[bytes]:
    """Return the contents of the files of a PictureRequest."""
    files = _parse(PictureRequest, body).files
    try:
        return [from_base64(content) for content in files]
    except ValueError:
        raise RequestError("a file that is not base64: send it from the page") from None


def _file(name: str) -> Any:
    async def send_file(request: Request) -> Response:
        return FileResponse(PAGE / name, headers={"cache-control": "no-cache"})

    return send_file


async def _house_style(request: Request) -> Response:
    return Response(style_sheet(), media_type="text/css", headers={"cache-control": "no-cache"})


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"
