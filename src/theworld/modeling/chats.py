"""Chats before the template: videos become the world model's clips and Gemma's pictures; neighbouring texts join."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any, Final

from PIL import Image

from theworld.datasets.images import to_image
from theworld.datasets.records import short
from theworld.datasets.video import ClipRule, VideoClip, read_clip

logger = logging.getLogger(__name__)

_TYPES: Final = ("text", "image", "video")
_IMAGE_KEYS: Final = ("image", "path", "url")
_VIDEO_KEYS: Final = ("video", "path", "url")
_OPTIONS: Final = {"start": "start_s", "end": "end_s", "frame_rate": "source_rate_hz"}
"""Keys of a video's part beside its source, to arguments of `read_clip`."""

_REMEDIES: Final = {
    "fps": "frame_rate, that of the frames; the world model's own rate is frame_rate_hz of the model",
    "num_frames": "num_clip_frames= when you load the model",
    "nframes": "num_clip_frames= when you load the model",
    "video_start": "start, seconds",
    "video_end": "end, seconds",
}
"""Keys of other libraries' chats to those here."""

_FOR_VIDEOS: Final = (
    "fps",
    "num_frames",
    "do_sample_frames",
    "video_metadata",
    "videos_kwargs",
    "load_audio_from_video",
)
"""Options of transformers' video processors."""


def take_videos(conversation: Any, world: Any, rule: ClipRule) -> tuple[Any, Any]:
    """Replace the videos of a conversation, or of a list of conversations, by pictures of their last frames.

    Args:
        conversation: messages. A part `{"type": "video", "video": source}` holds a video as `read_part` takes it.
        world: clips for the world model as `apply_chat_template` takes them; None: the pictures.
        rule: the frames of a video that the models see.

    Returns:
        The conversation, and the clips of its pictures and videos in order; both unchanged if it has no video. A
        picture beside a video is a video of one frame: its clip repeats it.

    Raises:
        ValueError: for a part without a type or of an unknown one, which the template would drop, a video that cannot
            be read, or a video beside `world`.
    """
    is_batch = bool(conversation) and isinstance(conversation[0], list | tuple)
    rows = conversation if is_batch else [conversation]
    parts = [part for row in rows for part in _parts(row)]
    if bare := [part for part in parts if not isinstance(part, Mapping)]:
        raise ValueError(f'a chat with the part {short(bare[0])}: expected {{"type": "text", "text": ...}} or another')
    if other := sorted({str(part.get("type")) for part in parts} - {*_TYPES}):
        raise ValueError(f"a chat with parts of type {', '.join(other)}: expected {', '.join(_TYPES)}")
    if not any(part["type"] == "video" for part in parts):
        return conversation, world
    if world is not None:
        raise ValueError("a chat with a video, and world=: both are clips for the world model; give one of them")
    taken = [_take(row, rule) for row in rows]
    shown, clips = [row for row, _ in taken], [row for _, row in taken]
    return (shown, clips) if is_batch else (shown[0], clips[0])


def read_part(part: Mapping[str, Any], rule: ClipRule) -> VideoClip:
    """Read the clip of a part of a chat.

    Args:
        part: `{"type": "video", "video": source}`, with a source as `open_video` takes it, or a VideoClip; `path` and
            `url` are other names of it, but no address is opened. Perhaps with `start` and `end`, seconds, and
            `frame_rate`, frames per second of an array or a list of frames.
        rule: the frames of a video that the models see.

    Raises:
        ValueError: for a key that has no meaning here, several sources, or a frame rate beside a file.
        VideoError: as `read_clip`.
    """
    given = {key: value for key, value in part.items() if value is not None and key not in ("type", "text")}
    if unknown := sorted(given.keys() - {*_VIDEO_KEYS, *_OPTIONS}):
        remedy = f"use {_REMEDIES[unknown[0]]}" if unknown[0] in _REMEDIES else f"expected {', '.join(_OPTIONS)}"
        raise ValueError(f"a part of type video with {', '.join(unknown)}: {remedy}")
    sources = [given[key] for key in _VIDEO_KEYS if key in given]
    if len(sources) > 1:
        raise ValueError(f"a part of type video with {len(sources)} sources: give one of {', '.join(_VIDEO_KEYS)}")
    source = sources[0] if sources else None
    cuts = [key for key in _OPTIONS if key in given]
    if isinstance(source, VideoClip):
        if cuts:
            raise ValueError("a VideoClip is cut already: give start, end and frame_rate to read_clip")
        return source
    for key in cuts:
        if isinstance(given[key], bool) or not isinstance(given[key], Real):
            raise ValueError(f"{key}={short(given[key])}: expected a number")
    if "frame_rate" in given and _has_times(source):
        raise ValueError("frame_rate beside a video file, which has its own times: leave it out, or give its frames")
    options: dict[str, Any] = {_OPTIONS[key]: float(given[key]) for key in cuts}
    return read_clip(source, rule, **options)


def _has_times(source: Any) -> bool:
    """Return whether a source is a file, its content or a decoder, and no frames."""
    return isinstance(source, str | Path | bytes | bytearray | memoryview | Mapping | Image.Image) or hasattr(
        source, "get_frames_played_at"
    )


def picture_of(part: Mapping[str, Any]) -> Image.Image:
    """Read the picture of a part of a chat, `{"type": "image", "image": source}`; no address is opened.

    Raises:
        ImageError: as `to_image`.
    """
    return to_image(next((part[key] for key in _IMAGE_KEYS if part.get(key) is not None), None))


def pictures_in(row: Any) -> list[Any]:
    """Return the pictures of one conversation in order; None for the place of one."""
    return [part.get("image") for part in _parts(row) if part["type"] == "image"]


def _parts(row: Any) -> list[Mapping[str, Any]]:
    contents = [message.get("content") for message in row if isinstance(message, Mapping)]
    return [part for content in contents if isinstance(content, list | tuple) for part in content]


def _take(row: Any, rule: ClipRule) -> tuple[list[Any], list[Any]]:
    """Return the messages of one conversation with pictures alone, and a clip for each of its pictures and videos."""
    messages: list[Any] = []
    clips: list[list[Any]] = []
    for message in row:
        content = message.get("content")
        if not isinstance(content, list | tuple):
            messages.append(message)
            continue
        parts: list[Any] = []
        for part in content:
            if part["type"] == "video":
                clip = read_part(part, rule)
                if clip.note:
                    say_once(clip.note)
                clips.append(list(clip.frames))
                parts += [{"type": "image", "image": frame} for frame in clip.shown]
            elif part["type"] == "image":
                clips.append([picture_of(part)])
                parts.append({"type": "image", "image": clips[-1][0]})
            else:
                parts.append(part)
        messages.append({**message, "content": parts})
    return messages, of_one_length(clips)


def of_one_length(clips: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return the clips of one question in the length of the longest: a shorter one repeats its first frame."""
    length = max((len(clip) for clip in clips), default=0)
    return [[*[clip[0]] * (length - len(clip)), *clip] for clip in clips]


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


def refuse_video_options(*options: Mapping[str, Any]) -> None:
    """Refuse options of transformers' video processors, which would have no effect.

    Raises:
        ValueError: with the name, and the remedy.
    """
    for name in _FOR_VIDEOS:
        if any(given.get(name) for given in options):
            raise ValueError(
                f"{name}: frames are chosen by the model's num_clip_frames and frame_rate_hz, which you set when you"
                ' load it; cut a video with {"type": "video", "video": ..., "start": ..., "end": ...}'
            )
