"""Several imagined futures of one look: the answer with its confidence, and a loaded number of denoising steps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from theworld.modeling import TheWorld
from theworld.modeling.futures import Agreed, agreed
from theworld.world.cached import open_stored
from theworld.world.store import StoreMismatchError


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def ahead() -> TheWorld:
    world = {"world_tap": "rollout", "num_world_steps": 1, "num_inference_steps": 2}
    return TheWorld.from_pretrained("tiny", world_grid=4, **world).eval()


def test_the_most_frequent_answer_counts_and_its_share_is_the_confidence() -> None:
    assert agreed(["red", "blue", "Red.", "red"]) == Agreed("red", 0.75, ("red", "blue", "Red.", "red"))
    assert agreed(["blue", "red"]).answer == "blue"  # of two equally frequent ones that of the earlier future
    assert str(agreed(["no"])) == "no"


def test_each_future_has_noise_of_its_own_and_the_first_is_that_of_every_other_call(ahead: TheWorld) -> None:
    frames = ahead.processor.world_frames([[picture()]])
    assert frames is not None
    futures = [ahead.read_world(frames, 1, future=number) for number in range(3)]
    assert torch.equal(futures[0], ahead.read_world(frames, 1))
    assert torch.equal(futures[1], ahead.read_world(frames, 1, future=1))
    assert not torch.equal(futures[0][:, :, 1], futures[1][:, :, 1])
    assert not torch.equal(futures[1][:, :, 1], futures[2][:, :, 1])
    assert torch.equal(futures[0][:, :, 0], futures[1][:, :, 0])  # the current slot is no matter of chance


def test_a_look_answers_about_several_futures(ahead: TheWorld) -> None:
    look = ahead.look(picture())
    plain = look.ask("What?", max_new_tokens=3)
    result = look.ask("What?", num_futures=3, max_new_tokens=3)
    assert isinstance(plain, str)
    assert result.answers[0] == plain
    assert len(result.answers) == 3
    assert result.confidence in (1 / 3, 2 / 3, 1.0)
    again = look.ask("What?", num_futures=3, max_new_tokens=3)
    assert again == result
    assert look.ask("What?", num_futures=1, max_new_tokens=3) == Agreed(plain, 1.0, (plain,))


@pytest.mark.parametrize(
    ("settings", "num_futures", "message"),
    [
        ({}, 3, "num_futures=3: the tap 'vae' at num_world_steps=0 has one future"),
        ({"world_tap": "rollout"}, 3, "the tap 'rollout' at num_world_steps=0 has one future"),
        ({"enable_world": False}, 2, "num_futures=2 with enable_world=False: nothing is imagined"),
        ({"world_tap": "rollout", "num_world_steps": 1}, 0, "num_futures=0: expected a number of 1 or more"),
    ],
)
def test_a_model_with_one_future_refuses_several(settings: dict[str, Any], num_futures: int, message: str) -> None:
    model = TheWorld.from_pretrained("tiny", num_inference_steps=2, **settings).eval()
    with pytest.raises(ValueError, match=message):
        model.look(picture()).ask("What?", num_futures=num_futures)


def test_a_checkpoint_takes_another_number_of_denoising_steps(ahead: TheWorld, tmp_path: Path) -> None:
    ahead.save_pretrained(tmp_path / "model")
    more = TheWorld.from_pretrained(tmp_path / "model", num_inference_steps=4)
    assert more.tap is not None
    assert ahead.tap is not None
    assert (more.config.num_inference_steps, more.tap.settings.num_inference_steps) == (4, 4)
    assert more.config.world_fingerprint == more.tap.fingerprint != ahead.tap.fingerprint
    frames = ahead.processor.world_frames([[picture()]])
    assert frames is not None
    assert not torch.equal(more.read_world(frames, 1), ahead.read_world(frames, 1))
    open_stored(ahead.tap, tmp_path / "store")
    with pytest.raises(StoreMismatchError):
        open_stored(more.tap, tmp_path / "store")
    more.save_pretrained(tmp_path / "more")
    again = TheWorld.from_pretrained(tmp_path / "more")
    assert (again.config.num_inference_steps, again.config.world_fingerprint) == (4, more.tap.fingerprint)
    back = TheWorld.from_pretrained(tmp_path / "more", num_inference_steps=2)
    assert back.config.world_fingerprint == ahead.tap.fingerprint


def test_a_number_of_denoising_steps_that_updates_nothing_is_refused(ahead: TheWorld, tmp_path: Path) -> None:
    ahead.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="num_inference_steps=1"):
        TheWorld.from_pretrained(tmp_path, num_inference_steps=1)
