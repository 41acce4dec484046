"""Conversion of every accepted form of a picture or clip to RGB pixels."""

import io
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from theworld.datasets.errors import ImageError, MissingImageError, RecordError
from theworld.datasets.records import short
from theworld.datasets.rgb import BROKEN, decode, to_rgb, upright

MAX_ASPECT = 100
"""Largest ratio of the sides: beyond it a picture is a line, and resizing it gives noise."""


_MAX_SHOWN_PATH = 200

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Start of an address, also after `Path` has dropped a slash. One letter and a colon is a drive of Windows."""
_DATA_URL = re.compile(r"data:[^,]*,", re.IGNORECASE)

_ANIMATED = ("GIF", "WEBP", "PNG")

_T = TypeVar("_T")


def to_image(source: Any) -> Image.Image:
    """Convert a picture to RGB and turn it upright; an upright RGB picture is returned itself.

    `theworld.datasets.rgb.to_rgb` has the rule of every mode of Pillow: transparency becomes white, 16 bits become 8.

    Args:
        source: PIL image (also turned by its EXIF orientation), path, bytes of a picture file, uint8 array (H, W, 3),
            (H, W, 4) with alpha or (H, W), or tensor (3, H, W) or (4, H, W), also with a leading batch axis of one; a
            float tensor must be in [0, 1] and is rounded to 8 bits. An ImageError in the place of a picture is raised.
            Addresses are not opened.

    Raises:
        ImageError: with the given and the expected form.
    """
    if isinstance(source, ImageError):
        raise source
    if isinstance(source, str | Path):
        image = _open(existing_file(Path(source), str(source)), str(source))
    elif isinstance(source, bytes | bytearray | memoryview):
        image = _open(bytes(source), f"{len(source):,} bytes")
    elif isinstance(source, Image.Image):
        image = source
    elif isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, Tensor):
        image = _from_array(_tensor_to_array(source[0] if source.ndim == 4 and len(source) == 1 else source))
    else:
        raise ImageError(f"a picture of type {type(source).__name__}: expected PIL, path, bytes, uint8 array or tensor")
    width, height = image.size
    if min(width, height) < 2 or max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageError(f"a picture of {width} x {height} px: expected 2 x 2 or more, sides at most 1:{MAX_ASPECT}")
    try:
        image.load()  # now, while the file is open; a truncated file raises here
        return to_rgb(upright(image))
    except ImageError:
        raise
    except BROKEN as error:
        raise ImageError(f"a picture of {width} x {height} px: not readable ({error})") from error


def read_picture(source: Any, name: str) -> Image.Image:
    """Read the RGB picture of a record.

    Args:
        source: a path, or any other form that `to_image` accepts; None: the record has no picture.
        name: of the record, for messages.

    Raises:
        RecordError: missing picture, or unreadable picture (truncated, or of an unknown format).
    """
    if source is None:
        raise RecordError("missing picture", f"{name}: no picture")
    try:
        return to_image(source)
    except MissingImageError as error:
        raise RecordError("missing picture", f"{name}: {error}") from error
    except ImageError as error:
        raise RecordError("unreadable picture", f"{name}: {error}") from error


def path_in(folder: Path, name: str, record: str, noun: Literal["picture", "video"] = "picture") -> Path:
    """Return the path of the picture or video that a row names, in the folder of the pictures.

    A row may not leave this folder, neither by `..` nor by an absolute path. Symbolic links inside the folder are
    followed, because rows cannot make them.

    Args:
        folder: of the pictures.
        name: path in the row, from that folder.
        record: name of the row, for messages.
        noun: of the file.

    Raises:
        RecordError: malformed for a path that leaves the folder, missing picture or video for an address.
    """
    if refusal := _no_address(name):
        raise RecordError("missing picture" if noun == "picture" else "missing video", f"{record}: {refusal}")
    base = os.path.normpath(folder.absolute())
    path = Path(os.path.normpath(folder.absolute() / name))
    if not path.is_relative_to(base):
        raise RecordError("malformed", f"{record}: the path {short(name)} leaves {folder}, the folder of the {noun}s")
    return folder / path.relative_to(base)


def _no_address(name: str) -> str | None:
    """Say that an address is not opened; None: the name is none."""
    if _DATA_URL.match(name):
        return f"{shown_path(name)}: data URLs are not opened; decode it, and give its bytes"
    if _ADDRESS.match(name):
        address = name if "://" in name else name.replace(":/", "://", 1)
        return f"{shown_path(address)}: addresses are not opened; download it, and give its path"
    return None


def shown_path(name: str) -> str:
    """Return a path for a message, shortened if it is very long."""
    return name if len(name) <= _MAX_SHOWN_PATH else f"{name[: _MAX_SHOWN_PATH - 3]}..."


def existing_file(path: Path, given: str) -> Path:
    """Return the path of a file that exists; `given` is how the user wrote it.

    Raises:
        ImageError: for a folder; MissingImageError for a path without a file, and for an address.
    """
    name = shown_path(str(path))
    try:
        if path.is_dir():
            raise ImageError(f"{name}: a folder, not a picture")
        if not path.is_file():
            raise MissingImageError(_no_address(given) or f"{name}: no such file")
    except (OSError, UnicodeError) as error:  # too long, or half a surrogate pair
        reason = f"{name!a}: no path of a file ({getattr(error, 'strerror', 'not UTF-8')})"
        raise MissingImageError(_no_address(given) or reason) from error
    return path


def _open(source: Path | bytes, name: str) -> Image.Image:
    try:
        return decode(source)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except (*BROKEN, Image.DecompressionBombError) as error:
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise ImageError(f"{name}: not a readable picture ({reason})") from error


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(f"an array of shape {array.shape}, {array.dtype}: expected (H, W, 3), uint8")
    return Image.fromarray(array)


def _tensor_to_array(tensor: Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] not in (3, 4) or not tensor.numel():
        raise ImageError(f"a tensor of shape {tuple(tensor.shape)}: expected (3, H, W)")
    pixels = tensor.detach().cpu()
    if pixels.is_floating_point():
        low, high = pixels.min().item(), pixels.max().item()
        if not (low >= 0.0 and high <= 1.0):  # also catches NaN
            raise ImageError(f"a float picture with values in [{low:.3g}, {high:.3g}]: expected [0, 1]")
        pixels = (pixels.float() * 255).round().to(torch.uint8)
    elif pixels.dtype != torch.uint8:
        raise ImageError(f"a picture of {tensor.dtype}: expected uint8, or float in [0, 1]")
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def picture_of(value: Any) -> Any:
    """Return the bytes or the path of a picture in a table; it is decoded on access."""
    if isinstance(value, Mapping):
        return value.get("bytes") or value.get("path")
    return value


def picture_in(folder: Path | None, value: Any, record: str, noun: Literal["picture", "video"] = "picture") -> Any:
    """Return the bytes or the path of a picture in a table of a public data set.

    Args:
        folder: of the pictures, which no path may leave; None: the table holds the pictures themselves.
        value: of the table.
        record: name of the row, for messages.
        noun: of the file.

    Raises:
        RecordError: malformed for a path that leaves the folder, or without a folder; as `path_in`.
    """
    picture = picture_of(value)
    if not isinstance(picture, str):
        return picture
    if folder is None:
        raise RecordError("malformed", f"{record}: the path {short(picture)}: expected the picture itself")
    return path_in(folder, picture, record, noun)


def to_pictures(source: Any) -> list[Image.Image]:
    """Convert one picture, a sequence, a tensor (B, 3, H, W) or an array (B, H, W, 3) to a list of RGB pictures."""
    return [to_image(picture) for picture in _listed(source)]


def _listed(source: Any) -> Sequence[Any]:
    if isinstance(source, Tensor | np.ndarray):
        return list(source) if source.ndim == 4 else [source]
    is_one = isinstance(source, str | bytes | bytearray | memoryview) or not isinstance(source, Sequence)
    return [source] if is_one else source


def to_frames(clip: Any, side_px: int) -> Tensor:
    """Convert a clip to the world model's input: uint8 (F, 3, side, side), squashed to a square as Gemma does it.

    Args:
        clip: frames in time order: array (F, H, W, 3), tensor (F, 3, H, W), a sequence of pictures, or one picture.
        side_px: side of the square, pixels.

    Raises:
        ImageError: for an animation, of which only the first frame would be read; and as `to_image`.
    """
    return square_frames(to_clip(clip), side_px)


def to_clip(clip: Any) -> list[Image.Image]:
    """Convert the frames of a clip to RGB pictures, as `to_frames`, of their own sizes."""
    frames = _listed(clip)
    for frame in frames:
        _refuse_animation(frame)
    return [to_image(frame) for frame in frames]


def is_animation(source: Any) -> bool:
    """Return whether a picture, its file or its content is an animation: a GIF, WebP or PNG of several frames."""
    return _of_file(source, lambda image: image.format in _ANIMATED and getattr(image, "is_animated", False), False)


def _of_file(source: Any, ask: Callable[[Image.Image], _T], default: _T) -> _T:
    """Ask about a picture, its file or its content; return the default for anything else."""
    try:
        if isinstance(source, Image.Image):
            return ask(source)
        if isinstance(source, str | Path | bytes | bytearray | memoryview):
            with Image.open(source if isinstance(source, str | Path) else io.BytesIO(source)) as file:
                return ask(file)
    except (*BROKEN, Image.DecompressionBombError):
        pass  # `to_image` says why
    return default


def _refuse_animation(frame: Any) -> None:
    """Refuse a file of several frames in the place of one."""
    num_frames = _of_file(frame, _num_frames, 1)
    if num_frames > 1:
        is_path = isinstance(frame, str | Path)
        is_picture = isinstance(frame, Image.Image)
        name = "a picture" if is_picture else shown_path(str(frame)) if is_path else f"{len(frame):,} bytes"
        raise ImageError(f"{name}: an animation of {num_frames} frames, in the place of one: give a list of its frames")


def _num_frames(image: Image.Image) -> int:
    return 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # MPO: a photo, and its preview or depth


def square_frames(pictures: Sequence[Image.Image], side_px: int) -> Tensor:
    """Resize the RGB pictures of a clip, as `to_frames`."""
    if not pictures:
        raise ImageError("a clip without frames: expected 1 + 4j pictures")
    arrays = [np.asarray(_resize(picture, side_px)) for picture in pictures]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def _resize(picture: Image.Image, side_px: int) -> Image.Image:
    if picture.size == (side_px, side_px):
        return picture
    return picture.resize((side_px, side_px), Image.Resampling.BICUBIC)
