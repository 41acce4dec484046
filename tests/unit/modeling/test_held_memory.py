"""What a step or an answer took is given back: neither tensors nor memory pile up."""

import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures_model import encode, picture, user
from theworld import TheWorld

WARM_UP, COUNTED = 20, 200
MOST_BYTES = 8_000_000  # an allocator's own; the logits of one prompt, kept 200 times, would be 175 MB


def held() -> tuple[int, int]:
    """Tensors that live in this process, and bytes that it has in memory."""
    gc.collect()
    tensors = sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
    return tensors, int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def growth(work: Callable[[int], Any]) -> tuple[int, int]:
    """Tensors and bytes more after COUNTED calls than after those that warm up."""
    for number in range(WARM_UP):
        work(number)
    tensors, num_bytes = held()
    for number in range(COUNTED):
        work(number)
    more_tensors, more_bytes = held()
    return more_tensors - tensors, more_bytes - num_bytes


@pytest.mark.slow
def test_memory_does_not_grow_over_200_training_steps(model: TheWorld):
    model.train()
    optimizer = torch.optim.AdamW(model.world.parameters(), lr=1e-3)
    batches = [encode(model.processor, [[user(text, picture(1))]]) for text in ("Which bin?", "Left or right?")]

    def step(number: int) -> None:
        batch = batches[number % 2]
        model(**batch, labels=batch["input_ids"]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    tensors, num_bytes = growth(step)
    assert tensors == 0
    assert num_bytes < MOST_BYTES


@pytest.mark.slow
def test_memory_does_not_grow_over_200_answers(fused: TheWorld):
    pictures = [picture(1), picture(2)]

    def answer(number: int) -> None:
        if number % 4:
            fused.generate(pictures[number % 2], "Which bin?", max_new_tokens=1 + number % 3)
        else:
            fused.look(pictures[number % 2]).ask("Left or right?", max_new_tokens=1 + number % 3)

    tensors, num_bytes = growth(answer)
    assert tensors == 0
    assert num_bytes < MOST_BYTES
