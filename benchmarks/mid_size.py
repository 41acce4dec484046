"""A mid-size Gemma 3 with the real vocabulary: cost of the world in training steps and answers."""

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
from theworld.modeling.cache_name import CACHE
from theworld.tiny.tokenizer import train_tokenizer

VOCABULARY = 262_208
WORDS = " ".join(["bin"] * 250)
NEW_TOKENS = 24
ANSWER_TOKENS = 4
NUM_PAIRS = 15


def mid_size(vocab_size: int = VOCABULARY, **ids: Any) -> Gemma3Config:
    """Return a configuration of hidden size 640, 6 layers and pictures of 224 px, with `ids` of the image tokens."""
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
    """Write a random Gemma 3 of that size, and its processor."""
    tokenizer = train_tokenizer()
    config = mid_size(
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    torch.manual_seed(0)
    transformers_logging.disable_progress_bar()
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    images = Gemma3ImageProcessor(size={"height": 224, "width": 224}, image_seq_length=64)
    processor = Gemma3Processor(images, tokenizer, chat_template=tokenizer.chat_template, image_seq_length=64)
    processor.save_pretrained(folder)


def noise_sample(text: str, seed: int = 0) -> Sample:
    """Return a question about a picture of noise, with an answer of 16 words."""
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    return question(f"{seed}", [pixels], text, " ".join(["left"] * 16))


def step(model: Any, batch: dict[str, Any]) -> None:
    """Run forward and backward."""
    model(**batch).loss.backward()
    model.zero_grad()


def training_figures(folder: Path) -> Iterator[Figure]:
    """Compare a training step with stored features with one of plain Gemma 3, the same parts frozen."""
    frozen = {"freeze_gemma_language": False, "attn_implementation": "eager"}
    plain = TheWorld.from_pretrained(folder, enable_world=False, **frozen).train()
    for fusion, goal in (("residual", 1.05), ("tokens", 1.03)):
        model = TheWorld.from_pretrained(
            folder, cosmos_model_name="tiny", world_image_size=64, world_grid=4, world_fusion=fusion, **frozen
        ).train()
        model.load_state_dict(plain.state_dict(), strict=False, assign=True)  # the same tensors in the same memory
        model.tie_weights()
        sample = noise_sample(WORDS)
        batch = Collator(model.processor, supervise=True)([sample])
        batch["world_features"] = model.read_world(batch.pop("world_pixels"), 0)
        length = batch["input_ids"].shape[1]
        alone = Collator(plain.processor, supervise=True)([sample])
        missing = length - alone["input_ids"].shape[1]  # world tokens, which plain Gemma gets as words
        alone = Collator(plain.processor, supervise=True)([noise_sample(f"{WORDS}{' bin' * missing}")])
        assert alone["input_ids"].shape[1] == length

        def with_world(model: Any = model, batch: Any = batch) -> None:
            step(model, batch)

        def without(alone: Any = alone) -> None:
            step(plain, alone)

        ratio = paired_ratio(with_world, without, NUM_PAIRS)
        yield Figure(f"{fusion}_stored_step_over_gemma", ratio, goal)


def answering_figures(folder: Path) -> Iterator[Figure]:
    """Compare tokens per second after prefixes of one length, and a second question with the first."""
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

    model.generation_config.eos_token_id = None  # every answer has the full length
    options = {"max_new_tokens": ANSWER_TOKENS, "do_sample": False}

    def first() -> None:
        model.look(picture).ask("Which bin?", **options)

    def second() -> None:
        seen.ask("Left or right?", **options)

    ratio = paired_ratio(second, first, NUM_PAIRS)
    yield Figure("second_question_over_first", ratio, 0.35)


def decoder(model: Any, prompt: dict[str, Any]) -> Callable[[], None]:
    """Return a function that writes NEW_TOKENS tokens after a prompt with cached keys and values."""
    ids, cache = prompt["input_ids"], prompt[CACHE]
    with torch.no_grad():
        model(input_ids=ids[:, cache.get_seq_length() :], **{CACHE: cache}, use_cache=True, logits_to_keep=1)

    @torch.no_grad()
    def write() -> None:
        past, token = copy.deepcopy(cache), ids[:, -1:]
        for _ in range(NEW_TOKENS):
            logits = model(input_ids=token, **{CACHE: past}, use_cache=True, logits_to_keep=1).logits
            token = logits[:, -1].argmax(-1, keepdim=True)

    return write


def figures() -> Iterator[Figure]:
    """Measure training steps and answers."""
    with tempfile.TemporaryDirectory() as folder:
        write_mid_size(Path(folder))
        yield from training_figures(Path(folder))
        yield from answering_figures(Path(folder))
