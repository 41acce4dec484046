"""RequestError: why a request is not answered, in the form that OpenAI's clients read."""

from typing import Any


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
