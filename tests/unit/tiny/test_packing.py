"""Packing: a finished build in half the bytes, in the folder layouts of the real checkpoints, and loaded as float32."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from theworld import TheWorld, tiny
from theworld.tiny import packing
from theworld.tiny.packing import pack


@pytest.fixture
def build(tmp_path: Path) -> Path:
    return tiny.build(tmp_path / "build")


def test_a_packed_build_is_half_as_large_and_loads_as_float32_with_its_weights_rounded(build, tmp_path):
    num_bytes = pack(build, tmp_path / "packed")
    name = "cosmos/transformer/diffusion_pytorch_model.safetensors"
    whole, half = (load_file(folder / name) for folder in (build, tmp_path / "packed"))
    assert num_bytes < 0.7 * sum(path.stat().st_size for path in build.rglob("*") if path.is_file())
    assert all(half[key].dtype == torch.float16 for key in half)
    assert all(torch.equal(half[key], whole[key].half()) for key in whole)
    model = TheWorld.from_pretrained(
        tmp_path / "packed" / "gemma", cosmos_model_name=str(tmp_path / "packed" / "cosmos"), world_tap="rollout"
    )
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_build_without_a_stage_is_refused_and_leaves_what_was_packed(build, tmp_path):
    pack(build, tmp_path / "packed")
    (build / "cosmos" / "vae").rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="no cosmos/vae; build all stages first"):
        pack(build, tmp_path / "packed")
    assert (tmp_path / "packed" / "cosmos" / "vae").is_dir()


def test_weights_that_do_not_fit_are_refused(build, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MOST_BYTES", 1_000)
    with pytest.raises(ValueError, match="at most 1,000 are allowed"):
        pack(build, tmp_path / "packed")
    path = build / "cosmos" / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    first = next(iter(tensors))
    save_file({**tensors, first: tensors[first] + 1e6}, path)
    with pytest.raises(ValueError, match="do not fit float16"):
        pack(build, tmp_path / "packed")
    assert not (tmp_path / "packed").exists()
