"""The embedded default as users get it: it sees, it imagines, and a question gets both answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Gemma3ForConditionalGeneration, Gemma3Processor

from recipes.build import MOST_BYTES
from recipes.vlm import current_pictures, marks
from theworld.cli import main as cli
from theworld.config import WorldSettings
from theworld.datasets import foresight
from theworld.datasets.foresight.scene import FRAME_RATE_HZ, NUM_GIVEN_FRAMES, Scenes, num_future_slots
from theworld.experiments.probe.probe import watch_futures
from theworld.world.factory import open_tap
from theworld.world.forecast import errors_of
from theworld.world.tap import clip_seeds


def test_the_weights_fit_into_the_package(embedded: Path):
    assert sum(path.stat().st_size for path in embedded.rglob("*") if path.is_file()) <= MOST_BYTES


def test_the_embedded_gemma_says_what_pictures_show(embedded: Path):
    gemma = Gemma3ForConditionalGeneration.from_pretrained(embedded / "gemma")
    asked, pictures = current_pictures(20, 64)
    asked = [one for one in asked if one.form == "open"]
    right = marks(gemma, Gemma3Processor.from_pretrained(embedded / "gemma"), asked, pictures)
    assert np.mean(right) > 0.9


def test_an_imagined_last_picture_often_shows_where_a_dropped_ball_comes_to_rest(embedded: Path):
    world = WorldSettings(
        tap="rollout", cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=FRAME_RATE_HZ, num_inference_steps=10
    )
    found = watch_futures(world, ("drop",), num_items=20)["drop"]
    assert found["imagined"] > found["chance"] + 0.1


@pytest.mark.parametrize("scenes", ["plain", "varied"])
def test_the_embedded_world_imagines_what_happens(embedded: Path, scenes: Scenes):
    world = WorldSettings(tap="rollout", cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=FRAME_RATE_HZ)
    tap: Any = open_tap(world)
    errors = []
    for task in ("drop", "roll", "collide"):
        for index in range(4):
            clip = foresight.clip("validation", index, 64, task, scenes)
            frames, given = torch.from_numpy(clip).permute(0, 3, 1, 2)[None], NUM_GIVEN_FRAMES[task]
            imagined = tap.read(frames[:, :given], num_future_slots(task), clip_seeds(frames[:, :given], 0))
            errors.append(errors_of(tap.pipeline.vae, imagined, frames, given).relative.mean())
    assert float(torch.stack(errors).median()) < 0.8  # of the error of a frozen picture


def test_a_question_gets_both_answers_and_the_imagined_future(embedded: Path, tmp_path, capsys):
    sample = foresight.ForesightDataset("validation", 1, 64, "future", tasks=("drop",))[0]
    picture = tmp_path / "picture.png"
    sample.images[0].save(picture)
    future = tmp_path / "future.gif"
    assert cli.main(["ask", "tiny", str(picture), sample.prompt[-1].text, "--show-future", str(future), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["future"] == str(future)
    assert said["with the world"] in sample.fields["choices"]
    assert said["without the world"]
    with Image.open(future) as animation:
        assert animation.n_frames == 17
        assert animation.size == (512, 512)
