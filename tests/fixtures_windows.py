"""Small videos for tests: frames that tell their number, still and black ones, and cuts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from theworld.datasets.animation import write_mp4

SIDE_PX = 32


def numbered(number: int) -> np.ndarray:
    """A frame whose upper half is as bright as its number, and whose lower half has a white bar at it."""
    frame = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    frame[: SIDE_PX // 2] = 20 + 4 * number
    frame[SIDE_PX // 2 :, number % SIDE_PX] = 255
    return frame


def number_of(picture: Image.Image) -> int:
    """The number of a frame that `numbered` made."""
    return round((float(np.asarray(picture)[:8].mean()) - 20) / 4)


def write_numbered(path: Path, numbers: Sequence[int], frame_rate_hz: float = 6.0) -> Path:
    """Write a video of the frames of these numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mp4(np.stack([numbered(number) for number in numbers]), path, frame_rate_hz)
    return path


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """A folder of four videos of 9 frames at 6 a second, each with other frames, one of them in a folder of its own."""
    for number, name in enumerate(("a.mp4", "b.mp4", "c.mp4", "more/d.mp4")):
        write_numbered(tmp_path / "videos" / name, range(10 * number, 10 * number + 9))
    return tmp_path / "videos"
