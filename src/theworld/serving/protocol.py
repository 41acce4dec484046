"""ChatRequest: the body of a chat completion, read strictly; what is asked for and not served is refused."""

from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class RequestError(ValueError):
    """A request that is not answered.

    Args:
        message: what was given, what was expected, and the remedy.
        status: HTTP status.
        code: one word for programs, such as `context_length_exceeded`.
    """

    def __init__(self, message: str, status: int = 400, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def kind(self) -> str:
        """OpenAI's own grouping of errors."""
        if self.status >= 500:
            return "server_error"
        return {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, "invalid_request_error")

    def body(self) -> dict[str, Any]:
        """What is sent."""
        return {"error": {"message": str(self), "type": self.kind, "param": None, "code": self.code}}


class ShuttingDownError(RequestError):
    """Requests are not taken any more."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; ask another", 503, "shutting_down")


class ClientGoneError(RequestError):
    """Nobody is there any more to hear the answer; 499 is what web servers log for it."""

    def __init__(self) -> None:
        super().__init__("the client went away", 499, "client_gone")


WITHOUT_EFFECT = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"})
"""Fields that say nothing about the answer."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
"""Fields that are not served, and the values of them that ask for nothing."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(_Strict):
    """A piece of text."""

    type: Literal["text"]
    text: str


class ImageUrl(_Strict):
    """Where a picture is: in the URL itself."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(_Strict):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Message(_Strict):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None

    @property
    def parts(self) -> list[TextPart | ImagePart]:
        """The content as parts."""
        return [TextPart(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class StreamOptions(_Strict):
    """What else is streamed."""

    include_usage: bool = False


class ChatRequest(_Strict):
    """What is asked, and how it is to be answered."""

    messages: Annotated[list[Message], Field(min_length=1)]
    model: str | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | list[str] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions = Field(default_factory=StreamOptions)
    world: bool | None = None
    num_world_steps: Annotated[int, Field(ge=0)] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the answer and are no part of it."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def new_tokens(self) -> int | None:
        """Longest answer asked for."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def image_urls(self) -> list[str]:
        """The pictures, in their order."""
        return [part.image_url.url for one in self.messages for part in one.parts if isinstance(part, ImagePart)]

    @property
    def num_characters(self) -> int:
        """Length of all texts."""
        return sum(len(part.text) for one in self.messages for part in one.parts if isinstance(part, TextPart))


def read_request(body: bytes) -> ChatRequest:
    """The request in a body.

    Raises:
        RequestError: for what is not JSON, an unknown or unserved field, a value out of range, or turns that do not
            alternate.
    """
    try:
        given = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the body is not JSON ({error})", code="invalid_json") from None
    if not isinstance(given, dict):
        raise RequestError("the body is no JSON object: expected messages and options by name", code="invalid_json")
    given = _without_nulls(given)
    for name, neutral in NEUTRAL.items():
        if name in given and given.pop(name) not in neutral:
            raise RequestError(f"{name} is not served: drop it, or give {neutral[0]!r}", code="unsupported_value")
    try:
        request = ChatRequest.model_validate({name: given[name] for name in given.keys() - WITHOUT_EFFECT})
    except ValidationError as error:
        raise RequestError(_problem(error)) from None
    _check(request)
    return request


def to_conversation(request: ChatRequest, pictures: list[Any]) -> list[dict[str, Any]]:
    """The messages as the chat template takes them, each picture in the place of its URL."""
    waiting = iter(pictures)
    messages: list[dict[str, Any]] = []
    for one in request.messages:
        items = [
            {"type": "text", "text": part.text}
            if isinstance(part, TextPart)
            else {"type": "image", "image": next(waiting)}
            for part in one.parts
        ]
        role = "system" if one.role == "developer" else one.role
        if role == "system":  # the template takes one text
            items = [{"type": "text", "text": "".join(item["text"] for item in items)}]
        messages.append({"role": role, "content": items})
    return messages


def _check(request: ChatRequest) -> None:
    roles = [one.role for one in request.messages]
    turns = roles[1:] if roles[0] in ("system", "developer") else roles
    if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"] or not turns:
        raise RequestError(f"messages of the roles {roles[:8]}: expected [system,] user, assistant, user, ..., user")
    for one in request.messages:
        if not one.parts:
            raise RequestError(f"a message of {one.role} without content: expected text or pictures")
        if one.role != "user" and any(isinstance(part, ImagePart) for part in one.parts):
            raise RequestError(f"a picture in a message of {one.role}: only a user shows pictures")
    if len(request.stops) > 4 or any(not 1 <= len(text) <= 200 for text in request.stops):
        raise RequestError("stop: expected at most 4 texts of 1 to 200 characters")
    if 0 < request.temperature < 0.01:
        raise RequestError(f"temperature={request.temperature}: expected 0 (no dice) or 0.01 to 2")


def _without_nulls(value: Any) -> Any:
    """The same without entries that are null: clients send them for what they do not mean."""
    if isinstance(value, dict):
        return {name: _without_nulls(one) for name, one in value.items() if one is not None}
    return [_without_nulls(one) for one in value] if isinstance(value, list) else value


def _problem(error: ValidationError) -> str:
    """The deepest problem in one sentence, without what was given: it may be a picture."""
    worst = max(error.errors(include_url=False, include_input=False), key=lambda one: len(one["loc"]))
    where = ".".join(str(part) for part in worst["loc"])
    if worst["type"] == "extra_forbidden":
        return f"{where}: unknown field; drop it"
    return f"{where}: {worst['msg'].removeprefix('Input ')}"
