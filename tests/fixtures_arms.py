"""A comparison of arms at the smallest size, for tests."""

from pathlib import Path
from typing import Any

from theworld.config import ModelSettings, OptimSettings, WorldSettings
from theworld.config.arm_settings import Arm, ArmsSettings, Reading

TRUE = Reading(tap="true-future")
ARMS = (
    Arm(
        name="gemma",
        reads=Reading(tap="zero", control_of="rollout"),
        aligned_on=Reading(tap="zero", control_of="rollout"),
    ),
    Arm(name="vae", reads=Reading(tap="vae", repeat_current=True), aligned_on=TRUE),
    Arm(name="rollout", reads=Reading(tap="rollout"), aligned_on=TRUE),
)


def small_comparison(folder: Path, **changes: Any) -> ArmsSettings:
    """Return a comparison of three arms in two steps per training, on ten scenes."""
    names = {"cosmos_model_name": "tiny", "siglip_model_name": "tiny", "image_size_px": 64, "frame_rate_hz": 6.0}
    world = WorldSettings(tap="rollout", **names, num_inference_steps=2)
    model = ModelSettings(gemma_model_name="tiny", dtype="float32", num_world_steps=4, world_grid=4, world=world)
    given = {
        "arms": ARMS,
        "primary": ("rollout", "gemma"),
        "seeds": (0,),
        "num_labels": (0, 10),
        "model": model,
        "num_aligned": 10,
        "num_test": 20,
        "num_static": 5,
        "imitate_steps": 2,
        "align_steps": 2,
        "label_steps": 2,
        "batch_size": 2,
        "num_parameters": 20_000,
        "num_workers": 0,
        "optim": OptimSettings(weight_decay=0.0),
    }
    return ArmsSettings(output_dir=folder, **{**given, **changes})
