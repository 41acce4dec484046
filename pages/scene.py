"""The scene at the top of the README: the first of the test split, with answers of the embedded model."""

from pathlib import Path
from typing import Final

from PIL import Image

from examples.inference import ask_about
from theworld import TheWorld
from theworld.datasets.foresight import FRAME_RATE_HZ, ForesightDataset
from theworld.report.figures import AskedScene, draw_sheet

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
SIDE_PX: Final = 192


def ask_first_scene() -> AskedScene:
    """Ask the embedded model about the scene, with its world and without, and imagine the future."""
    model = TheWorld.from_pretrained("tiny-foresight")
    plain = TheWorld.from_pretrained("tiny-foresight", enable_world=False)
    return ask_about(ForesightDataset("test", 1, 64, "future", with_future=True)[0], model, plain)


def write_pictures(folder: Path = IMAGES) -> None:
    """Write the picture of the scene, and the input picture of the model, for readers who want to ask about it."""
    scene = ask_first_scene()
    draw_sheet([scene], folder / "scene.png", FRAME_RATE_HZ, SIDE_PX)
    Image.fromarray(scene.given).save(folder / "given.png", optimize=True)
