"""A Gemma 3 between tiny and real, with the real vocabulary: what the world costs in steps, answers and memory."""

import copy
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessor, Gemma3Processor
from transformers.utils import logging as transformers_logging

from benchmarks.figures import Figure, paired_ratio
from theworld.datasets.collator import Collator
from theworld.datasets.sample import Sample, question
from theworld.modeling import TheWorld
from theworld.tiny.tokenizer import train_tokenizer

VOCABULARY = 262_208
WORDS = " ".join(["bin"] * 250)
NEW_TOKENS = 24
ANSWER_TOKENS = 4
NUM_PAIRS = 15


def mid_size(vocab_size: int = VOCABULARY, **ids: Any) -> Gemma3Config:
    """Hidden size 640, 6 layers, pictures of 224 px; `ids` of the tokens that stand for pictures."""
    return Gemma3Config(
        text_config={
            "vocab_size": vocab_size,
            "hidden_size": 640,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "num_key_value_heads": 1,
            "head_dim": 256,
            "sliding_window": 1024,
            "max_position_embeddings": 8192,
        },
        vision_config={
            "hidden_size": 256,
            "intermediate_size": 768,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 224,
            "patch_size": 14,
            "vision_use_head": False,
        },
        mm_tokens_per_image=64,
        dtype="float32",
        **ids,
    )


def write_mid_size(folder: Path) -> None:
    """A random Gemma 3 of that size, and its processor."""
    tokenizer = train_tokenizer()
    config = mid_size(
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    torch.manual_seed(0)
    transformers_logging.disable_progress_bar()
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    pictures = Gemma3ImageProcessor(size={"height": 224, "width": 224}, image_seq_length=64)
    processor = Gemma3Processor(pictures, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=64)
    processor.save_pretrained(folder)


def asked(text: str, seed: int = 0) -> Sample:
    """A question about a picture of noise, and an answer of 16 words."""
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    return question(f"{seed}", [pixels], text, " ".join(["left"] * 16))


def step(model: Any, batch: dict[str, Any]) -> None:
    """Forward and backward."""
    model(**batch).loss.backward()
    model.zero_grad()


def training_figures(folder: Path) -> Iterator[Figure]:
    """A training step with stored features over one of plain Gemma 3, the same parts of it frozen."""
    frozen = {"freeze_gemma_language": False, "attn_implementation": "eager"}
    plain = TheWorld.from_pretrained(folder, enable_world=False, **frozen).train()
    for fusion, goal in (("residual", 1.05), ("tokens", 1.03)):
        model = TheWorld.from_pretrained(
            folder, cosmos_model_name="tiny", world_image_size=64, world_grid=4, world_fusion=fusion, **frozen
        ).train()
        model.load_state_dict(plain.state_dict(), strict=False, assign=True)  # the same tensors in the same memory
        model.tie_weights()
        sample = asked(WORDS)
        batch = Collator(model.processor, supervise=True)([sample])
        batch["world_features"] = model.read_world(batch.pop("world_pixels"), 0)
        length = batch["input_ids"].shape[1]
        alone = Collator(plain.processor, supervise=True)([sample])
        missing = length - alone["input_ids"].shape[1]  # tokens of the world; of plain Gemma, so many words more
        alone = Collator(plain.processor, supervise=True)([asked(f"{WORDS}{' bin' * missing}")])
        assert alone["input_ids"].shape[1] == length

        def with_world(model: Any = model, batch: Any = batch) -> None:
            step(model, batch)

        def without(alone: Any = alone) -> None:
            step(plain, alone)

        ratio = paired_ratio(with_world, without, NUM_PAIRS)
        yield Figure(f"{fusion}_stored_step_over_gemma", ratio, goal)


def answering_figures(folder: Path) -> Iterator[Figure]:
    """Tokens per second after a prefix of one length, and a second question about the same picture."""
    plain = TheWorld.from_pretrained(folder, enable_world=False).eval()
    model = TheWorld.from_pretrained(
        folder, cosmos_model_name="tiny", world_tap="rollout", world_image_size=64, num_world_steps=4
    ).eval()
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    seen, bare = model.look(picture), plain.look(picture)
    prompt = seen.inputs("Which bin?")
    missing = prompt["input_ids"].shape[1] - bare.inputs("Which bin?")["input_ids"].shape[1]
    longer = bare.inputs(f"Which bin?{' bin' * missing}")
    assert longer["input_ids"].shape == prompt["input_ids"].shape
    with_world, without = decoder(model, prompt), decoder(plain, longer)
    ratio = paired_ratio(without, with_world, NUM_PAIRS)
    yield Figure("decode_with_world_over_gemma", ratio, 0.97, at_least=True)

    model.generation_config.eos_token_id = None  # every answer has all its tokens
    options = {"max_new_tokens": ANSWER_TOKENS, "do_sample": False}

    def first() -> None:
        model.look(picture).ask("Which bin?", **options)

    def second() -> None:
        seen.ask("Left or right?", **options)

    ratio = paired_ratio(second, first, NUM_PAIRS)
    yield Figure("second_question_over_first", ratio, 0.35)


def decoder(model: Any, prompt: dict[str, Any]) -> Callable[[], None]:
    """What writes NEW_TOKENS tokens after a prompt whose keys and values are there."""
    ids, cache = prompt["input_ids"], prompt["past_key_values"]
    with torch.no_grad():
        model(input_ids=ids[:, cache.get_seq_length() :], past_key_values=cache, use_cache=True, logits_to_keep=1)

    @torch.no_grad()
    def write() -> None:
        own, token = copy.deepcopy(cache), ids[:, -1:]
        for _ in range(NEW_TOKENS):
            logits = model(input_ids=token, past_key_values=own, use_cache=True, logits_to_keep=1).logits
            token = logits[:, -1].argmax(-1, keepdim=True)

    return write


def figures() -> Iterator[Figure]:
    """Steps and answers."""
    with tempfile.TemporaryDirectory() as folder:
        write_mid_size(Path(folder))
        yield from training_figures(Path(folder))
        yield from answering_figures(Path(folder))
