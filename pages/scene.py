"""The scene at the top of the README: the first of the test split, asked of the model that comes with the package."""

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
    """What the shipped model says of it, and what its world imagines."""
    model = TheWorld.from_pretrained("tiny-foresight")
    plain = TheWorld.from_pretrained("tiny-foresight", enable_world=False)
    return ask_about(ForesightDataset("test", 1, 64, "dynamic", with_future=True)[0], model, plain)


def write_pictures(folder: Path = IMAGES) -> None:
    """Write the picture of the scene, and the picture that the model was given, for who wants to ask it."""
    scene = ask_first_scene()
    draw_sheet([scene], folder / "scene.png", FRAME_RATE_HZ, SIDE_PX)
    Image.fromarray(scene.given).save(folder / "given.png", optimize=True)
