"""Random models of bases other than Gemma 3, and fused models on them, for tests."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:  # seconds that tests without a model do not spend
    from theworld import TheWorld

QWEN3_VL_4B: dict[str, Any] = {
    "architectures": ["Qwen3VLForConditionalGeneration"],
    "image_token_id": 151655,
    "model_type": "qwen3_vl",
    "text_config": {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "dtype": "bfloat16",
        "eos_token_id": 151645,
        "head_dim": 128,
        "hidden_act": "silu",
        "hidden_size": 2560,
        "initializer_range": 0.02,
        "intermediate_size": 9728,
        "max_position_embeddings": 262144,
        "model_type": "qwen3_vl_text",
        "num_attention_heads": 32,
        "num_hidden_layers": 36,
        "num_key_value_heads": 8,
        "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "rope_theta": 5000000,
        "tie_word_embeddings": True,
        "use_cache": True,
        "vocab_size": 151936,
    },
    "tie_word_embeddings": True,
    "transformers_version": "4.57.0.dev0",
    "video_token_id": 151656,
    "vision_config": {
        "deepstack_visual_indexes": [5, 11, 17],
        "depth": 24,
        "hidden_act": "gelu_pytorch_tanh",
        "hidden_size": 1024,
        "in_channels": 3,
        "initializer_range": 0.02,
        "intermediate_size": 4096,
        "model_type": "qwen3_vl",
        "num_heads": 16,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2560,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    },
    "vision_end_token_id": 151653,
    "vision_start_token_id": 151652,
}
"""Configuration of Qwen3-VL-4B-Instruct: that of a model that was trained from it (huggingface.co,
amburger66/robometer-4b-lora-robotsmith-task03). Its sizes agree with the metadata of a converted file (ollama.com,
dhiltgen/qwen3-vl:4b-instruct-q4_K_M)."""


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
