"""A small random Gemma 4 in the folder layout of google/gemma-4-E4B-it, for tests."""

from pathlib import Path
from typing import Any, Final

import torch
from transformers import (
    Gemma4AudioFeatureExtractor,
    Gemma4Config,
    Gemma4ForConditionalGeneration,
    Gemma4ImageProcessor,
    Gemma4Processor,
    Gemma4TextConfig,
    Gemma4VideoProcessor,
    Gemma4VisionConfig,
    GemmaTokenizer,
    GenerationConfig,
)

from theworld.tiny.gemma import without_progress_bars
from theworld.tiny.random_weights import draw_weights
from theworld.tiny.tokenizer import GEMMA4_MARKS, train_tokenizer

MOST_IMAGE_TOKENS: Final = 70
"""The least that Gemma 4's image processor accepts; a square picture has 64."""
PATCH_SIZE_PX: Final = 4


def write_gemma4(folder: Path, seed: int, bidirectional: bool = False) -> None:
    """Write config, weights, generation settings, tokenizer, chat template and processor of a random Gemma 4.

    It has the features that set Gemma 4 apart: inputs of their own for each layer, layers that share the keys and
    values of earlier ones, pictures with grids of any shape, and no spare rows in its embedding.

    Args:
        folder: to write to.
        seed: of the weights.
        bidirectional: let image tokens attend to each other, as in the larger models.
    """
    processor = _processor()
    model = Gemma4ForConditionalGeneration(_config(processor.tokenizer, bidirectional))
    draw_weights(model, torch.Generator().manual_seed(seed))
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(GEMMA4_MARKS.end_of_turn)],
        pad_token_id=tokenizer.pad_token_id,
    )
    with without_progress_bars():
        model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _processor() -> Gemma4Processor:
    tokenizer = train_tokenizer(GEMMA4_MARKS)
    sizes: dict[str, Any] = {
        "patch_size": PATCH_SIZE_PX,
        "pooling_kernel_size": 2,
        "max_soft_tokens": MOST_IMAGE_TOKENS,
    }
    return Gemma4Processor(
        feature_extractor=Gemma4AudioFeatureExtractor(),
        image_processor=Gemma4ImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=Gemma4VideoProcessor(**sizes),
        chat_template=tokenizer.chat_template,
        image_seq_length=MOST_IMAGE_TOKENS,
    )


def _config(tokenizer: GemmaTokenizer, bidirectional: bool) -> Gemma4Config:
    ids: dict[str, Any] = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in {**GEMMA4_MARKS.named, "video_token": "<|video|>"}.items()
    }
    wide: Any = {"global_head_dim": 32}  # of layers of full attention
    return Gemma4Config(
        text_config=Gemma4TextConfig(
            vocab_size=len(tokenizer),
            vocab_size_per_layer_input=len(tokenizer),
            hidden_size=64,
            hidden_size_per_layer_input=8,
            intermediate_size=128,
            num_hidden_layers=6,
            num_kv_shared_layers=3,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            **wide,
            sliding_window=512,
            max_position_embeddings=8192,
            final_logit_softcapping=30.0,
            use_bidirectional_attention="vision" if bidirectional else None,
        ),
        vision_config=Gemma4VisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=16,
            patch_size=PATCH_SIZE_PX,
            pooling_kernel_size=2,
            position_embedding_size=128,
        ),
        image_token_id=ids["image_token"],
        boi_token_id=ids["boi_token"],
        eoi_token_id=ids["eoi_token"],
        audio_token_id=ids["audio_token"],
        boa_token_id=ids["boa_token"],
        eoa_token_index=ids["eoa_token"],
        video_token_id=ids["video_token"],
        dtype="float32",
    )
