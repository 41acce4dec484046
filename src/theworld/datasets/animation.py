"""Animations: frames as a GIF that plays in every browser, separate from pictures since no reader needs it."""

from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_HIGHEST_RATE_HZ: Final = 50  # browsers slow frames of less than 2/100 s down to 10 a second
_HOLD_MS: Final = 1000


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
    strip = strip.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    pictures = [
        strip.crop((0, top, width, top + height)).resize((width * scale, height * scale), Image.Resampling.NEAREST)
        for top in range(0, num_frames * height, height)
    ]
    times_ms = [10 * round(100 * index / frame_rate_hz) for index in range(num_frames)]
    durations_ms = [after - before for before, after in pairwise(times_ms)] + [_HOLD_MS]
    pictures[0].save(
        path, format="GIF", save_all=True, append_images=pictures[1:], duration=durations_ms, loop=0, optimize=False
    )
