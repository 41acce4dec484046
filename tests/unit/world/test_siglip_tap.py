"""The tap `siglip`: Gemma's own eyes as a second path from the pixels, and slots that repeat the current one."""

import pytest
import torch
from transformers import Gemma3ForConditionalGeneration

from theworld.config import WorldSettings
from theworld.world.factory import open_tap, tap_fingerprint
from theworld.world.loading import feature_shape

SEEDS = [1, 2, 3]


def siglip(**changes) -> WorldSettings:
    names = {"cosmos_model_name": "tiny", "siglip_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0}
    return WorldSettings(**{"tap": "siglip", **names, **changes})


def test_it_gives_the_states_of_gemmas_own_tower(clips, stack):
    gemma = Gemma3ForConditionalGeneration.from_pretrained(stack / "gemma").eval()
    pixels = clips[:, 0].float() / 127.5 - 1
    with torch.no_grad():
        expected = gemma.model.vision_tower(pixel_values=pixels).last_hidden_state

    found = open_tap(siglip()).read(clips[:, :1], 0, SEEDS)

    channels, stride_px = feature_shape(siglip())
    assert found.shape == (3, channels, 1, 64 // stride_px, 64 // stride_px)
    assert torch.equal(found.flatten(2).transpose(1, 2), expected)


def test_a_slot_shows_its_last_frame(clips):
    tap = open_tap(siglip())

    found = tap.read(clips[:, :5], 0, SEEDS)

    assert torch.equal(found[:, :, 1:], tap.read(clips[:, 4:5], 0, SEEDS))


@pytest.mark.parametrize("tap", ["siglip", "vae"])
def test_future_slots_can_repeat_the_current_one(clips, tap):
    found = open_tap(siglip(tap=tap, repeat_current=True)).read(clips[:, :5], 3, SEEDS)

    assert found.shape[2] == 5
    assert torch.equal(found[:, :, 2:], found[:, :, 1:2].expand(-1, -1, 3, -1, -1))


@pytest.mark.parametrize("tap", ["siglip", "vae"])
def test_without_repeating_no_future_can_be_asked_for(clips, tap):
    with pytest.raises(ValueError, match="needs a tap that looks ahead"):
        open_tap(siglip(tap=tap)).read(clips[:, :5], 1, SEEDS)


@pytest.mark.parametrize("reading", ["vae", "siglip", "dit"])
def test_the_true_future_can_be_read_as_each_tap_reads(clips, reading):
    settings = siglip(tap="true-future", control_of=reading, dit_block=1)
    tap = open_tap(settings)
    other = clips.clone()
    other[:, 5:] = 255 - other[:, 5:]

    found = tap.read(clips[:, :9], 1, SEEDS)

    assert found.shape[:3] == (3, feature_shape(settings).num_channels, 3)
    assert not torch.equal(found[:, :, 2], tap.read(other[:, :9], 1, SEEDS)[:, :, 2])


def test_true_states_of_the_denoiser_come_from_one_forward_with_the_given_slots_clean(clips):
    """The future slots are the true latents, noised as `repeat` noises the current one: a still clip gives the same."""
    still = clips[:, :1].expand(-1, 9, -1, -1, -1).contiguous()
    true = open_tap(siglip(tap="true-future", control_of="dit", dit_block=1)).read(still, 1, SEEDS)
    vae = open_tap(siglip(tap="vae")).read(still, 0, SEEDS)
    repeated = open_tap(siglip(tap="dit", dit_block=1)).read(still[:, :5], 1, SEEDS)

    assert not torch.allclose(vae[:, :, 1], vae[:, :, 2])  # a causal VAE: a still slot is not the slot before
    assert true.shape == repeated.shape
    assert torch.isfinite(true).all()


def test_fingerprints_tell_readings_apart():
    found = [
        siglip(),
        siglip(repeat_current=True),
        siglip(tap="true-future", control_of="siglip"),
        siglip(tap="true-future"),
        siglip(tap="true-future", control_of="dit"),
    ]

    assert len({tap_fingerprint(settings) for settings in found}) == len(found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tap": "true-future", "control_of": "rollout"}, "takes vae or dit or siglip"),
        ({"tap": "rollout", "repeat_current": True}, "repeat_current is for taps that cannot look ahead"),
        ({"tap": "random", "control_of": "siglip"}, "takes vae or dit or rollout or v-jepa2 or true-future"),
    ],
)
def test_what_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        siglip(**changes)


def test_a_tower_that_sees_another_size_is_refused():
    with pytest.raises(ValueError, match="sees 64 px"):
        open_tap(siglip(image_size_px=32))
