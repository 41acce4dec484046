"""Conversion of every accepted form of a picture or clip to RGB pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from theworld.datasets.errors import ImageError, MissingImageError, RecordError
from theworld.datasets.rgb import BROKEN, decode, to_rgb, upright

MAX_ASPECT = 100
"""Largest ratio of the sides: beyond it a picture is a line, and resizing it gives noise."""


_MAX_SHOWN_PATH = 200


def to_image(source: Any) -> Image.Image:
    """Convert a picture to RGB and turn it upright; an upright RGB picture is returned itself.

    `theworld.datasets.rgb.to_rgb` has the rule of every mode of Pillow: transparency becomes white, 16 bits become 8.

    Args:
        source: PIL image (also turned by its EXIF orientation), path, bytes of a picture file, uint8 array (H, W, 3) or
            (H, W), or tensor (3, H, W), also with a leading batch axis of one; a float tensor must be in [0, 1] and is
            rounded to 8 bits. An ImageError in the place of a picture is raised.

    Raises:
        ImageError: with the given and the expected form.
    """
    if isinstance(source, ImageError):
        raise source
    if isinstance(source, str | Path):
        image = _open(_existing(Path(source)), str(source))
    elif isinstance(source, bytes):
        image = _open(source, f"{len(source):,} bytes")
    elif isinstance(source, Image.Image):
        image = source
    elif isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, Tensor):
        image = _from_array(_tensor_to_array(source[0] if source.ndim == 4 and len(source) == 1 else source))
    else:
        raise ImageError(f"a picture of type {type(source).__name__}: expected PIL, path, uint8 array or tensor")
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


def _existing(path: Path) -> Path:
    name = str(path)
    if len(name) > _MAX_SHOWN_PATH:
        name = f"{name[: _MAX_SHOWN_PATH - 3]}..."
    try:
        if path.is_dir():
            raise ImageError(f"{name}: a folder, not a picture")
        if not path.is_file():
            raise MissingImageError(f"{name}: no such file")
    except (OSError, UnicodeError) as error:  # too long, or half a surrogate pair
        raise MissingImageError(f"{name!a}: no path of a file ({getattr(error, 'strerror', 'not UTF-8')})") from error
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
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ImageError(f"an array of shape {array.shape}, {array.dtype}: expected (H, W, 3), uint8")
    return Image.fromarray(array)


def _tensor_to_array(tensor: Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] != 3:
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


def to_pictures(source: Any) -> list[Image.Image]:
    """Convert one picture, a sequence of pictures, or a batch tensor (B, 3, H, W) to a list of RGB pictures."""
    if isinstance(source, Tensor) and source.ndim == 4:
        return [to_image(picture) for picture in source]
    if isinstance(source, Sequence) and not isinstance(source, str):
        return [to_image(picture) for picture in source]
    return [to_image(source)]


def to_frames(clip: Any, side_px: int) -> Tensor:
    """Convert a clip to the world model's input: uint8 (F, 3, side, side), squashed to a square as Gemma does it.

    Args:
        clip: frames in time order: array (F, H, W, 3), tensor (F, 3, H, W), a sequence of pictures, or one picture.
        side_px: side of the square, pixels.
    """
    if isinstance(clip, np.ndarray) and clip.ndim == 4:
        clip = list(clip)
    return square_frames(to_pictures(clip), side_px)


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
