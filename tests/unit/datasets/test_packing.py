"""Packing puts every token of every sample into some row once, and pictures and clips in the order of the rows."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures_model import features, picture
from theworld import TheWorldProcessor
from theworld.constants import IGNORE_INDEX
from theworld.datasets import Sample, Turn, question
from theworld.datasets.collator import Collator
from theworld.datasets.packing import NO_SAMPLE, first_fit_decreasing, packed


def test_the_longest_comes_first_and_each_goes_where_there_is_room():
    assert first_fit_decreasing([3, 5, 2, 4, 1], capacity=6) == [[1, 4], [3, 2], [0]]


@settings(max_examples=50, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_no_sample_is_lost_and_no_row_overflows(lengths):
    rows = first_fit_decreasing(lengths, max(lengths))
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in row) <= max(lengths) for row in rows)
    assert sum(2 * sum(lengths[number] for number in row) <= max(lengths) for row in rows) <= 1  # none half empty twice


def test_a_sample_that_no_row_can_hold_is_refused():
    with pytest.raises(ValueError, match="a sample of 7 tokens for rows of 6: raise max_length or drop it"):
        first_fit_decreasing([3, 7], capacity=6)


def test_rows_of_a_batch():
    batch = {
        "input_ids": torch.tensor([[1, 2, 0, 0], [3, 4, 5, 6], [7, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]),
        "token_type_ids": torch.tensor([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]),
        "labels": torch.tensor([[-100, 2, -100, -100], [-100, -100, -100, 6], [-100, -100, -100, -100]]),
        "pixel_values": torch.tensor([10.0, 20.0, 21.0]),
        "world_features": torch.tensor([100.0, 200.0]),
        "num_world_steps": 2,
    }

    result = packed(batch, pictures=[1, 2, 0], clips=[1, 1, 0], pad_token_id=0)

    assert {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in result.items()} == {
        "input_ids": [[3, 4, 5, 6], [1, 2, 7, 0]],
        "attention_mask": [[1, 1, 1, 1], [1, 1, 1, 0]],
        "token_type_ids": [[0, 1, 1, 0], [0, 1, 0, 0]],
        "labels": [[-100, -100, -100, 6], [-100, 2, -100, -100]],
        "position_ids": [[0, 1, 2, 3], [0, 1, 0, 0]],
        "packed_samples": [[0, 0, 0, 0], [0, 0, 1, NO_SAMPLE]],
        "pixel_values": [20.0, 21.0, 10.0],
        "world_features": [200.0, 100.0],
        "num_world_steps": 2,
    }


def test_rows_grow_up_to_the_length_that_is_given():
    batch = {name: torch.ones(3, 2, dtype=torch.long) for name in ("input_ids", "attention_mask", "token_type_ids")}
    assert packed(batch, [0] * 3, [0] * 3, 0)["input_ids"].shape == (3, 2)
    assert packed(batch, [0] * 3, [0] * 3, 0, capacity=5)["input_ids"].shape == (2, 4)


def test_the_collator_packs_samples_of_text_and_pictures(processor):
    samples = [question("a", [picture(1), picture(2)], "Which bin?", "red"), question("b", [], "Why?", "so")] * 2
    told = []

    def read(frames, num_world_steps):
        told.append(frames)
        return features(len(frames))

    rows = Collator(processor, supervise=True)(samples)
    batch = Collator(processor, supervise=True, packing=True, max_length=300, read_features=read)(samples)

    assert len(batch["input_ids"]) == 2
    assert batch["world_features"].shape[0] == batch["pixel_values"].shape[0] == 4
    for name in ("input_ids", "labels"):
        everything = batch[name][batch["packed_samples"] != NO_SAMPLE].sort().values
        assert torch.equal(everything, rows[name][rows["attention_mask"].bool()].sort().values)
    assert (batch["labels"][batch["packed_samples"] == NO_SAMPLE] == IGNORE_INDEX).all()


CONVERSATIONS = [
    ("plain", ["Which bin?", "red"]),
    ("line breaks", ["\n\n  Which bin?\n", "\nred\n\n"]),
    ("several turns", ["Left?", "yes", "Why?", "so"]),
    ("control tokens", ["Is <end_of_turn> or <start_of_image> an end?", "<image_soft_token>"]),
    ("split control tokens", ["<image_soft_", "token>"]),
    ("long", ["why " * 400, "so"]),
]


@pytest.mark.parametrize("options", [{}, {"world_fusion": "residual"}, {"enable_world": False}], ids=str)
def test_the_length_of_a_sample_is_that_of_its_row(options):
    processor = TheWorldProcessor.from_pretrained("tiny", **options)
    for supervise in (True, False):
        collator = Collator(processor, supervise=supervise)
        for name, texts in CONVERSATIONS:
            turns = tuple(Turn(("user", "assistant")[number % 2], text) for number, text in enumerate(texts))
            for num_pictures in range(3):
                sample = Sample(name, turns, tuple(map(picture, range(num_pictures))))
                assert collator.length_of(sample) == collator([sample])["input_ids"].shape[1]


@pytest.mark.parametrize("tap", ["rollout", "true-future"])
def test_it_counts_the_slots_that_a_sample_looks_ahead(tap):
    collator = Collator(TheWorldProcessor.from_pretrained("tiny", world_tap=tap), supervise=True, num_world_steps=2)
    for steps in (None, 1):
        future = tuple(map(picture, range(8)))
        sample = question("a", [picture(0)], "Hi?", "yes", future=(future,), num_world_steps=steps)
        assert collator.length_of(sample) == collator([sample])["input_ids"].shape[1]


def test_no_picture_is_opened_to_count(processor):
    sample = question("a", ["nowhere.png"], "Which bin?", "red")
    there = question("a", [picture()], "Which bin?", "red")
    assert Collator(processor, supervise=True).length_of(sample) == Collator(processor, supervise=True).length_of(there)
