"""Fingerprints stay as they were: stores and checkpoints of earlier versions must still be recognised."""

import json
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from theworld.config import WorldSettings
from theworld.config.world import STORED
from theworld.world import factory
from theworld.world.custom import FeatureShape, OwnTap, register_tap
from theworld.world.dit import DenoisedDitTap, DitTap
from theworld.world.factory import tap_fingerprint
from theworld.world.loading import feature_shape
from theworld.world.rollout import RolloutTap
from theworld.world.siglip import SiglipTap
from theworld.world.tap import NoiseTap, ZeroTap
from theworld.world.vae import VaeTap

GOLDEN = Path(__file__).parents[2] / "golden" / "fingerprints.json"
OTHER: dict[str, Any] = {
    "image_size_px": 128,
    "frame_rate_hz": 5.0,
    "num_inference_steps": 7,
    "num_rollouts": 3,
    "dit_block": 0,
    "dit_noise_level": 0.6,
    "dit_future": "denoised",
    "seed": 11,
    "dtype": "bfloat16",
}
TAPS: tuple[dict[str, Any], ...] = (
    {"tap": "vae"},
    {"tap": "vae", "repeat_current": True},
    {"tap": "dit"},
    {"tap": "dit", "dit_future": "none"},
    {"tap": "dit", "dit_future": "denoised"},
    {"tap": "rollout"},
    {"tap": "siglip"},
    {"tap": "siglip", "repeat_current": True},
    {"tap": "described"},
    *({"tap": "true-future", "control_of": of} for of in ("vae", "dit", "siglip")),
    *({"tap": "random", "control_of": of} for of in ("vae", "dit", "rollout", "true-future")),
    {"tap": "random", "control_of": "dit", "dit_future": "denoised"},
    {"tap": "random", "repeat_current": True},
    *({"tap": tap, "control_of": of} for tap in ("noise", "zero") for of in ("vae", "dit", "rollout", "siglip")),
    *({"tap": tap, "repeat_current": True} for tap in ("noise", "zero")),
)
SETTINGS = {
    json.dumps(given): given for tap in TAPS for given in (tap, *({**tap, name: OTHER[name]} for name in OTHER))
}


class DescribedTap(OwnTap):
    @classmethod
    def shape(cls, settings: Any) -> FeatureShape:
        return FeatureShape(3, 16)

    @classmethod
    def identity(cls, settings: Any) -> dict[str, Any]:
        return {"version": 1}


@pytest.fixture
def fixed_files(monkeypatch):
    """Let files count by their names: the golden fingerprints are about settings, and hold for other tiny weights."""
    register_tap("described")(DescribedTap)
    monkeypatch.setattr(factory, "fingerprint_weights", lambda folder: folder.name)
    monkeypatch.setattr(factory, "read_config", lambda folder, part: {"part": part})
    monkeypatch.setattr(factory, "vision_config", lambda name: SimpleNamespace(to_dict=lambda: {"part": "tower"}))


def test_fingerprints_are_those_of_earlier_versions(world, fixed_files):
    found = {text: tap_fingerprint(world(**{"siglip_model_name": "tiny", **given})) for text, given in SETTINGS.items()}

    assert found == json.loads(GOLDEN.read_text())


def test_every_setting_is_in_a_fingerprint_or_says_where_something_is():
    taps = (VaeTap, DitTap, DenoisedDitTap, RolloutTap, SiglipTap, NoiseTap, ZeroTap)
    known = {*factory._OF_EVERY_TAP, *(name for tap in taps for name in tap.fingerprint_fields)}
    known |= {name for names in factory._OF_TAP.values() for name in names}
    locations = {name for name, stored in STORED.items() if stored.is_location}

    assert known.isdisjoint(locations)
    assert known | locations == {setting.name for setting in fields(WorldSettings)} == set(STORED)


@pytest.mark.parametrize("given", [tap for tap in TAPS if tap["tap"] != "described"], ids=json.dumps)
def test_a_tap_reads_no_setting_that_its_fingerprint_lacks(world, clips, monkeypatch, given):
    settings = world(**{"siglip_model_name": "tiny", **given})
    read: set[str] = set()
    get = object.__getattribute__

    def noting(self: Any, name: str) -> Any:
        caller = Path(sys._getframe(1).f_code.co_filename)
        if name in STORED and not caller.match("config/world.py") and caller.name != "dataclasses.py":
            read.add(name)
        return get(self, name)

    monkeypatch.setattr(WorldSettings, "__getattribute__", noting)
    tap = factory._loaded(settings, "cpu")
    tap.num_channels, tap.stride_px = feature_shape(settings)
    if given["tap"] in ("noise", "zero"):
        read.clear()  # the shape is in their fingerprints as a value
    frames = clips[:1] if given["tap"] == "true-future" or given.get("control_of") == "true-future" else clips[:1, :5]
    tap.read(frames, int(settings.imagines and given.get("dit_future") != "none"), [7])

    cls = factory.tap_class(settings)
    named = {*factory._OF_EVERY_TAP, *cls.fingerprint_fields, *factory._OF_TAP.get(settings.tap, ())}
    assert read - named - {name for name, stored in STORED.items() if stored.is_location} == set()
