"""Decoded frames of video files to upright sRGB pictures with square pixels.

Colours follow the tags of the file: matrix (BT.601, BT.709, BT.2020), range, primaries and transfer. Frames without a
tag of their matrix have BT.709 from 1280 columns or above 576 lines on, and BT.601 below, as players assume. High
dynamic range (PQ, HLG) has the primaries of BT.2020 unless the file names others. It is tone-mapped: a diffuse white of
203 cd/m² (BT.2408) becomes a light grey, and brighter lights get the rest up to white.
"""

import struct
from functools import lru_cache
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, UInt8, UInt16
from PIL import Image

from theworld.datasets.rgb import to_rgb

_UNKNOWN: Final = 2
_BT2020: Final = 9
_BT2020_CONSTANT: Final = 10
_PQ: Final = 16
_HLG: Final = 18
_HIGH: Final = (_PQ, _HLG)
"""Numbers of ITU-T H.273."""
_ITU709: Final = 1
"""Number of the matrix in swscale."""
_HD_WIDTH_PX, _HD_HEIGHT_PX = 1280, 576

_WHITE_NITS: Final = 203.0
_HLG_PEAK_NITS: Final = 1000.0
_KNEE: Final = 0.5
"""Share of white up to which tone mapping leaves the light alone."""
_GAMMA: Final = 2.4
"""Of displays (BT.1886), for wide colours of a usual range."""
_MAX_RATIO: Final = 20.0
"""Largest ratio of the sides of a pixel that is believed."""

_TO_BT709: Final = {
    _BT2020: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
"""Linear light of other primaries (BT.2020, Display P3) to those of sRGB."""

_TURNS: Final[dict[tuple[int, ...], Image.Transpose]] = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""Transpositions by the display matrix (a, b, c, d) with x' = ax + cy and y' = bx + dy, y downwards."""


def to_picture(frame: Any, reformatter: Any, pixel_ratio: float, max_side_px: int) -> Image.Image:
    """Convert a frame of PyAV.

    Args:
        frame: decoded.
        reformatter: VideoReformatter of PyAV, kept for all frames of a file.
        pixel_ratio: width of a pixel over its height; 0: unknown, and square.
        max_side_px: longest side of the picture; a larger one is scaled down.
    """
    options: dict[str, Any] = {"threads": 1}
    if frame.colorspace == _UNKNOWN and (frame.width >= _HD_WIDTH_PX or frame.height > _HD_HEIGHT_PX):
        options["src_colorspace"] = _ITU709
    elif frame.colorspace == _BT2020_CONSTANT:
        options["src_colorspace"] = _BT2020
    size = _square_size(frame.width, frame.height, pixel_ratio, max_side_px)
    if _is_wide(frame):
        # Reduced first: the arithmetic is in floats.
        width, height = min(size[0], frame.width), min(size[1], frame.height)
        deep = reformatter.reformat(
            frame, width=width, height=height, format="rgb48le", interpolation="BICUBIC", **options
        )
        picture = Image.fromarray(_to_srgb(deep.to_ndarray(), frame.color_trc, frame.color_primaries))
    elif any(part.is_alpha for part in frame.format.components):
        picture = to_rgb(_with_alpha(reformatter.reformat(frame, format="rgba", **options)))
    else:
        picture = reformatter.reformat(frame, format="rgb24", **options).to_image()
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    turn = _turn_of(frame)
    return picture if turn is None else picture.transpose(turn)


def _with_alpha(frame: Any) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(frame.to_ndarray()))


def _square_size(width: int, height: int, pixel_ratio: float, max_side_px: int) -> tuple[int, int]:
    """Return the size in square pixels: the lines stay, and get wider or narrower."""
    if 1 / _MAX_RATIO <= pixel_ratio <= _MAX_RATIO:
        width = round(width * pixel_ratio)
    scale = min(1.0, max_side_px / max(width, height))
    return max(2, round(width * scale)), max(2, round(height * scale))


def _turn_of(frame: Any) -> Image.Transpose | None:
    """Return the transposition to upright; a turn by another angle than a right one is rounded."""
    matrix = next((bytes(part) for part in frame.side_data if part.type.name == "DISPLAYMATRIX"), b"")
    if len(matrix) < 20:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    is_straight = abs(a) + abs(d) >= abs(b) + abs(c)
    pairs = (np.sign(a), 0, 0, np.sign(d)) if is_straight else (0, np.sign(b), np.sign(c), 0)
    return _TURNS.get(tuple(int(part) for part in pairs))


def _is_wide(frame: Any) -> bool:
    return frame.color_trc in _HIGH or frame.color_primaries in _TO_BT709


def _to_srgb(codes: UInt16[np.ndarray, "H W 3"], transfer: int, primaries: int) -> UInt8[np.ndarray, "H W 3"]:
    """Convert the code values of wide or high dynamic range to sRGB."""
    light = _light_of(transfer)[codes]
    if transfer == _HLG:
        # The display brightens bright scenes (BT.2100).
        scene = light @ np.asarray((0.2627, 0.6780, 0.0593), np.float32)
        light = light * np.power(scene, 0.2)[..., None] * np.float32(_HLG_PEAK_NITS / _WHITE_NITS)
    if matrix := _TO_BT709.get(_BT2020 if primaries in (0, _UNKNOWN) else primaries):
        light = np.maximum(light @ np.asarray(matrix, np.float32).T, 0.0)
    if transfer in _HIGH:
        brightest = light.max(axis=-1, keepdims=True)
        light = light * (_tone_mapped(brightest) / np.maximum(brightest, 1e-6))
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    else:
        encoded = np.power(light, 1 / _GAMMA)
    return np.clip(encoded * 255 + 0.5, 0, 255).astype(np.uint8)


def _tone_mapped(light: Float32[np.ndarray, "H W 1"]) -> Float32[np.ndarray, "H W 1"]:
    """Leave light up to the knee alone, and press the rest smoothly below 1."""
    rest = 1 - _KNEE
    return np.where(light <= _KNEE, light, _KNEE + rest * (1 - np.exp(-(light - _KNEE) / rest)))


@lru_cache(maxsize=3)
def _light_of(transfer: int) -> Float32[np.ndarray, " 65536"]:
    """Return linear light by 16-bit code value: 1 is diffuse white, for HLG the brightest light of the scene."""
    signal = np.arange(65536) / 65535
    if transfer == _PQ:
        power = np.power(signal, 32 / 2523)
        light = np.power(np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power), 8192 / 1305)
        light = light * 10_000 / _WHITE_NITS
    elif transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = np.power(signal, _GAMMA)
    return light.astype(np.float32)
