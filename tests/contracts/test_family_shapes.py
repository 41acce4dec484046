"""Worlds of the published sizes: their tensors load without a rest, features have the shape that is said, plans work.

The files are sparse, as in test_full_size; sizes are those of the published configurations.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.models.transformers.transformer_cosmos3 import Cosmos3OmniTransformer
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor
from transformers import VJEPA2Config, VJEPA2Model

from theworld.config import WorldSettings
from theworld.planning.batch_shape import BatchShape
from theworld.planning.world_cost import world_cost_of
from theworld.world.factory import open_tap
from theworld.world.loading import describe_world, feature_shape


def predict2_5() -> Any:
    return CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_attention_heads=16,
        attention_head_dim=128,
        num_layers=28,
        text_embed_dim=1024,
        rope_scale=(1.0, 3.0, 3.0),
        extra_pos_embed_type=None,
        use_crossattn_projection=True,
        crossattn_proj_in_channels=100_352,
        encoder_hidden_states_channels=1024,
    )


def wan2_1() -> Any:
    return WanTransformer3DModel(num_attention_heads=12, num_layers=30, ffn_dim=8_960)


def wan2_2() -> Any:
    return WanTransformer3DModel(num_attention_heads=24, num_layers=30, ffn_dim=14_336, in_channels=48, out_channels=48)


def wan2_2_vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=160,
        decoder_base_dim=256,
        z_dim=48,
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=[0.0] * 48,
        latents_std=[1.0] * 48,
    )


def cosmos3_edge() -> Any:
    """Cosmos3-Edge: the numbers of its language model, which the denoiser shares, and of its ways in and out.

    Sources: the default of `Cosmos3EdgeTextConfig` in transformers, and `Nemotron-2B-Dense-VL.json` and
    `edge_model_config.py` in NVIDIA/cosmos-framework.
    """
    return Cosmos3OmniTransformer(
        hidden_size=2048,
        intermediate_size=9216,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        vocab_size=131_072,
        hidden_act="relu2",
        qk_norm_for_text=False,
        use_und_k_norm_for_gen=True,
        rms_norm_eps=1e-5,
        rope_theta=1e8,
        action_gen=True,
        action_dim=64,
    )


PARTS: dict[str, tuple[str, Callable[[], Any], Callable[[], Any], dict[str, Any]]] = {
    "predict2.5": ("Cosmos2_5_PredictBasePipeline", AutoencoderKLWan, predict2_5, {}),
    "wan2.1": ("WanPipeline", AutoencoderKLWan, wan2_1, {}),
    "wan2.2": ("WanPipeline", wan2_2_vae, wan2_2, {"expand_timesteps": True}),
    "cosmos3": ("Cosmos3OmniPipeline", wan2_2_vae, cosmos3_edge, {"default_use_system_prompt": False}),
}
BILLIONS = {"predict2.5": 2.06, "wan2.1": 1.42, "wan2.2": 5.00, "cosmos3": 3.37}
"""Parameters of the whole denoiser, 10^9."""


def write_holes(tensors: Mapping[str, Tensor], file: Path) -> None:
    """A safetensors file of these names and shapes whose numbers are a hole: zeros that take no space."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + 2 * math.prod(tensor.shape)
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + end)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("published")
    for family, (pipeline, vae, transformer, more) in PARTS.items():
        with torch.device("meta"):
            parts = {"vae": vae(), "transformer": transformer()}
        for name, part in parts.items():
            part.save_config(root / family / name)
            write_holes(part.state_dict(), root / family / name / "diffusion_pytorch_model.safetensors")
        flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
        karras = {"use_karras_sigmas": True, "sigma_max": 200.0, "sigma_min": 0.01} if family == "predict2.5" else {}
        UniPCMultistepScheduler(**flow, **karras).save_pretrained(root / family / "scheduler")  # pyright: ignore[reportArgumentType]
        (root / family / "model_index.json").write_text(json.dumps({"_class_name": pipeline, **more}))
    for family, shape in {"predict2.5": (512, 100_352), "cosmos3": (8, 1)}.items():
        prompt = root / family / "null_prompt"
        prompt.mkdir()
        write_holes({"prompt": torch.empty(shape, device="meta")}, prompt / "prompt.safetensors")
    VJEPA2Config(architectures=["VJEPA2Model"]).save_pretrained(root / "v-jepa2")
    with torch.device("meta"):
        write_holes(VJEPA2Model(VJEPA2Config()).state_dict(), root / "v-jepa2" / "model.safetensors")
    return {path.name: path for path in root.iterdir()}


