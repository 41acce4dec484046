"""Files of Qwen3-VL-4B-Instruct's names, shapes and configuration load: nothing missing, and nothing left over.

The published files were not seen: names and shapes are those that transformers builds from the configuration. Numbers
are holes.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from test_full_size import write_holes
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

from fixtures_bases import QWEN3_VL_4B
from theworld import TheWorld
from theworld.modeling.freezing import count_parameters


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, qwen3_vl: Path) -> Path:
    """A folder as published, with the tokenizer and the processor of the tiny one."""
    folder = tmp_path_factory.mktemp("published") / "qwen3_vl"
    shutil.copytree(qwen3_vl, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    (folder / "config.json").write_text(json.dumps(QWEN3_VL_4B))
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
