"""Sizes that follow from settings, and settings that are refused."""

import pytest
from huggingface_hub.errors import StrictDataclassError

from theworld import TheWorld, TheWorldConfig, TheWorldProcessor
from theworld.config import WorldSettings


def test_by_default_the_sizes_are_those_of_gemma_3_at_224_px():
    config = TheWorldConfig()
    assert (config.native_grid, config.grid, config.tokens_per_slot) == (28, 28, 784)
    assert (config.image_grid, config.text.vocab_size) == (16, 262_208)
    assert (config.sow_token_id, config.eow_token_id, config.world_token_id) == (262_145, 262_146, 262_147)


def test_the_settings_of_the_world_have_the_same_defaults_in_the_configuration():
    assert TheWorldConfig().world_settings() == WorldSettings()


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({"world_image_size": 512}, 4096),
        ({"world_grid": 14}, 196),
        ({"world_projection_mode": "channel"}, 16),
        ({"world_fusion": "residual"}, 0),
    ],
)
def test_tokens_of_one_slot(settings, tokens):
    assert TheWorldConfig(**settings).tokens_per_slot == tokens


BAD_SETTINGS = [
    ({"world_tap": "vea"}, "world_tap='vea'"),
    ({"world_fusion": "sum"}, "world_fusion"),
    ({"world_dtype": "int8"}, "world_dtype='int8'"),
    ({"world_image_size": 100}, "world_image_size=100: .*multiple of 16"),
    ({"num_inference_steps": 1}, "num_inference_steps=1"),
    ({"dit_noise_level": 1.0}, "dit_noise_level=1.0"),
    ({"world_seed": -1}, "world_seed=-1"),
    ({"num_world_steps": -1}, "num_world_steps=-1: expected 0 or more"),
    ({"num_world_steps": 1, "world_tap": "vae"}, 'num_world_steps=1 needs a tap that looks ahead .world_tap="rollout"'),
    ({"world_tap": "rollout", "num_world_steps": 17}, "num_world_steps=17 is more than max_world_steps=16"),
    ({"world_grid": 0}, "world_grid=0: expected 1 or more"),
    ({"world_grid": 3}, r"world_grid=3.*one of \[1, 2, 4, 8\]"),
    ({"world_projection_width": 0}, "world_projection_width=0"),
    ({"world_projection_mode": "channel", "world_grid": 4}, "'channel'.*neither world_grid=4"),
    ({"world_projection_mode": "channel", "world_tap": "dit"}, "'channel'.*48 channels"),
    ({"world_projection_mode": "channel", "world_fusion": "residual"}, "residual.*spatial"),
    ({"freeze_cosmos_vae": False, "world_tap": "rollout"}, "freeze_cosmos_vae=False needs world_tap='vae'"),
    ({"freeze_gemma_vision": "yes"}, "freeze_gemma_vision.*expected bool"),
    ({"enable_world": 1}, "enable_world.*expected bool"),
    ({"world_tap": "vae", "world_control_of": "dit"}, "control_of='dit' is for the taps"),
    ({"world_tap": "dit", "dit_block": 4}, "dit_block=4"),
    ({"world_token_id": 5000}, "5000 has no row in an embedding of"),
    ({"base_model_name": "google/gemma-3-4b-it"}, "base_model_name='google/gemma-3-4b-it'"),
    ({"cosmos_model_name": "/no/such/folder"}, "/no/such/folder"),
]


@pytest.mark.parametrize(("settings", "message"), BAD_SETTINGS)
@pytest.mark.parametrize("loaded", [TheWorld, TheWorldProcessor])
def test_a_bad_setting_is_refused_by_name(loaded, settings, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        loaded.from_pretrained("tiny", **settings)


@pytest.mark.parametrize("loaded", [TheWorld, TheWorldProcessor])
def test_a_misspelt_setting_is_refused_with_the_name_that_was_meant(loaded):
    with pytest.raises(TypeError, match="no setting 'enable_wrold': did you mean 'enable_world'"):
        loaded.from_pretrained("tiny", enable_wrold=False)


@pytest.mark.parametrize("name", ["colour", "world_channels", "world_stride_px", "trained_parts", "base_fingerprint"])
def test_an_unknown_setting_is_refused_by_name(name):
    with pytest.raises(TypeError, match=name):
        TheWorld.from_pretrained("tiny", load_world=False, **{name: 16})


def test_what_the_checkpoints_say_cannot_be_said_otherwise():
    config = TheWorld.from_pretrained("tiny", world_tap="dit", load_world=False).config
    assert (config.world_channels, config.world_stride_px, config.native_grid) == (48, 16, 4)


def test_a_configuration_checks_itself_at_construction_and_at_assignment():
    with pytest.raises(StrictDataclassError, match="needs a tap that looks ahead"):
        TheWorldConfig(num_world_steps=2)
    config = TheWorldConfig()
    with pytest.raises(StrictDataclassError, match="expected bool"):
        config.freeze_gemma_vision = "no"


def test_a_configuration_survives_saving(tmp_path):
    config = TheWorldConfig(world_tap="rollout", num_world_steps=2, world_grid=14, trained_parts=["world", "vision"])
    config.save_pretrained(tmp_path)
    assert TheWorldConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
