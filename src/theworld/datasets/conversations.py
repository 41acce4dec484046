"""Conversations: convert the formats of public data sets into turns."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from theworld.datasets.errors import RecordError
from theworld.datasets.sample import Turn

MAX_CHARACTERS: Final = 100_000
"""Longest conversation, characters of all turns: about 25,000 tokens."""

_ROLES: Final[Mapping[str, Literal["user", "assistant"]]] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
_MARKER: Final = "<image>"
_MARKER_LINE = re.compile(rf"^[ \t]*(?:{_MARKER}[ \t]*)+(?:\n|\Z)", re.MULTILINE)
_MARKER_IN_TEXT = re.compile(rf"[ \t]*{_MARKER}")


def turns_of(messages: Any, name: str, num_images: int = 0) -> tuple[Turn, ...]:
    """Return the turns of a conversation, with a system message in front of the first question.

    Args:
        messages: `{"from": "human" | "gpt" | "system", "value": text}` in order, or `{"role": "user" | "assistant" |
            "system", "content": text}`, where the text may also be a list of parts.
        name: of the record, for messages.
        num_images: pictures of the record. If there are any, each `<image>` in a question marks one, and the marks are
            removed, because pictures precede the first text.

    Raises:
        RecordError: malformed (roles out of order, missing keys, an empty question, marks for another number of
            pictures), empty answer, or overlong.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RecordError("malformed", f"{name}: expected a list of messages, got {_short(messages)}")
    spoken = [_message(message, name) for message in messages]
    system = spoken.pop(0)[1].strip() if spoken[0][0] == "system" else ""
    expected = ["human", "gpt"] * (len(spoken) // 2)
    if not spoken or [_ROLES.get(role) for role, _ in spoken] != [_ROLES[role] for role in expected]:
        roles = ", ".join(role for role, _ in spoken) or "none"
        raise RecordError("malformed", f"{name}: expected questions and answers in turn, got the roles {roles}")
    if num_images:
        spoken = _without_marks(spoken, name, num_images)
    spoken[0] = (spoken[0][0], "\n\n".join(text for text in (system, spoken[0][1]) if text))
    return checked(tuple(Turn(_ROLES[role], text) for role, text in spoken), name)


def checked(turns: tuple[Turn, ...], name: str) -> tuple[Turn, ...]:
    """Return the same turns after a check.

    Raises:
        RecordError: malformed for an empty question, empty answer, or overlong.
    """
    for turn in turns:
        if not turn.text.strip():
            if turn.role == "user":
                raise RecordError("malformed", f"{name}: an empty question")
            raise RecordError("empty answer", f"{name}: an answer without text")
    if (length := num_characters(turns)) > MAX_CHARACTERS:
        raise RecordError("overlong", f"{name}: {length:,} characters; expected at most {MAX_CHARACTERS:,}")
    return turns


def num_characters(turns: Sequence[Turn]) -> int:
    """Return the number of characters in all turns."""
    return sum(len(turn.text) for turn in turns)


def _message(message: Any, name: str) -> tuple[str, str]:
    """The role and the text of a message."""
    for role, content in (("from", "value"), ("role", "content")):
        if isinstance(message, Mapping) and isinstance(message.get(role), str) and content in message:
            return message[role], _text(message[content], name)
    raise RecordError("malformed", f"{name}: expected messages with from and value, or role and content")


def _text(content: Any, name: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    raise RecordError("malformed", f"{name}: a message without text: {_short(content)}")


def _without_marks(spoken: list[tuple[str, str]], name: str, num_images: int) -> list[tuple[str, str]]:
    """Messages without the marks of pictures in their questions.

    "<image>\\nWhat is it?"     "What is it?\\n<image>"     "Is <image> like <image>?"
    "What is it?"              "What is it?"              "Is like?"
    """
    num_marks = sum(text.count(_MARKER) for role, text in spoken if _ROLES[role] == "user")
    if num_marks not in (0, num_images):
        raise RecordError("malformed", f"{name}: {num_marks} times {_MARKER} for {num_images} pictures")
    return [
        (role, _MARKER_IN_TEXT.sub("", _MARKER_LINE.sub("", text)).strip() if _ROLES[role] == "user" else text)
        for role, text in spoken
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
