"""A tiny world model on disk and a few clips."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import theworld.tiny as tiny
from theworld.config import WorldSettings


@pytest.fixture(scope="session")
def cosmos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("world")) / "cosmos"


@pytest.fixture(scope="session")
def world(cosmos: Path) -> Callable[..., WorldSettings]:
    """Settings that fit the tiny world model."""

    def settings(tap: Any, **changes: Any) -> WorldSettings:
        fitting = {"cosmos_model_name": str(cosmos), "image_size_px": 64, "num_inference_steps": 4, "dit_block": 1}
        return WorldSettings(tap=tap, **{**fitting, **changes})

    return settings


@pytest.fixture(scope="session")
def clips() -> Tensor:
    """Three clips of nine frames (3, 9, 3, 64, 64): a bright square that moves over a flat ground."""
    frames = torch.zeros(3, 9, 3, 64, 64, dtype=torch.uint8)
    for clip, (ground, colour, top_px) in enumerate([(40, 0, 8), (120, 1, 24), (220, 2, 40)]):
        frames[clip] = ground
        for time in range(9):
            frames[clip, time, :, top_px : top_px + 16, 5 * time : 5 * time + 16] = 0
            frames[clip, time, colour, top_px : top_px + 16, 5 * time : 5 * time + 16] = 255
    return frames
