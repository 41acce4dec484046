"""Animations: frames as a GIF or an MP4 that plays in every browser."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_HIGHEST_RATE_HZ: Final = 50  # browsers slow frames of less than 2/100 s down to 10 a second
_HOLD_MS: Final = 1000
_MOST_COLOURS: Final = 4_096
_NUM_SAMPLED: Final = 5_000  # pixels: the mean error of a film is within 0.6 grey levels of that for all pixels


def write_gif(frames: UInt8[np.ndarray, "F H W 3"], path: Path, frame_rate_hz: float, scale: int) -> None:
    """Write frames as a GIF that loops for ever and rests a second on its last frame.

    Args:
        frames: pictures in time order, at least one.
        path: where the GIF goes.
        frame_rate_hz: frames per second, above 0 and at most 50. A GIF counts time in hundredths of a second: delays
            may differ by one of them, so that the total length is right.
        scale: side of the square of pixels that shows one pixel.

    Raises:
        ValueError: without frames, for a rate that browsers cannot show, or a scale below 1.
    """
    if len(frames) == 0:
        raise ValueError(f"frames of shape {frames.shape}: an animation needs one at least")
    if not 0 < frame_rate_hz <= _HIGHEST_RATE_HZ:
        raise ValueError(f"frame_rate_hz={frame_rate_hz}: expected above 0 and at most {_HIGHEST_RATE_HZ}")
    if scale < 1:
        raise ValueError(f"scale={scale}: expected 1 or more")
    num_frames, height, width, _ = frames.shape
    # All frames share one palette: with several palettes, still parts would flicker.
    strip = Image.fromarray(frames.reshape(num_frames * height, width, 3))
    strip = _in_256_colours(strip)
    pictures = [
        strip.crop((0, top, width, top + height)).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        for top in range(0, num_frames * height, height)
    ]
    times_ms = [10 * round(100 * index / frame_rate_hz) for index in range(num_frames)]
    durations_ms = [after - before for before, after in pairwise(times_ms)] + [_HOLD_MS]
    pictures[0].save(
        path, format="GIF", save_all=True, append_images=pictures[1:], duration=durations_ms, loop=0, optimize=False
    )


def _in_256_colours(strip: Image.Image) -> Image.Image:
    """Reduce the colours; those of many pixels are chosen from some of them, since Pillow takes minutes for all."""
    options: Any = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 3, "dither": Image.Dither.NONE}
    if strip.getcolors(_MOST_COLOURS) is not None:
        return strip.quantize(256, **options)
    pixels = np.asarray(strip).reshape(-1, 3)
    some = Image.fromarray(pixels[None, :: max(1, len(pixels) // _NUM_SAMPLED)])
    return strip.quantize(palette=some.quantize(256, **options), dither=Image.Dither.NONE)


def write_mp4(frames: UInt8[np.ndarray, "F H W 3"], path: Path, frame_rate_hz: float) -> None:
    """Write frames as an MP4 of H.264 that plays in browsers.

    Args:
        frames: pictures in time order, at least one, with even sides.
        path: where the MP4 goes.
        frame_rate_hz: frames per second, above 0.

    Raises:
        ValueError: without frames, for odd sides, or a rate that is not above 0.
    """
    if len(frames) == 0 or frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"frames of shape {frames.shape}: expected one at least, of even height and width")
    if not 0 < frame_rate_hz < float("inf"):
        raise ValueError(f"frame_rate_hz={frame_rate_hz}: expected above 0")
    import av

    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(frame_rate_hz).limit_denominator(1001))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "12"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
