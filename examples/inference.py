"""Ask about three scenes with and without the world model, and draw the imagined futures."""

from pathlib import Path
from typing import Any

import numpy as np

from theworld import TheWorld
from theworld.datasets.animation import write_gif
from theworld.datasets.foresight import FRAME_RATE_HZ, ForesightDataset
from theworld.datasets.sample import Sample
from theworld.modeling.introspection import imagine
from theworld.report.figures import AskedScene, draw_sheet


def main(folder: Path = Path("runs/inference"), num_scenes: int = 3) -> list[AskedScene]:
    """Ask what will happen in scenes of the test split; write a sheet, and an animation of each imagined future."""
    folder.mkdir(parents=True, exist_ok=True)
    model = TheWorld.from_pretrained("tiny-foresight")
    plain = TheWorld.from_pretrained("tiny-foresight", enable_world=False)
    samples = ForesightDataset("test", num_scenes, model.config.world_image_size, "future", with_future=True)
    scenes = []
    for number in range(num_scenes):
        scene = ask_about(samples[number], model, plain)
        print(f"{scene.question} {scene.without_world!r}, with the world {scene.with_world!r}, true {scene.answer!r}")
        write_gif(scene.imagined, folder / f"imagined-{number}.gif", FRAME_RATE_HZ, scale=4)
        scenes.append(scene)
    draw_sheet(scenes, folder / "scenes.png", FRAME_RATE_HZ)
    print(f"wrote {folder}/scenes.png, and the imagined futures as imagined-NUMBER.gif beside it")
    return scenes


def ask_about(sample: Sample, model: TheWorld, plain: TheWorld) -> AskedScene:
    """Ask one question about one picture, with the world model and without it."""
    picture: Any = sample.images[0]
    question, steps = sample.prompt[-1].text, sample.num_world_steps or 0
    assert sample.future is not None
    assert sample.answer is not None
    return AskedScene(
        given=np.asarray(picture),
        imagined=imagine(model, picture, steps).numpy()[1:],  # the first frame is the given one
        happened=np.asarray(sample.future[0]),
        question=question,
        answer=sample.answer,
        with_world=model.generate(picture, question, num_world_steps=steps),
        without_world=plain.generate(picture, question),
    )


if __name__ == "__main__":
    main()
