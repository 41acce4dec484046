"""Bodies of requests: strict JSON, and chat completions."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from theworld.serving.refusals import RequestError, problem

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
    # of clients of vLLM and SGLang
    "best_of": (1,),
    "top_k": (-1, 0),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "min_tokens": (0,),
    "stop_token_ids": ([],),
    "include_stop_str_in_output": (False,),
    "ignore_eos": (False,),
    "skip_special_tokens": (True,),
    "use_beam_search": (False,),
    "echo": (False,),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "chat_template_kwargs": ({},),
    "mm_processor_kwargs": ({},),
}
"""Unsupported fields, each with the values that request nothing."""


class StrictBody(BaseModel):
    """An object of a body: no unknown names, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TextPart(StrictBody):
    """A text."""

    type: Literal["text"]
    text: str


class ImageUrl(StrictBody):
    """A data URL: the picture is in the URL itself."""

    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(StrictBody):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl


class VideoUrl(StrictBody):
    """A data URL: the video is in the URL itself."""

    url: str


class VideoPart(StrictBody):
    """A video."""

    type: Literal["video_url"]
    video_url: VideoUrl


Part = Annotated[TextPart | ImagePart | VideoPart, Field(discriminator="type")]


class Message(StrictBody):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    name: str | None = None

    @property
    def parts(self) -> list[TextPart | ImagePart | VideoPart]:
        """The content as parts."""
        return [TextPart(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class StreamOptions(StrictBody):
    """Options of a stream."""

    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class ChatRequest(StrictBody):
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
    world: bool | Literal["auto"] | None = None
    choices: list[str] | None = None
    auto_threshold: float | Literal["always"] | None = None
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
    def media(self) -> list[tuple[Literal["image", "video"], str]]:
        """Kinds and URLs of the pictures and videos, in order."""
        media: list[tuple[Literal["image", "video"], str]] = []
        for message in self.messages:
            for part in message.parts:
                if isinstance(part, ImagePart):
                    media.append(("image", part.image_url.url))
                elif isinstance(part, VideoPart):
                    media.append(("video", part.video_url.url))
        return media

    @property
    def texts(self) -> list[str]:
        """All texts, in order: those of the messages, and the choices."""
        parts = [part for message in self.messages for part in message.parts]
        return [*(part.text for part in parts if isinstance(part, TextPart)), *(self.choices or ())]

    @property
    def num_characters(self) -> int:
        """Total length of the texts."""
        return sum(map(len, self.texts))


def read_json(body: bytes, most_values: int) -> dict[str, Any]:
    """Parse a JSON object whose names are unique.

    Args:
        body: the object, in UTF-8.
        most_values: most values, also nested ones. Commas and opening brackets are counted before the body is parsed:
            a value can take a hundred times the memory of its two bytes.

    Raises:
        RequestError: for another body, too many values, NaN or infinity, or a name that an object has twice.
    """
    if (count := sum(map(body.count, (b",", b"[", b"{")))) > most_values:
        raise RequestError(
            f"a body of {count:,} commas and brackets: expected at most {most_values:,}; send less",
            code="context_length_exceeded",
        )
    try:
        fields = pydantic_core.from_json(body, allow_inf_nan=False)
        json.loads(body, object_pairs_hook=_check_names, parse_int=_skip, parse_float=_skip)
    except RequestError:
        raise
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON ({error})", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise RequestError("the body is no JSON object: expected options by name", code="invalid_json")
    return fields


def _check_names(pairs: Sequence[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            shown = name if len(name) <= 40 else f"{name[:37]}..."
            raise RequestError(f"{shown!r} twice in one object: give it once", code="invalid_json")
        names.add(name)


def _skip(number: str) -> None:
    """Leave a number unread: only names are checked."""


def read_request(body: bytes, most_parts: int, most_values: int) -> ChatRequest:
    """Parse the body of a chat completion.

    Args:
        body: JSON.
        most_values: most values of the body, see `read_json`.
        most_parts: most messages, and most parts of all messages; they are counted before they are read.

    Raises:
        RequestError: for invalid JSON, an unknown or unsupported field, a value out of range, or turns that do not
            alternate.
    """
    fields = read_json(body, most_values)
    _check_counts(fields.get("messages"), most_parts)
    fields = _without_nulls(fields)
    for name, neutral in NEUTRAL.items():
        if name in fields and not _is_one_of(fields.pop(name), neutral):
            raise RequestError(f"{name} is not served: drop it, or give {neutral[0]!r}", code="unsupported_value")
    try:
        request = ChatRequest.model_validate({name: fields[name] for name in fields.keys() - WITHOUT_EFFECT})
    except ValidationError as error:
        raise RequestError(problem(error, fields)) from None
    _check(request)
    return request


def _is_one_of(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Return True for one of the values; unlike in Python, true is not 1."""
    return any(value == item and isinstance(value, bool) == isinstance(item, bool) for item in neutral)


def _check_counts(messages: Any, most: int) -> None:
    if not isinstance(messages, list):
        return
    contents = [message.get("content") for message in messages[: most + 1] if isinstance(message, dict)]
    num_parts = sum(len(content) for content in contents if isinstance(content, list))
    for count, noun in ((len(messages), "messages"), (num_parts, "parts of messages")):
        if count > most:
            raise RequestError(f"{count:,} {noun}: expected at most {most:,}", code="context_length_exceeded")


def to_conversation(request: ChatRequest, media: list[Any]) -> list[dict[str, Any]]:
    """Return the messages for the chat template, with each picture or clip in place of its URL."""
    remaining = iter(media)
    messages: list[dict[str, Any]] = []
    for message in request.messages:
        items = [
            {"type": "text", "text": part.text}
            if isinstance(part, TextPart)
            else {"type": part.type.removesuffix("_url"), part.type.removesuffix("_url"): next(remaining)}
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
            raise RequestError(f"a message of {message.role} without content: expected text, pictures or videos")
        if message.role != "user" and any(not isinstance(part, TextPart) for part in message.parts):
            raise RequestError(f"a picture or video in a message of {message.role}: only a user shows pictures")
    if len(request.stops) > 4 or any(not 1 <= len(text) <= 200 for text in request.stops):
        raise RequestError("stop: expected at most 4 texts of 1 to 200 characters")
    if 0 < request.temperature < 0.01:
        raise RequestError(f"temperature={request.temperature}: expected 0 (greedy) or 0.01 to 2")
    _check_effects(request)


def _check_effects(request: ChatRequest) -> None:
    """Refuse options that have no effect beside the others; neutral values of them are accepted."""
    sampling = {"temperature": request.temperature != 0, "top_p": request.top_p != 1, "seed": request.seed is not None}
    if request.world == "auto":
        for name, is_given in {**sampling, "stop": bool(request.stops)}.items():
            if is_given:
                raise RequestError(f"{name} with world='auto', which writes nothing but weighs the choices: drop it")
    elif request.choices is not None or request.auto_threshold is not None:
        name = "auto_threshold" if request.choices is None else "choices"
        raise RequestError(f"{name} without world='auto': give both, or drop it")
    if sampling["top_p"] and "temperature" not in request.model_fields_set:  # other servers would sample
        raise RequestError(f"top_p={request.top_p:g} without temperature, so greedy: give temperature, or drop top_p")
    if request.stream_options.include_usage and not request.stream:
        raise RequestError("stream_options without stream: give stream=true, or drop it")
    if request.max_tokens not in (None, request.new_tokens):
        raise RequestError(
            f"max_tokens={request.max_tokens} and max_completion_tokens={request.max_completion_tokens}: give one of"
            " them"
        )


def _without_nulls(value: Any) -> Any:
    """Drop null entries: clients send null for an option that they leave out."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
