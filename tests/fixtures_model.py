"""The tiny fused model and Gemma 3 below it, loaded once for all tests, and pictures and prompts for them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:  # seconds that tests without a model do not spend
    from transformers import Gemma3ForConditionalGeneration, Gemma3Processor

    from theworld import TheWorld, TheWorldProcessor

WORLD_TOKENS = 64  # of one slot: the tiny world sees 64 px at a stride of 8 px
IMAGE_TOKENS = 16


@pytest.fixture(scope="session")
def stack() -> Path:
    from theworld import tiny

    return tiny.stack()


@pytest.fixture(scope="session")
def gemma(stack: Path) -> "Gemma3ForConditionalGeneration":
    from transformers import Gemma3ForConditionalGeneration

    return Gemma3ForConditionalGeneration.from_pretrained(stack / "gemma").eval()


@pytest.fixture(scope="session")
def gemma_processor(stack: Path) -> "Gemma3Processor":
    from transformers import Gemma3Processor

    return Gemma3Processor.from_pretrained(stack / "gemma")


@pytest.fixture(scope="session")
def world_off() -> "TheWorld":
    """A model that was loaded without its world."""
    from theworld import TheWorld

    return TheWorld.from_pretrained("tiny", enable_world=False).eval()


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model, its world read by the tap `vae` on a grid of 4 x 4: not to be changed."""
    from theworld import TheWorld

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved") / "model"
    TheWorld.from_pretrained("tiny", world_grid=4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def fused() -> "TheWorld":
    """A model with the world on, fusion `tokens`, tap `vae`: not to be changed."""
    from theworld import TheWorld

    torch.manual_seed(0)
    return TheWorld.from_pretrained("tiny").eval()


@pytest.fixture(scope="session")
def residual() -> "TheWorld":
    """A model with fusion `residual`: not to be changed."""
    from theworld import TheWorld

    torch.manual_seed(0)
    return TheWorld.from_pretrained("tiny", world_fusion="residual").eval()


@pytest.fixture
def model(fused: "TheWorld") -> "TheWorld":
    """A copy of `fused` to train, save and change."""
    return copy.deepcopy(fused)


@pytest.fixture(scope="session")
def processor(fused: "TheWorld") -> "TheWorldProcessor":
    return fused.processor


def picture(seed: int = 0, width: int = 64, height: int = 64) -> Image.Image:
    """A picture of random pixels."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def features(num_clips: int, num_slots: int = 1, seed: int = 0, channels: int = 16, grid: int = 8) -> Tensor:
    """Stored features (N, C, T, h, w) of random numbers."""
    return torch.randn(num_clips, channels, num_slots, grid, grid, generator=torch.Generator().manual_seed(seed))


def user(text: str, *pictures: Image.Image) -> dict[str, Any]:
    """A user's message: pictures, then text."""
    images = [{"type": "image", "image": image} for image in pictures]
    return {"role": "user", "content": [*images, {"type": "text", "text": text}]}


def assistant(text: str) -> dict[str, Any]:
    """An answer."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def encode(
    processor: "Gemma3Processor", conversations: list[Any], side: str = "left", **options: Any
) -> dict[str, Any]:
    """A padded batch of conversations as tensors; `options` go to the processor's call."""
    batch = processor.apply_chat_template(
        conversations,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=conversations[0][-1]["role"] == "user",
        processor_kwargs={"text_kwargs": {"padding": True, "padding_side": side}, **options},
    )
    return dict(batch)


def mixed_rows() -> list[Any]:
    """Three conversations: one picture, two pictures, none."""
    return [
        [user("Which bin?", picture(1))],
        [user("Which bin is it, left or right, and why?", picture(2), picture(3))],
        [user("Hello?")],
    ]


@pytest.fixture
def mixed_batch(processor: "TheWorldProcessor") -> dict[str, Any]:
    """`mixed_rows`, padded on the left."""
    return encode(processor, mixed_rows())


def row_of(batch: dict[str, Any], row: int, pictures: list[int]) -> dict[str, Any]:
    """One row of a batch by itself: padding cut off, and only its own pictures and clips."""
    real = batch["attention_mask"][row].bool()
    single = {name: batch[name][row : row + 1, real] for name in ("input_ids", "attention_mask", "token_type_ids")}
    if "labels" in batch:
        single["labels"] = batch["labels"][row : row + 1, real]
    if pictures:
        for name in ("pixel_values", "world_pixels", "world_features"):
            if name in batch:
                single[name] = batch[name][pictures]
        if "num_world_steps" in batch:
            single["num_world_steps"] = batch["num_world_steps"]
    return single


@pytest.fixture
def record_ids() -> Callable[["TheWorld"], list[Tensor]]:
    """Records the ids that go through Gemma's embedding table, call by call."""

    def record(model: "TheWorld") -> list[Tensor]:
        seen: list[Tensor] = []
        model.get_input_embeddings().register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
        return seen

    return record
