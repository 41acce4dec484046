"""A small random Qwen3-VL in the folder layout of Qwen/Qwen3-VL-4B-Instruct, for tests."""

import json
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AddedToken,
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLTextConfig,
    Qwen3VLVideoProcessor,
    Qwen3VLVisionConfig,
)

from theworld.tiny.gemma import without_progress_bars
from theworld.tiny.random_weights import draw_weights
from theworld.tiny.tokenizer import MOST_LEARNED_TOKENS, passages

PATCH_SIZE_PX: Final = 4
MOST_PIXELS: Final = 64 * 64
"""A picture has at most 64 tokens, each of 8 x 8 pixels."""

CONTROL_TOKENS: Final = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""The tokens after the learned ones, in the order of Qwen3-VL's own vocabulary."""

# Same output as the template of Qwen3-VL's instruction models for texts, pictures and videos, without tools.
CHAT_TEMPLATE: Final = """\
{%- for turn in messages -%}
    {{- '<|im_start|>' + turn['role'] + '\n' -}}
    {%- if turn['content'] is string -%}
        {{- turn['content'] -}}
    {%- else -%}
        {%- for item in turn['content'] -%}
            {%- if item['type'] in ('image', 'video') -%}
                {{- '<|vision_start|><|' + item['type'] + '_pad|><|vision_end|>' -}}
            {%- else -%}
                {{- item['text'] -}}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{- '<|im_end|>\n' -}}
{%- endfor -%}
{{- '<|im_start|>assistant\n' if add_generation_prompt else '' -}}
"""


def write_qwen3_vl(folder: Path, seed: int, spare_rows: int = 0) -> None:
    """Write config, weights, generation settings, tokenizer, chat template and processor of a random Qwen3-VL.

    It has the features that set Qwen3-VL apart: positions with a time, a height and a width, pictures with grids of any
    shape that also enter the first layers, and prompts without a first token of their own.

    Args:
        folder: to write to.
        seed: of the weights.
        spare_rows: rows of the embedding beyond the vocabulary; the published models have 267.
    """
    processor = _processor()
    model = Qwen3VLForConditionalGeneration(_config(processor.tokenizer, spare_rows))
    draw_weights(model, torch.Generator().manual_seed(seed))
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    with without_progress_bars():
        model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _processor() -> Qwen3VLProcessor:
    tokenizer = train_qwen_tokenizer()
    sizes: dict[str, Any] = {
        "patch_size": PATCH_SIZE_PX,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "size": {"shortest_edge": (2 * PATCH_SIZE_PX) ** 2, "longest_edge": MOST_PIXELS},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**sizes),
        chat_template=tokenizer.chat_template,
    )


def train_qwen_tokenizer() -> Qwen2Tokenizer:
    """Return Qwen's tokenizer class with a small vocabulary: byte-pair merges learned from the built-in corpus."""
    cuts = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = cuts
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_LEARNED_TOKENS,
        min_frequency=1,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    trained.train_from_iterator(passages(), trainer)
    state = json.loads(trained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=state["vocab"],
        merges=[tuple(merge) for merge in state["merges"]],  # pyright: ignore[reportArgumentType]  # takes pairs
        eos_token="<|im_end|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS])
    return tokenizer


def _config(tokenizer: Qwen2Tokenizer, spare_rows: int) -> Qwen3VLConfig:
    ids: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in {
            "image_token_id": "<|image_pad|>",
            "video_token_id": "<|video_pad|>",
            "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>",
        }.items()
    }
    return Qwen3VLConfig(
        text_config=Qwen3VLTextConfig(
            vocab_size=len(tokenizer) + spare_rows,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=8192,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
            },
        ),
        vision_config=Qwen3VLVisionConfig(
            depth=3,
            hidden_size=32,
            intermediate_size=64,
            num_heads=2,
            patch_size=PATCH_SIZE_PX,
            out_hidden_size=64,
            num_position_embeddings=256,
            deepstack_visual_indexes=[0, 1],
        ),
        tie_word_embeddings=True,
        dtype="float32",
        **ids,
    )
