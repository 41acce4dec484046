"""Videos for tests: a film, an animation and a decoder of the same moving square."""

import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

RATE_HZ = 12
"""Frames per second; the tiny world model expects 6."""


def moving_square(num_frames: int = 24, side_px: int = 64, seed: int = 0) -> np.ndarray:
    """Frames (F, H, W, 3) of a square that moves to the right over noise of its own, uint8."""
    pixels = np.random.default_rng(seed).integers(0, 90, (num_frames, side_px, side_px, 3), dtype=np.uint8)
    for number in range(num_frames):
        left = (3 * number) % (side_px - 16)
        pixels[number, 24:40, left : left + 16] = (250, 60, 30)
    return pixels


def film(path: Path, frames: np.ndarray | None = None, rate_hz: int = RATE_HZ) -> Path:
    """Write an H.264 film of the frames."""
    import av

    frames = moving_square() if frames is None else frames
    with av.open(str(path), "w") as container:
        track: Any = container.add_stream("libx264", rate=rate_hz)
        track.height, track.width, track.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for pixels in frames:
            container.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(track.encode())
    return path


def animation(frames: Sequence[Image.Image], kind: str, rate_hz: int = RATE_HZ) -> bytes:
    """Return the file of an animation, GIF, WEBP or PNG; GIF rounds its times to hundredths of a second."""
    file = io.BytesIO()
    lossless = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(
        file, kind, save_all=True, append_images=list(frames[1:]), duration=round(1000 / rate_hz), **lossless
    )
    return file.getvalue()


def frames_of(path: Path) -> np.ndarray:
    """Decode all frames of a film with bare PyAV, (F, H, W, 3)."""
    import av

    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


class Decoder:
    """The interface of a torchcodec VideoDecoder, over frames in memory."""

    def __init__(self, frames: np.ndarray, rate_hz: float = RATE_HZ) -> None:
        self.frames = torch.from_numpy(frames).permute(0, 3, 1, 2)
        count, height, width = frames.shape[:3]
        self.metadata = SimpleNamespace(
            num_frames=count, average_fps=rate_hz, width=width, height=height, begin_stream_seconds=0.0
        )
        self._start_s, self._rate_hz = 0.0, rate_hz

    def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
        return SimpleNamespace(
            data=self.frames[indices], pts_seconds=torch.tensor(indices, dtype=torch.float64) / self._rate_hz
        )

    def get_frames_played_at(self, seconds: list[float]) -> SimpleNamespace:
        return self.get_frames_at([int(second * self._rate_hz) for second in seconds])
