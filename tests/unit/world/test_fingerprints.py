"""Fingerprints stay as they were: stores and checkpoints of earlier versions must still be recognised."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from theworld.world import factory
from theworld.world.custom import FeatureShape, OwnTap, register_tap
from theworld.world.factory import tap_fingerprint

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
