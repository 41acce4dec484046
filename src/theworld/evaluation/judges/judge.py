"""Judge: takes a prompt and gives back text; and the three ways in which that may fail."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Prompt:
    """What a judge is asked."""

    system: str
    user: str


@dataclass(frozen=True)
class JudgeReply:
    """What a judge said, and how many tokens that took; None where it does not tell."""

    text: str
    num_prompt_tokens: int | None = None
    num_completion_tokens: int | None = None


@runtime_checkable
class Judge(Protocol):
    """A language model behind one question: what do you say to this prompt?"""

    async def ask(self, prompt: Prompt) -> JudgeReply:
        """The reply to one prompt.

        Raises:
            CallFailedError: for a failure that may pass.
            CallRefusedError: for a prompt that will be refused again.
            JudgeUnusableError: for a failure that every prompt would meet.
        """
        ...


class CallFailedError(RuntimeError):
    """A call that may succeed when it is made again: too many requests, a server's error, no answer in time."""

    def __init__(self, message: str, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds
        """How long the judge asks to be left alone; None: it does not say."""


class CallRefusedError(RuntimeError):
    """A call that would be refused again: this prompt is too long, or against the judge's rules."""


class JudgeUnusableError(ValueError):
    """No call will succeed: a key that is not accepted, a model that is not there, an endpoint that never answers."""
