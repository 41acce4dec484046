"""Bodies of chat completions and errors: strict parsing, and one exception per refused request."""

from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class RequestError(ValueError):
    """A request that the server refuses or cannot answer.

    Args:
        message: the given value, the expected one, and the remedy.
        status: HTTP status.
        code: identifier for programs, such as `context_length_exceeded`.
    """

    def __init__(self, message: str, status: int = 400, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def kind(self) -> str:
        """OpenAI's type of the error."""
        if self.status >= 500:
            return "server_error"
        return {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, "invalid_request_error")

    def body(self) -> dict[str, Any]:
        """Return the body of the response, in OpenAI's form."""
        return {"error": {"message": str(self), "type": self.kind, "param": None, "code": self.code}}


class ShuttingDownError(RequestError):
    """The server accepts no new requests."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down; ask another server", 503, "shutting_down")


class ClientGoneError(RequestError):
    """The client disconnected before the answer; status 499 as in the logs of nginx, never delivered."""

    def __init__(self) -> None:
        super().__init__("the client disconnected", 499, "client_gone")


WITHOUT_EFFECT = frozenset({"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier"})
"""Fields that do not change the answer."""

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
"""Unsupported fields, each with the values that request nothing."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(_Strict):
    """A text."""

    type: Literal["text"]
    text: str


class ImageUrl(_Strict):
    """A data URL: the picture is in the URL itself."""

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
    """Options of a stream."""

    include_usage: bool = False


class ChatRequest(_Strict):
    """A conversation, and the options of the answer."""

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
        """Texts that end the answer; the answer does not contain them."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def new_tokens(self) -> int | None:
        """Longest answer, tokens; None: the default of the server."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def image_urls(self) -> list[str]:
        """URLs of the pictures, in order."""
        return [
            part.image_url.url for message in self.messages for part in message.parts if isinstance(part, ImagePart)
        ]

    @property
    def num_characters(self) -> int:
        """Total length of the texts."""
        return sum(len(part.text) for message in self.messages for part in message.parts if isinstance(part, TextPart))


def read_request(body: bytes, most_parts: int) -> ChatRequest:
    """Parse the body of a chat completion.

    Args:
        body: JSON.
        most_parts: most messages, and most parts of all messages; they are counted before they are read.

    Raises:
        RequestError: for invalid JSON, an unknown or unsupported field, a value out of range, or turns that do not
            alternate.
    """
    try:
        fields = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise RequestError(f"the body is not JSON ({error})", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise RequestError("the body is no JSON object: expected messages and options by name", code="invalid_json")
    _check_counts(fields.get("messages"), most_parts)
    fields = _without_nulls(fields)
    for name, neutral in NEUTRAL.items():
        if name in fields and fields.pop(name) not in neutral:
            raise RequestError(f"{name} is not served: drop it, or give {neutral[0]!r}", code="unsupported_value")
    try:
        request = ChatRequest.model_validate({name: fields[name] for name in fields.keys() - WITHOUT_EFFECT})
    except ValidationError as error:
        raise RequestError(_problem(error)) from None
    _check(request)
    return request


def _check_counts(messages: Any, most: int) -> None:
    if not isinstance(messages, list):
        return
    contents = [message.get("content") for message in messages[: most + 1] if isinstance(message, dict)]
    num_parts = sum(len(content) for content in contents if isinstance(content, list))
    for count, noun in ((len(messages), "messages"), (num_parts, "parts of messages")):
        if count > most:
            raise RequestError(f"{count:,} {noun}: expected at most {most:,}", code="context_length_exceeded")


def to_conversation(request: ChatRequest, pictures: list[Any]) -> list[dict[str, Any]]:
    """Return the messages for the chat template, with each picture in place of its URL."""
    remaining = iter(pictures)
    messages: list[dict[str, Any]] = []
    for message in request.messages:
        items = [
            {"type": "text", "text": part.text}
            if isinstance(part, TextPart)
            else {"type": "image", "image": next(remaining)}
            for part in message.parts
        ]
        role = "system" if message.role == "developer" else message.role
        if role == "system":  # the template takes one text
            items = [{"type": "text", "text": "".join(item["text"] for item in items)}]
        messages.append({"role": role, "content": items})
    return messages


def _check(request: ChatRequest) -> None:
    roles = [message.role for message in request.messages]
    turns = roles[1:] if roles[0] in ("system", "developer") else roles
    if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"] or not turns:
        raise RequestError(f"messages of the roles {roles[:8]}: expected [system,] user, assistant, user, ..., user")
    for message in request.messages:
        if not message.parts:
            raise RequestError(f"a message of {message.role} without content: expected text or pictures")
        if message.role != "user" and any(isinstance(part, ImagePart) for part in message.parts):
            raise RequestError(f"a picture in a message of {message.role}: only a user shows pictures")
    if len(request.stops) > 4 or any(not 1 <= len(text) <= 200 for text in request.stops):
        raise RequestError("stop: expected at most 4 texts of 1 to 200 characters")
    if 0 < request.temperature < 0.01:
        raise RequestError(f"temperature={request.temperature}: expected 0 (greedy) or 0.01 to 2")


def _without_nulls(value: Any) -> Any:
    """Drop null entries: clients send null for an option that they leave out."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _problem(error: ValidationError) -> str:
    """Describe the deepest problem in one sentence, without the given value: it can be a picture."""
    worst = max(error.errors(include_url=False, include_input=False), key=lambda problem: len(problem["loc"]))
    where = ".".join(str(part) for part in worst["loc"])
    if worst["type"] == "extra_forbidden":
        return f"{where}: unknown field; drop it"
    return f"{where}: {worst['msg'].removeprefix('Input ')}"
