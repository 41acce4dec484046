"""From settings to a model, and from a model to pictures of what it imagines."""

import pytest
import torch

from fixtures_model import picture
from theworld import TheWorld
from theworld.config import ModelSettings, WorldSettings
from theworld.datasets.images import to_frames
from theworld.modeling import CheckpointError, TheWorldConfig
from theworld.modeling.factory import open_model, scope_of
from theworld.modeling.introspection import imagine


def settings(world=None, **changes):
    small = {"cosmos_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0, **(world or {})}
    return ModelSettings(gemma_model_name="tiny", dtype="float32", world=WorldSettings(**small), **changes)


def test_every_setting_reaches_the_model():
    world = {"tap": "dit", "dit_block": 1, "dit_noise_level": 0.5, "dit_future": "repeat", "seed": 3}
    given = settings(world, num_world_steps=1, max_world_steps=2, world_grid=2, freeze_gemma_vision=False)
    config = open_model(given, load_world=False).config
    assert config.world_settings() == given.world
    for name in ("num_world_steps", "max_world_steps", "world_grid", "world_fusion", "freeze_gemma_vision"):
        assert getattr(config, name) == getattr(given, name), name
    assert not config.freeze_gemma_vision


def test_the_number_format_reaches_the_weights():
    given = ModelSettings(gemma_model_name="tiny", enable_world=False, dtype="bfloat16")
    assert open_model(given).dtype == torch.bfloat16


def test_a_checkpoint_brings_its_own_settings_and_is_frozen_as_told(tmp_path):
    model = open_model(settings(world_grid=4))
    model.save_pretrained(tmp_path / "saved")
    given = ModelSettings(checkpoint=tmp_path / "saved", dtype="float32", freeze_gemma_language=False)
    again = open_model(given)
    assert (again.config.world_grid, again.config.world_image_size) == (4, 64)
    assert torch.equal(again.world.markers, model.world.markers)
    assert not again.config.freeze_gemma_language
    with pytest.raises(CheckpointError, match="world_grid=2"):
        open_model(ModelSettings(checkpoint=tmp_path / "saved", world_grid=2))


def test_what_is_imagined_can_be_looked_at():
    model = TheWorld.from_pretrained("tiny", world_tap="rollout", num_inference_steps=2)
    frames = imagine(model, picture(1), 2)
    assert (tuple(frames.shape), frames.dtype) == ((9, 64, 64, 3), torch.uint8)


@pytest.mark.parametrize("dit_future", ["repeat", "denoised"])
def test_a_model_that_reads_states_shows_the_future_that_its_world_draws(dit_future: str):
    drawn = TheWorld.from_pretrained("tiny", world_tap="rollout", num_inference_steps=3)
    read = {"world_tap": "dit", "dit_block": 1, "dit_noise_level": 0.9, "dit_future": dit_future}
    model = TheWorld.from_pretrained("tiny", num_world_steps=2, num_inference_steps=3, **read)
    frames = to_frames(picture(1), 64)[None]
    before = model.read_world(frames, 2)

    assert torch.equal(imagine(model, picture(1), 2), imagine(drawn, picture(1), 2))
    assert torch.equal(model.read_world(frames, 2), before)
    with pytest.raises(ValueError, match="num_world_steps=40: expected 0 to 16"):
        imagine(model, picture(1), 40)


def test_a_tap_that_reads_no_denoiser_shows_nothing(fused):
    with pytest.raises(ValueError, match="tap 'vae' imagines no video"):
        imagine(fused, picture(1), 1)


def test_a_checkpoint_tells_what_it_has_learnt_from():
    assert scope_of(TheWorldConfig(), "tiny") == ""
    config = TheWorldConfig(trained_on=["Foresight (simulated scenes)", "llava (pets.json)"])
    assert scope_of(config, "pets") == (
        "pets has learnt from Foresight (simulated scenes), then llava (pets.json) alone: its answers about other"
        " pictures mean little."
    )
