"""A training run small enough for a test."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from theworld.config import DataSettings, ModelSettings, OptimSettings, TrainingConfig, WorldSettings


@pytest.fixture(scope="session")
def config_in() -> Callable[..., TrainingConfig]:
    """Settings of a run on the tiny stack, in a folder: 4 steps of 4 samples unless told otherwise."""

    def make(
        folder: Path,
        name: str = "run",
        model: dict[str, Any] | None = None,
        settings_of_model: ModelSettings | None = None,
        **changes: Any,
    ) -> TrainingConfig:
        world = WorldSettings(cosmos_model_name="tiny", image_size_px=64, frame_rate_hz=6.0)
        fields: dict[str, Any] = {
            "output_dir": folder / name,
            "num_steps": 4,
            "batch_size": 4,
            "precision": "fp32",
            "save_steps": 2,
            "logging_steps": 1,
            "log_to": "none",
            "num_workers": 0,
            "model": settings_of_model
            or ModelSettings(gemma_model_name="tiny", dtype="float32", world_grid=4, world=world, **(model or {})),
            "data": DataSettings(questions="future", tasks=("drop",), image_size_px=64, num_train=8, num_validation=8),
            "optim": OptimSettings(learning_rate=1e-3),
        }
        return TrainingConfig(**{**fields, **changes})

    return make


@pytest.fixture
def make_config(config_in: Callable[..., TrainingConfig], tmp_path: Path) -> Callable[..., TrainingConfig]:
    """Those of a run in the test's own folder."""
    return partial(config_in, tmp_path)
