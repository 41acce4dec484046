"""Conversations: convert the formats of public data sets into turns."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from theworld.datasets.errors import RecordError
from theworld.datasets.records import is_encodable, short
from theworld.datasets.sample import Turn

MAX_CHARACTERS: Final = 100_000
"""Longest conversation, characters of all turns: about 25,000 tokens."""

_ROLES: Final[Mapping[str, Literal["user", "assistant"]]] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}


class _Marks(NamedTuple):
    """Patterns of the marks that stand for pictures or videos in a question."""

    any: re.Pattern[str]
    line: re.Pattern[str]
    at_an_end: re.Pattern[str]
    in_text: re.Pattern[str]


def _marks(mark: str) -> _Marks:
    return _Marks(
        re.compile(mark),
        re.compile(rf"^[ \t]*(?:{mark}[ \t]*)+(?:\n|\Z)", re.MULTILINE),
        re.compile(rf"\s*{mark}[ \t]*(?:\n|\Z)|.*\n[ \t]*{mark}\s*\Z", re.DOTALL),
        re.compile(rf"[ \t]*{mark}"),
    )


_IMAGE: Final = "<image>"
_VIDEO: Final = "<video>"
_OF_PICTURES: Final = _marks(_IMAGE)
_OF_VIDEOS: Final = _marks("<(?:video|image)>")
"""Rows of videos often mark them as pictures."""
_VIDEO_ALONE: Final = _marks(_VIDEO)


def turns_of(messages: Any, name: str, num_images: int = 0, num_videos: int = 0) -> tuple[Turn, ...]:
    """Return the turns of a conversation, with a system message in front of the first question.

    Args:
        messages: `{"from": "human" | "gpt" | "system", "value": text}` in order, or `{"role": "user" | "assistant" |
            "system", "content": text}`, where the text may also be a list of parts; or one object for a question and
            its answer, `{"user": text, "assistant": text}` or `{"human": text, "gpt": text}`.
        name: of the record, for messages.
        num_images: pictures of the record. If there are any, each `<image>` in a question marks one, as each part of
            type `image` does, and the marks are removed, because pictures precede the first text.
        num_videos: videos of the record, marked by `<video>` or `<image>`, or by parts of type `video`.

    Raises:
        RecordError: malformed (roles out of order, missing keys, an empty question, marks for another number of
            pictures or videos, parts that are neither text, picture nor video), empty answer, or overlong.
    """
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise RecordError("malformed", f"{name}: expected a list of messages, got {short(messages)}")
    messages = [message for entry in messages for message in _split(entry)]
    spoken = [_message(message, name) for message in messages]
    system = spoken.pop(0)[1].strip() if spoken[0][0] == "system" else ""
    expected = ["human", "gpt"] * (len(spoken) // 2)
    if not spoken or [_ROLES.get(role) for role, _ in spoken] != [_ROLES[role] for role in expected]:
        roles = ", ".join(role for role, _ in spoken) or "none"
        raise RecordError("malformed", f"{name}: expected questions and answers in turn, got the roles {roles}")
    _check_parts(messages, name, {"image": num_images, "video": num_videos})
    if num_images or num_videos:
        spoken = without_marks(spoken, name, num_images, num_videos)
    spoken[0] = (spoken[0][0], "\n\n".join(text for text in (system, spoken[0][1]) if text))
    return checked(tuple(Turn(_ROLES[role], text) for role, text in spoken), name)


def without_pictures(turns: tuple[Turn, ...], name: str) -> tuple[Turn, ...]:
    """Return the same turns of a record without pictures, after a check that no question starts or ends with a mark.

    `<image>` within a sentence is a word, as in "What is <image> in HTML?".

    Raises:
        RecordError: malformed for a mark at the start or end of a question.
    """
    questions = [turn.text for turn in turns if turn.role == "user"]
    for mark, marks, noun in ((_IMAGE, _OF_PICTURES, "pictures"), (_VIDEO, _VIDEO_ALONE, "video")):
        if any(map(marks.at_an_end.match, questions)):
            raise RecordError("malformed", f"{name}: a question with {mark}, and no {noun} in the record")
    return turns


def checked(turns: tuple[Turn, ...], name: str) -> tuple[Turn, ...]:
    """Return the same turns after a check.

    Raises:
        RecordError: malformed for an empty question or half a surrogate pair, empty answer, or overlong.
    """
    for turn in turns:
        if not is_encodable(turn.text):
            raise RecordError("malformed", f"{name}: a text with half a surrogate pair, such as half an emoji")
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
    role, content = _role_and_content(message)
    if role is None:
        raise RecordError(
            "malformed", f"{name}: expected messages with from and value, role and content, or user and assistant"
        )
    return role, _text(content, name)


def _split(entry: Any) -> Sequence[Any]:
    """The messages of an entry: a question and its answer if it holds both, else itself."""
    if isinstance(entry, Mapping) and _role_and_content(entry)[0] is None:
        for roles in (("user", "assistant"), ("human", "gpt")):
            if all(role in entry for role in roles):
                return [{"role": role, "content": entry[role]} for role in roles]
    return [entry]


def _role_and_content(message: Any) -> tuple[Any, Any]:
    """The role of a message, None if it has none, and its text or parts."""
    for role, content in (("from", "value"), ("role", "content")):
        if isinstance(message, Mapping) and isinstance(message.get(role), str) and content in message:
            return message[role], message[content]
    return None, None


def _text(content: Any, name: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        return "\n".join(str(part["text"]) for part in content if _type_of(part, name) == "text")
    raise RecordError("malformed", f"{name}: a message without text: {short(content)}")


def _type_of(part: Mapping[str, Any], name: str) -> Literal["text", "image", "video"]:
    """The type of a part; without `type`, the one key of it that has a value."""
    kind = part.get("type") or next((key for key, value in part.items() if value is not None), None)
    if kind == "text" and isinstance(part.get("text"), str):
        return "text"
    if kind in ("image", "image_url"):
        return "image"
    if kind in ("video", "video_url"):
        return "video"
    raise RecordError("malformed", f"{name}: a part {short(dict(part))}: expected type text, image or video")


def _check_parts(messages: Sequence[Any], name: str, expected: Mapping[Literal["image", "video"], int]) -> None:
    """Refuse parts of pictures or videos in answers, or in another number than the record has."""
    kinds = []
    for message in messages:
        role, content = _role_and_content(message)
        if not isinstance(content, str):
            seen = [kind for part in content if (kind := _type_of(part, name)) != "text"]
            if seen and _ROLES.get(role) != "user":
                noun = "picture" if seen[0] == "image" else "video"
                raise RecordError("malformed", f"{name}: a {noun} in a message of {role}: expected questions only")
            kinds += seen
    for kind, number in expected.items():
        if kinds.count(kind) not in (0, number):
            noun = "pictures" if kind == "image" else "videos"
            raise RecordError("malformed", f"{name}: {kinds.count(kind)} parts of type {kind} for {number} {noun}")


def without_marks(
    spoken: list[tuple[str, str]], name: str, num_images: int, num_videos: int = 0
) -> list[tuple[str, str]]:
    """Return messages without the marks of pictures or videos in their questions.

    "<image>\\nWhat is it?"     "What is it?\\n<video>"     "Is <image> like <image>?"
    "What is it?"              "What is it?"              "Is like?"

    Raises:
        RecordError: malformed for marks of another number of pictures or videos, or of a video beside pictures.
    """
    marks = _OF_VIDEOS if num_videos else _OF_PICTURES
    questions = [text for role, text in spoken if _ROLES[role] == "user"]
    written = [mark for text in questions for mark in marks.any.findall(text)]
    if len(written) not in (0, num_images + num_videos):
        number = f"{num_videos} videos" if num_videos else f"{num_images} pictures"
        raise RecordError("malformed", f"{name}: {len(written)} times {written[0]} for {number}")
    if not num_videos and any(map(_VIDEO_ALONE.at_an_end.match, questions)):
        raise RecordError("malformed", f"{name}: a question with {_VIDEO}, and no video in the record")
    return [
        (role, marks.in_text.sub("", marks.line.sub("", text)).strip() if _ROLES[role] == "user" else text)
        for role, text in spoken
    ]
