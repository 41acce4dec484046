"""Refused requests: their errors, and pydantic's problems with a body in words."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

_EXTRA: Final = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING: Final = ("missing", "missing_argument")
_OBJECT: Final = ("model_type", "model_attributes_type", "dataclass_type", "dict_type")


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


def problem(error: ValidationError, fields: Any) -> str:
    """Describe the deepest problem in one sentence, without the given value, which can be a picture.

    Args:
        error: pydantic's problems.
        fields: the validated body; the sentence names a place in it.
    """
    worst = max(error.errors(include_url=False, include_input=False), key=lambda problem: len(problem["loc"]))
    kind, context = worst["type"], worst.get("ctx", {})
    place, tag = _place(worst["loc"], fields, is_absent=kind in _MISSING), context.get("discriminator", "")
    if kind in _EXTRA:
        return f"{place}: unknown field; drop it"
    if kind in _MISSING:
        return f"{place}: missing"
    if kind == "union_tag_not_found":
        return f"{place}.{tag[1:-1]}: missing"
    if kind == "union_tag_invalid":
        return f"{place}.{tag[1:-1]}: should be {' or '.join(context['expected_tags'].split(', '))}"
    if kind in _OBJECT:
        return f"{place}: should be an object"
    return f"{place}: {worst['msg'].removeprefix('Input ')}"


def _place(parts: Sequence[int | str], fields: Any, is_absent: bool) -> str:
    """Return the path of a value in the body; pydantic's paths also name the types that it tried."""
    path: list[str] = []
    value = fields
    for number, part in enumerate(parts):
        is_tag = isinstance(value, Mapping) and value.get("type") == part and isinstance(parts[number - 1], int)
        if not is_tag and _has(value, part):
            value = value[part]
        elif not (is_absent and number == len(parts) - 1):
            continue
        path.append(str(part))
    return ".".join(path)


def _has(value: Any, part: int | str) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value
