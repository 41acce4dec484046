"""Judge at an OpenAI-compatible endpoint for chat completions."""

import asyncio
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from theworld.config.evaluation import JudgeSettings
from theworld.evaluation.judges.prompts import Prompt

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True)
class JudgeReply:
    """Reply of a judge, and its numbers of tokens; None if the judge does not report them."""

    text: str
    num_prompt_tokens: int | None = None
    num_completion_tokens: int | None = None


@runtime_checkable
class Judge(Protocol):
    """A language model that replies to prompts."""

    async def ask(self, prompt: Prompt) -> JudgeReply:
        """Reply to one prompt.

        Raises:
            CallFailedError: for a failure that may be temporary.
            CallRefusedError: for a prompt that would be refused again.
            JudgeUnusableError: for a failure that every prompt would meet.
        """
        ...


class CallFailedError(RuntimeError):
    """A call that may succeed if it is repeated: too many requests, a server error, a timeout."""

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        """Pause that the judge asks for; None: it asks for none."""


class CallRefusedError(RuntimeError):
    """A call that would be refused again: the prompt is too long, or against the judge's rules."""


class JudgeUnusableError(ValueError):
    """No call can succeed: the key is refused, the model does not exist, or the endpoint never answers."""


KEY_VARIABLE, OPENAI_KEY_VARIABLE = "THEWORLD_JUDGE_API_KEY", "OPENAI_API_KEY"
"""Environment variables of the key; it is stored nowhere else."""

_LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
_MOST_BYTES = 4_000_000
"""Largest response, bytes; a verdict is one line."""
_MOST_CHARACTERS = 300
"""Longest part of a server's error message that is shown."""
_OF_EVERY_CALL = {
    401: "the key is not accepted",
    402: "the account has no credit",
    403: "the key may not use this model",
    404: "no such model or address",
    405: "no endpoint for chat completions",
}
_PASSING = (408, 409, 425, 429)
"""Status codes that may be temporary, besides 5xx."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Message


class _Usage(BaseModel):
    model_config = ConfigDict(strict=True)
    prompt_tokens: Annotated[int, Field(ge=0)]
    completion_tokens: Annotated[int, Field(ge=0)]


class _Completion(BaseModel):
    """Part of a response that is read."""

    choices: Annotated[list[_Choice], Field(min_length=1)]
    usage: Any = None


def key_for(endpoint: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the key for an endpoint; None: no key is sent.

    `THEWORLD_JUDGE_API_KEY` is sent to any endpoint. `OPENAI_API_KEY` may be set for another program: it is not used
    if the first is set, and it is never sent unencrypted to another machine.

    Raises:
        JudgeUnusableError: for a key that does not fit in a header.
    """
    variable = KEY_VARIABLE
    key = environment.get(variable, "").strip()
    if not key:
        parts = urlsplit(endpoint)
        if parts.scheme != "https" and parts.hostname not in _LOCAL_HOSTS:
            return None
        variable = OPENAI_KEY_VARIABLE
        key = environment.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise JudgeUnusableError(
            f"{variable}: not a key: expected letters, digits and signs without spaces; set it anew"
        )
    return key or None


def retry_after_seconds(value: str | None, now: float) -> float | None:
    """Read the seconds from a header `Retry-After`, a number or a date; None if it cannot be read.

    Args:
        value: of the header; None: no header.
        now: seconds since 1970, as from `time.time`.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError, OSError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None


class EndpointJudge:
    """Asks an endpoint over one pool of connections; use it as an asynchronous context.

    Raises:
        JudgeUnusableError: for a key that does not fit in a header.
    """

    def __init__(self, settings: JudgeSettings) -> None:
        import httpx2

        self._settings = settings
        self._url = f"{settings.endpoint}/chat/completions"
        self._key = key_for(settings.endpoint or "")
        self._errors = (httpx2.RequestError, httpx2.StreamError)
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=settings.timeout_seconds,
            limits=httpx2.Limits(max_connections=settings.num_concurrent),
            follow_redirects=False,  # the key must not go to another server
        )

    async def __aenter__(self) -> "EndpointJudge":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, prompt: Prompt) -> JudgeReply:
        """Reply to one prompt; see `Judge.ask` for the errors."""
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                status, headers, body = await self._post(prompt)
        except TimeoutError:
            raise CallFailedError(f"no answer within {self._settings.timeout_seconds:g} s") from None
        except self._errors as error:
            raise CallFailedError(self._without_key(f"{type(error).__name__}: {error}")) from None
        text = self._without_key(body.decode("utf-8", "replace"))
        if status != 200:
            self._refuse(status, headers, text)
        return _reply(text)

    async def _post(self, prompt: Prompt) -> "tuple[int, httpx2.Headers, bytes]":
        body = bytearray()
        async with self._client.stream("POST", self._url, json=self._request(prompt)) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > _MOST_BYTES:
                    raise CallFailedError(f"a response of more than {_MOST_BYTES:,} bytes")
        return response.status_code, response.headers, bytes(body)

    def _request(self, prompt: Prompt) -> dict[str, Any]:
        settings = self._settings
        optional = {
            "temperature": settings.temperature,
            "max_tokens": settings.max_new_tokens,
            "response_format": {"type": "json_object"} if settings.json_mode else None,
        }
        return {
            "model": settings.model,
            "messages": [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
            **{name: value for name, value in optional.items() if value is not None},
        }

    def _refuse(self, status: int, headers: Mapping[str, str], text: str) -> None:
        message = f"HTTP {status}: {' '.join(text.split())[:_MOST_CHARACTERS]}".rstrip(": ")
        if status >= 500 or status in _PASSING:
            raise CallFailedError(message, retry_after_seconds(headers.get("retry-after"), time.time()))
        if status in _OF_EVERY_CALL:
            remedy = "name another with --judge.model or --judge.endpoint"
            if status in (401, 402, 403):
                sent = "a key was sent" if self._key else "no key was sent"
                remedy = f"{sent}; set {KEY_VARIABLE} in the environment"
            raise JudgeUnusableError(f"{self._settings.endpoint}: {_OF_EVERY_CALL[status]} ({message}); {remedy}")
        if status < 400:
            raise JudgeUnusableError(
                f"{self._settings.endpoint}: HTTP {status} instead of an answer; give the final URL"
            )
        raise CallRefusedError(message)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _reply(text: str) -> JudgeReply:
    try:
        completion = _Completion.model_validate_json(text)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, reason["loc"])) or "the response"
        raise CallFailedError(f"no chat completion: {place}: {reason['msg']}") from None
    try:
        usage = _Usage.model_validate(completion.usage)
    except ValidationError:  # many servers omit it
        return JudgeReply(completion.choices[0].message.content or "")
    return JudgeReply(completion.choices[0].message.content or "", usage.prompt_tokens, usage.completion_tokens)
