"""Videos in a chat: their frames become the world model's clip, and Gemma sees the last one."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from torch import Tensor

from theworld.datasets.images import to_image

_TYPES: Final = ("text", "image", "video")


def take_videos(conversation: Any, world: Any) -> tuple[Any, Any]:
    """Replace the videos of a conversation, or of a list of conversations, by pictures of their last frames.

    Args:
        conversation: messages; a part `{"type": "video", "video": frames}` holds 1 + 4j frames in time order: a list of
            pictures, an array (F, H, W, 3) or a tensor (F, 3, H, W).
        world: clips for the world model as `apply_chat_template` takes them; None: the pictures.

    Returns:
        The conversation, and the clips of its pictures and videos in order; both unchanged if it has no video.

    Raises:
        ValueError: for a part of an unknown type, which the template would drop, a video without frames or in a file,
            or a video beside `world`.
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
    clips = [[_clip(part) for part in _parts(row) if part["type"] != "text"] for row in rows]
    shown = [[_with_pictures(message) for message in row] for row in rows]
    return (shown, clips) if is_batch else (shown[0], clips[0])


def _parts(row: Any) -> list[Mapping[str, Any]]:
    contents = [message.get("content") for message in row if isinstance(message, Mapping)]
    return [part for content in contents if isinstance(content, list | tuple) for part in content]


def _with_pictures(message: Mapping[str, Any]) -> Mapping[str, Any]:
    content = message.get("content")
    if not isinstance(content, list | tuple):
        return message
    shown = [
        {"type": "image", "image": to_image(_clip(part)[-1])} if part["type"] == "video" else part for part in content
    ]
    return {**message, "content": shown}


def _clip(part: Mapping[str, Any]) -> Any:
    """Return the frames of a video, or the one frame of a picture."""
    if part["type"] == "image":
        return [next((part[key] for key in ("image", "path", "url") if key in part), None)]
    frames = part.get("video")
    is_frames = isinstance(frames, list | tuple) or (isinstance(frames, np.ndarray | Tensor) and frames.ndim == 4)
    if frames is None or not is_frames or len(frames) == 0:
        given = "no frames" if is_frames else f"a {type(frames).__name__}"
        raise ValueError(
            f"a video given as {given}: expected 1 + 4j frames in time order (a list of pictures, an array of shape"
            " (F, H, W, 3), or a tensor (F, 3, H, W)); decode a file first"
        )
    return frames
