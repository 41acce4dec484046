"""Random models of bases other than Gemma 3, and fused models on them, for tests."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:  # seconds that tests without a model do not spend
    from theworld import TheWorld


@pytest.fixture(scope="session")
def gemma4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Gemma 4, like the smaller ones: not to be changed."""
    from theworld.tiny.gemma4 import write_gemma4

    folder = tmp_path_factory.mktemp("base") / "gemma4"
    with torch.random.fork_rng(devices=[]):
        write_gemma4(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def qwen3_vl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random Qwen3-VL: not to be changed."""
    from theworld.tiny.qwen3_vl import write_qwen3_vl

    folder = tmp_path_factory.mktemp("base") / "qwen3_vl"
    with torch.random.fork_rng(devices=[]):
        write_qwen3_vl(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def small_world(stack: Path) -> dict[str, Any]:
    """Settings of the embedded world, for a model that is not the embedded one."""
    from theworld.modeling.loading import TINY_SETTINGS

    return {**TINY_SETTINGS, "cosmos_model_name": str(stack / "cosmos"), "siglip_model_name": str(stack / "gemma")}


@pytest.fixture(scope="session")
def fused4(gemma4: Path, small_world: dict[str, Any]) -> "TheWorld":
    """A Gemma 4 with a world: not to be changed."""
    from theworld import TheWorld

    torch.manual_seed(0)
    return TheWorld.from_pretrained(gemma4, **small_world).eval()


@pytest.fixture(scope="session")
def fused_qwen(qwen3_vl: Path, small_world: dict[str, Any]) -> "TheWorld":
    """A Qwen3-VL with a world: not to be changed."""
    from theworld import TheWorld

    torch.manual_seed(0)
    return TheWorld.from_pretrained(qwen3_vl, **small_world).eval()


@pytest.fixture(scope="session", params=["gemma4", "qwen3_vl"])
def other_base(request: pytest.FixtureRequest) -> Path:
    """The folder of each base but Gemma 3, one after the other: not to be changed."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def fused_other(other_base: Path, request: pytest.FixtureRequest) -> "TheWorld":
    """That base with a world: not to be changed."""
    return request.getfixturevalue({"gemma4": "fused4", "qwen3_vl": "fused_qwen"}[other_base.name])