def world(folders: dict[str, Path], family: str, **changes: Any) -> WorldSettings:
    tap = "v-jepa2" if family == "v-jepa2" else "dit"
    given = {"tap": tap, "image_size_px": 256, "dit_block": 19, "dtype": "bfloat16", **changes}
    return WorldSettings(cosmos_model_name=str(folders[family]), **given)


@pytest.mark.parametrize(
    ("family", "latents", "states"),
    [
        ("predict2.5", (16, 8), (2048, 16)),
        ("wan2.1", (16, 8), (1536, 16)),
        ("wan2.2", (48, 16), (3072, 32)),
        ("cosmos3", (48, 16), (2048, 32)),
    ],
)
def test_a_family_loads_the_blocks_that_are_read_and_nothing_is_missing_or_left_over(
    family: str, latents: tuple[int, int], states: tuple[int, int], folders: dict[str, Path], monkeypatch: Any
) -> None:
    monkeypatch.setattr("theworld.io._digest", lambda file: file.name)
    assert feature_shape(world(folders, family, tap="vae")) == latents
    assert feature_shape(world(folders, family)) == states
    with torch.device("meta"):
        whole = PARTS[family][2]()
    assert sum(weight.numel() for weight in whole.parameters()) == pytest.approx(BILLIONS[family] * 1e9, rel=0.01)
    tap: Any = open_tap(
        world(folders, family)
    )  # raises an error for a tensor that is missing, foreign or of another shape
    kept = getattr(tap.transformer, tap.family.blocks)
    assert len(kept) == 20
    assert not [name for name, weight in tap.transformer.named_parameters() if weight.is_meta]
    shapes = {name: weight.shape for name, weight in whole.state_dict().items()}
    assert {name: weight.shape for name, weight in tap.transformer.state_dict().items()}.items() <= shapes.items()


def test_v_jepa2_loads_whole(folders: dict[str, Path], monkeypatch: Any) -> None:
    monkeypatch.setattr("theworld.io._digest", lambda file: file.name)
    assert feature_shape(world(folders, "v-jepa2")) == (1024, 16)
    tap: Any = open_tap(world(folders, "v-jepa2"))
    assert sum(weight.numel() for weight in tap.jepa.parameters()) == pytest.approx(326e6, rel=0.01)


@pytest.mark.parametrize(
    ("family", "gigabytes"),
    [("predict2.5", 3.26), ("wan2.1", 2.26), ("wan2.2", 8.2), ("cosmos3", 6.54), ("v-jepa2", 0.65)],
)
def test_a_plan_of_published_sizes_counts_weights_and_operations(
    family: str, gigabytes: float, folders: dict[str, Path]
) -> None:
    settings = world(folders, family)
    config: Any = SimpleNamespace(enable_world=True, freeze_cosmos_vae=True, world_settings=lambda: settings)
    clip = BatchShape(1, 1_400, 8, 1, num_clips=1, num_frames=1, num_world_steps=0)
    now, ahead = world_cost_of(config, clip), world_cost_of(config, replace(clip, num_world_steps=1))
    assert now.weights / 1e9 == pytest.approx(gigabytes, rel=0.05)
    assert ahead.weights == now.weights
    assert ahead.flops > now.flops > 1e11
    assert str(folders[family]) in describe_world(settings)
