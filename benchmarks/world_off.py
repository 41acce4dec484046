"""The model with its world off over plain Gemma 3: a forward and a training step of a mid-size Gemma."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Gemma3ForConditionalGeneration

from benchmarks.figures import Figure, paired_ratio
from benchmarks.mid_size import mid_size
from theworld.modeling import TheWorld, TheWorldConfig

LENGTH, ANSWER = 384, 16
VOCABULARY, IMAGE = 4096, 4000  # so small that logits do not hide the rest


def pair() -> tuple[Any, Any]:
    """Plain Gemma 3 and TheWorld without a world, with equal weights."""
    torch.manual_seed(0)
    config = mid_size(VOCABULARY, boi_token_index=4, eoi_token_index=5, image_token_index=IMAGE)
    gemma = Gemma3ForConditionalGeneration(config)
    fields = config.to_dict()
    for key in ("model_type", "architectures", "transformers_version"):
        fields.pop(key, None)
    model = TheWorld(TheWorldConfig(**fields, enable_world=False))
    model.load_state_dict(gemma.state_dict())
    return gemma, model


def batch() -> dict[str, torch.Tensor]:
    """One row: a picture, text, and an answer at its end."""
    ids = torch.randint(10, 3000, (1, LENGTH))
    ids[:, 2:66] = IMAGE
    labels = torch.full_like(ids, -100)
    labels[:, -ANSWER:] = ids[:, -ANSWER:]
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "token_type_ids": (ids == IMAGE).long(),
        "pixel_values": torch.randn(1, 3, 224, 224),
        "labels": labels,
    }


def figures() -> Iterator[Figure]:
    """Forward and training step, world off over plain Gemma 3."""
    gemma, model = pair()
    inputs = batch()
    prompt = {name: value for name, value in inputs.items() if name != "labels"}

    def forward(one: Any) -> None:
        with torch.no_grad():
            one(**prompt)

    def step(one: Any) -> None:
        one(**inputs).loss.backward()
        one.zero_grad()

    yield Figure("world_off_forward_over_gemma", paired_ratio(lambda: forward(model), lambda: forward(gemma)), 1.02)
    yield Figure("world_off_step_over_gemma", paired_ratio(lambda: step(model), lambda: step(gemma)), 1.02)
