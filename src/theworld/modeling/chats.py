"""Chats before the template: videos become the world model's clips and Gemma's pictures; neighbouring texts join."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from theworld.datasets.video import ClipRule, VideoClip, read_clip

logger = logging.getLogger(__name__)

_TYPES: Final = ("text", "image", "video")
_VIDEO_KEYS: Final = ("video", "path")
_OPTIONS: Final = {"start": "start_s", "end": "end_s", "frame_rate": "source_rate_hz"}
"""Keys of a video's part beside its source, to arguments of `read_clip`."""


def take_videos(conversation: Any, world: Any, rule: ClipRule) -> tuple[Any, Any]:
    """Replace the videos of a conversation, or of a list of conversations, by pictures of their last frames.

    Args:
        conversation: messages. A part `{"type": "video", "video": source}` holds a video as `open_video` takes it, and
            perhaps `start` and `end`, seconds, and `frame_rate`, that of an array or a list of frames.
        world: clips for the world model as `apply_chat_template` takes them; None: the pictures.
        rule: the frames of a video that the models see.

    Returns:
        The conversation, and the clips of its pictures and videos in order; both unchanged if it has no video.

    Raises:
        ValueError: for a part of an unknown type, which the template would drop, a video that cannot be read, or a
            video beside `world`.
    """
    is_batch = bool(conversation) and isinstance(conversation[0], list | tuple)
    rows = conversation if is_batch else [conversation]
    parts = [part for row in rows for part in _parts(row)]
    if other := sorted({str(part.get("type")) for part in parts} - {*_TYPES}):
        raise ValueError(f"a chat with parts of type {', '.join(other)}: expected {', '.join(_TYPES)}")
    if not any(part["type"] == "video" for part in parts):
        return conversation, world
    if world is not None:
        raise ValueError("a chat with a video, and world=: both are clips for the world model; give one of them")
    taken = [_take(row, rule) for row in rows]
    shown, clips = [row for row, _ in taken], [row for _, row in taken]
    return (shown, clips) if is_batch else (shown[0], clips[0])


def _parts(row: Any) -> list[Mapping[str, Any]]:
    contents = [message.get("content") for message in row if isinstance(message, Mapping)]
    return [part for content in contents if isinstance(content, list | tuple) for part in content]


def _take(row: Any, rule: ClipRule) -> tuple[list[Any], list[Any]]:
    """Return the messages of one conversation with pictures alone, and a clip for each of its pictures and videos."""
    messages: list[Any] = []
    clips: list[Any] = []
    for message in row:
        content = message.get("content")
        if not isinstance(content, list | tuple):
            messages.append(message)
            continue
        parts: list[Any] = []
        for part in content:
            if part["type"] == "video":
                clip = _clip(part, rule)
                clips.append(list(clip.frames))
                parts += [{"type": "image", "image": frame} for frame in clip.shown]
            else:
                parts.append(part)
                if part["type"] == "image":
                    clips.append([next((part[key] for key in ("image", "path", "url") if key in part), None)])
        messages.append({**message, "content": parts})
    return messages, clips


def _clip(part: Mapping[str, Any], rule: ClipRule) -> VideoClip:
    source = next((part[key] for key in _VIDEO_KEYS if key in part), None)
    options = {name: part[key] for key, name in _OPTIONS.items() if part.get(key) is not None}
    clip = read_clip(source, rule, **options)
    if clip.note:
        say_once(clip.note)
    return clip


@lru_cache(maxsize=1000)
def say_once(note: str) -> None:
    """Log how a clip differs from its video; equal sentences once a process."""
    logger.warning("%s", note)


def joined(conversation: Any) -> Any:
    """Join neighbouring texts of a message, as the template does.

    This finds control tokens that are split over two texts: "<image_soft_" "token>".
    """
    if conversation and isinstance(conversation[0], list | tuple):
        return [joined(part) for part in conversation]
    return [
        {**message, "content": _join(message["content"])}
        if isinstance(message.get("content"), list | tuple)
        else message
        for message in conversation
    ]


def _join(content: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for item in content:
        if items and item.get("type") == items[-1].get("type") == "text":
            items[-1] = {"type": "text", "text": items[-1]["text"].strip() + item["text"].strip()}
        else:
            items.append(item)
    return items


def texts_of(conversation: Any) -> Iterator[str]:
    """Yield every text in one conversation or a list of them."""
    for part in conversation:
        if isinstance(part, list | tuple):
            yield from texts_of(part)
        elif isinstance(part.get("content", part.get("text")), str):
            yield part.get("content", part.get("text"))
        elif isinstance(part.get("content"), list | tuple):
            yield from texts_of(part["content"])
