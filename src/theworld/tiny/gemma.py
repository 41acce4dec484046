"""A small Gemma 3, random or for training, in the folder layout of google/gemma-3-4b-it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    GemmaTokenizer,
    GenerationConfig,
    SiglipVisionConfig,
)
from transformers.utils import logging as transformers_logging

from theworld.tiny.random_weights import draw_weights
from theworld.tiny.tokenizer import train_tokenizer

IMAGE_SIZE_PX: Final = 64
PATCH_SIZE_PX: Final = 8
TOKENS_PER_IMAGE: Final = 16
NUM_SPARE_ROWS: Final = 63
"""Embedding rows beyond the tokenizer's tokens, as in Gemma 3 (262,208 - 262,145)."""


@dataclass(frozen=True)
class Sizes:
    """Widths and depths of a small Gemma 3."""

    hidden: int
    intermediate: int
    num_layers: int
    vision_hidden: int
    vision_intermediate: int
    vision_layers: int


RANDOM: Final = Sizes(64, 192, 6, vision_hidden=64, vision_intermediate=128, vision_layers=2)
"""0.6 million parameters, for tests, which need the classes but no skill."""
TRAINED: Final = Sizes(128, 384, 6, vision_hidden=128, vision_intermediate=256, vision_layers=4)
"""2.1 million parameters, enough to read the pictures of Foresight."""


def write_gemma(folder: Path, seed: int) -> None:
    """Write config, weights, generation settings, tokenizer, chat template and processor of a random Gemma 3."""
    processor = make_processor()
    save_gemma(make_gemma(processor.tokenizer, RANDOM, seed), processor, folder)


def make_gemma(tokenizer: GemmaTokenizer, sizes: Sizes, seed: int) -> Gemma3ForConditionalGeneration:
    """Return a random float32 model for the tokenizer; its weights are a function of sizes and seed."""
    model = Gemma3ForConditionalGeneration(_config(tokenizer, sizes))
    draw_weights(model, torch.Generator().manual_seed(seed))
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")],
        pad_token_id=tokenizer.pad_token_id,
    )
    return model


def make_processor() -> Gemma3Processor:
    """Return the processor of every small Gemma 3; it turns pictures of 64 px into 16 tokens."""
    tokenizer = train_tokenizer()
    image_processor = Gemma3ImageProcessor(
        size={"height": IMAGE_SIZE_PX, "width": IMAGE_SIZE_PX},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.5, 0.5, 0.5],
        image_seq_length=TOKENS_PER_IMAGE,
    )
    return Gemma3Processor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        image_seq_length=TOKENS_PER_IMAGE,
    )


def save_gemma(model: Gemma3ForConditionalGeneration, processor: Gemma3Processor, folder: Path) -> None:
    """Write model and processor in the layout of google/gemma-3-4b-it on the Hub."""
    with without_progress_bars():
        model.save_pretrained(folder)
    processor.save_pretrained(folder)


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Hide transformers' bars while something is loaded or saved that nobody asked for."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _config(tokenizer: GemmaTokenizer, sizes: Sizes) -> Gemma3Config:
    end_of_turn = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    return Gemma3Config(
        text_config=Gemma3TextConfig(
            vocab_size=len(tokenizer) + NUM_SPARE_ROWS,
            hidden_size=sizes.hidden,
            intermediate_size=sizes.intermediate,
            num_hidden_layers=sizes.num_layers,  # with six, five of sliding attention and one of full, as in Gemma 3
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            query_pre_attn_scalar=32,
            sliding_window=1024,
            max_position_embeddings=8192,
        ),
        vision_config=SiglipVisionConfig(
            hidden_size=sizes.vision_hidden,
            intermediate_size=sizes.vision_intermediate,
            num_hidden_layers=sizes.vision_layers,
            num_attention_heads=4,
            image_size=IMAGE_SIZE_PX,
            patch_size=PATCH_SIZE_PX,
            vision_use_head=False,
        ),
        mm_tokens_per_image=TOKENS_PER_IMAGE,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        eos_token_id=[tokenizer.eos_token_id, end_of_turn],  # pyright: ignore[reportCallIssue]  # field of the base
        dtype="float32",
    )
