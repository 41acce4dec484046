"""TheWorld with its world off over plain Gemma 3: forward pass and training step at middle size."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import Gemma3ForConditionalGeneration

from benchmarks.figures import Figure, paired_ratio
from benchmarks.mid_size import mid_size
from theworld.modeling import TheWorld, TheWorldConfig

LENGTH, ANSWER = 384, 16
VOCABULARY, IMAGE = 4096, 4000  # small, so that the logits do not dominate
NUM_PAIRS = 31  # single ratios are off by some percent on a busy machine


def pair() -> tuple[Any, Any]:
    """Return plain Gemma 3 and TheWorld without a world, with the same weights in the same memory.

    Two copies in different memory would differ in speed.
    """
    torch.manual_seed(0)
    config = mid_size(VOCABULARY, boi_token_index=4, eoi_token_index=5, image_token_index=IMAGE)
    gemma = Gemma3ForConditionalGeneration(config)
    fields = config.to_dict()
    for key in ("model_type", "architectures", "transformers_version"):
        fields.pop(key, None)
    model = TheWorld(TheWorldConfig(**fields, enable_world=False))
    model.load_state_dict(gemma.state_dict(), assign=True)
    model.tie_weights()
    return gemma, model


def batch() -> dict[str, torch.Tensor]:
    """Return a batch of one row: a picture, text, and an answer at the end."""
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
    """Compare forward pass and training step with plain Gemma 3."""
    gemma, model = pair()
    inputs = batch()
    prompt = {name: value for name, value in inputs.items() if name != "labels"}

    def forward(network: Any) -> None:
        with torch.no_grad():
            network(**prompt)

    def step(network: Any) -> None:
        network(**inputs).loss.backward()
        network.zero_grad()

    for name, work in (("forward", forward), ("step", step)):

        def with_world(work: Any = work) -> None:
            work(model)

        def without(work: Any = work) -> None:
            work(gemma)

        ratio = paired_ratio(with_world, without, NUM_PAIRS)
        yield Figure(f"world_off_{name}_over_gemma", ratio, 1.02)
