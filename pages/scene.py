"""The scene at the top of the README: the first of the test split, with answers of the embedded model."""

from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from examples.inference import ask_about
from theworld import TheWorld
from theworld.datasets.animation import write_mp4
from theworld.datasets.foresight import FRAME_RATE_HZ, ForesightDataset, clip
from theworld.datasets.foresight.scene import NUM_GIVEN_FRAMES
from theworld.report.figures import AskedScene, draw_sheet

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
SIDE_PX: Final = 192


def ask_first_scene() -> AskedScene:
    """Ask the embedded model about the scene, with its world and without, and imagine the future."""
    model = TheWorld.from_pretrained("tiny-foresight")
    plain = TheWorld.from_pretrained("tiny-foresight", enable_world=False)
    return ask_about(ForesightDataset("test", 1, 64, "future", with_future=True)[0], model, plain)


def write_pictures(folder: Path = IMAGES) -> None:
    """Write the picture of the scene, and inputs of the model, for readers who want to ask about them.

    The inputs are a picture, the given frames of a clip, and a clip with what followed.
    """
    scene = ask_first_scene()
    draw_sheet([scene], folder / "scene.png", FRAME_RATE_HZ, SIDE_PX)
    Image.fromarray(scene.given).save(folder / "given.png", optimize=True)
    _write_webp(clip("test", 0, 64, "hide")[: NUM_GIVEN_FRAMES["hide"]], folder / "clip.webp")
    write_mp4(clip("test", 0, 64, "drop"), folder / "film.mp4", FRAME_RATE_HZ)


def _write_webp(pixels: UInt8[np.ndarray, "F H W 3"], path: Path) -> None:
    """Write an animation without loss."""
    frames = [Image.fromarray(frame) for frame in pixels]
    times_ms = [round(1000 * number / FRAME_RATE_HZ) for number in range(len(frames) + 1)]
    durations_ms = [after - before for before, after in pairwise(times_ms)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations_ms, lossless=True, loop=0)
