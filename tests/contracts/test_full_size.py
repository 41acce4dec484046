"""Checkpoints of the real models' names, shapes and folders load: nothing missing, nothing left over, few bytes read.

The files are sparse: whole headers, and holes in the place of 12 GB of numbers, which a loader maps and does not read.
"""

import importlib.util
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from theworld import TheWorld

ROOT = Path(__file__).parents[2]
TOKEN_WIDTH, NUM_BLOCKS, STATE_WIDTH = 2560, 28, 2048


def _loaded(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_full_size = _loaded(ROOT / "benchmarks" / "make_full_size.py")


def write_holes(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """A safetensors file of these names and shapes whose numbers are a hole: zeros that take no space."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + 2 * math.prod(tensor.shape)
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory, stack: Path) -> Path:
    """What benchmarks.make_full_size writes, without the numbers; the words are those of the tiny tokenizer."""
    folder = tmp_path_factory.mktemp("full-size")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_full_size, "draw", lambda name, of, generator: of)
        patch.setattr(make_full_size, "save_file", write_holes)
        for name in (make_full_size.GEMMA, make_full_size.COSMOS):
            (folder / name).mkdir()
        make_full_size.write_gemma(folder / make_full_size.GEMMA, stack / "gemma")
        make_full_size.write_cosmos(folder / make_full_size.COSMOS)
    return folder


@pytest.fixture
def load(full_size: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads the full size as a user does; only fingerprints do not read the holes."""
    monkeypatch.setattr("theworld.io._digest", lambda file: file.name)
    places = {"cosmos_model_name": str(full_size / make_full_size.COSMOS)}

    def from_pretrained(**options: Any) -> tuple[TheWorld, dict[str, Any]]:
        options = {**(places if options.get("enable_world", True) else {}), "dtype": torch.bfloat16, **options}
        return TheWorld.from_pretrained(full_size / make_full_size.GEMMA, output_loading_info=True, **options)

    return from_pretrained


def held_gb(kind: str) -> float:
    """What this process holds now (`VmRSS`), or the most since the last `forget_most` (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{kind}:")) * 1024 / 1e9


def forget_most() -> None:
    """Count the most from here on: other tests of this process may have held more (proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def size(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_files_are_as_large_as_the_real_ones_and_take_no_space(full_size: Path) -> None:
    files = list(full_size.rglob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) == pytest.approx(12.8e9, rel=0.02)
    assert sum(512 * file.stat().st_blocks for file in files) < 10e6
    assert len(list((full_size / make_full_size.GEMMA).glob("model-*-of-00002.safetensors"))) == 2


def test_gemma_alone_loads_whole(load: Any) -> None:
    model, info = load(enable_world=False)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert size(model) == pytest.approx(4.3e9, rel=0.01)
    assert model.get_input_embeddings().weight.shape == (262_208, TOKEN_WIDTH)


@pytest.mark.parametrize(
    ("tap", "channels", "grid", "num_blocks"),
    [("vae", 16, 28, 0), ("dit", STATE_WIDTH, 14, 15), ("rollout", 16, 28, NUM_BLOCKS)],
)
def test_a_tap_loads_what_it_reads_and_nothing_is_missing_or_left_over(
    tap: str, channels: int, grid: int, num_blocks: int, load: Any
) -> None:
    forget_most()
    before = held_gb("VmRSS")
    model, info = load(world_tap=tap, world_dtype="bfloat16", dit_block=14)
    ours = {name for name in model.state_dict() if name.startswith("world.")}
    assert (info["missing_keys"], set(info["unexpected_keys"]), set(info["mismatched_keys"])) == (ours, set(), set())
    assert not [name for name, weight in model.named_parameters() if weight.is_meta]
    assert (model.config.world_channels, model.config.native_grid) == (channels, grid)
    assert (model.world.scale.numel(), model.tap.num_channels) == (TOKEN_WIDTH, channels)
    parts = vars(model.tap.pipeline) if tap == "rollout" else vars(model.tap)
    assert size(parts["vae"]) == pytest.approx(0.127e9, rel=0.01)
    transformer = parts.get("transformer")
    assert len(transformer.transformer_blocks if transformer is not None else ()) == num_blocks
    for part in filter(None, (parts["vae"], transformer)):
        assert {(weight.dtype, weight.is_meta) for weight in part.parameters()} == {(torch.bfloat16, False)}
    assert held_gb("VmHWM") - before < 1.5  # of up to 12.8 GB: loading maps files, and makes no second copy


def test_neither_text_encoder_nor_guardrail_is_opened(
    load: Any, full_size: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not {"text_encoder", "tokenizer", "safety_checker"} & {path.name for path in full_size.rglob("*")}
    for part in ("text_encoder", "safety_checker"):  # if they lay there, nothing would read them
        (full_size / make_full_size.COSMOS / part).mkdir(exist_ok=True)
        (full_size / make_full_size.COSMOS / part / "model.safetensors").write_bytes(b"no weights")
    load(world_tap="rollout", world_dtype="bfloat16")


@pytest.mark.parametrize("part", ["vae", "transformer"])
def test_a_tensor_of_another_shape_is_refused(part: str, load: Any, full_size: Path) -> None:
    file = full_size / make_full_size.COSMOS / part / "config.json"
    whole = file.read_text()
    change = {"base_dim": 64} if part == "vae" else {"mlp_ratio": 2.0}
    file.write_text(json.dumps({**json.loads(whole), **change}))
    try:
        with pytest.raises(ValueError, match="shape"):
            load(world_tap="rollout", world_dtype="bfloat16")
    finally:
        file.write_text(whole)
