"""Files of Qwen3-VL-4B-Instruct's names, shapes and configuration load: nothing missing, and nothing left over.

The configuration is that of a model that was trained from it (huggingface.co,
amburger66/robometer-4b-lora-robotsmith-task03); its sizes agree with the metadata of a converted file (ollama.com,
dhiltgen/qwen3-vl:4b-instruct-q4_K_M). The published files were not seen: names and shapes are those that transformers
builds. Numbers are holes.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_full_size import write_holes
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from theworld import TheWorld
from theworld.modeling.freezing import count_parameters

PUBLISHED: dict[str, Any] = {
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


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, qwen3_vl: Path) -> Path:
    """A folder as published, with the tokenizer and the processor of the tiny one."""
    folder = tmp_path_factory.mktemp("published") / "qwen3_vl"
    shutil.copytree(qwen3_vl, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    (folder / "config.json").write_text(json.dumps(PUBLISHED))
    with torch.device("meta"):
        whole = Qwen3VLForConditionalGeneration(Qwen3VLConfig.from_pretrained(folder))
    tensors = {name: tensor for name, tensor in whole.state_dict().items() if name != "lm_head.weight"}  # tied
    write_holes(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_nothing_is_missing_or_left_over(
    published: Path, small_world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("theworld.io._digest", lambda file: file.name)
    options = {**small_world, "load_world": False, "dtype": torch.bfloat16}
    model, info = TheWorld.from_pretrained(published, output_loading_info=True, **options)

    ours = {name for name in model.state_dict() if name.startswith("world.")}
    assert (info["missing_keys"], set(info["unexpected_keys"]), set(info["mismatched_keys"])) == (ours, set(), set())
    sizes = {part: total for part, (_, total) in count_parameters(model).items()}
    assert sizes.keys() == {"world", "vision", "language"}  # every weight has a part
    assert sizes["language"] + sizes["vision"] == pytest.approx(4.44e9, rel=0.005)
    assert model.config.text.rope_parameters["mrope_section"] == [24, 20, 20]
    assert model.world.markers.shape == (2, 2560)
