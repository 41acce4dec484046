"""Batches hold samples of one shape: clips of one length, looking equally far ahead."""

from collections import Counter

import numpy as np
import pytest

from theworld.datasets.sample import question
from theworld.datasets.samplers import ShapeSampler, batches


def sample(name: str, num_frames: int, num_world_steps: int | None = None):
    clip = np.zeros((num_frames, 4, 4, 3), np.uint8)
    return question(name, [clip[-1]], "What?", "That.", clips=(clip,), num_world_steps=num_world_steps)


def test_a_picture_is_a_clip_of_one_frame():
    picture = question("a", [np.zeros((4, 4, 3), np.uint8)], "What?", num_world_steps=4)

    assert picture.shape == sample("b", 1, 4).shape != sample("c", 5, 4).shape


def test_batches_hold_one_shape_and_lose_nothing():
    samples = [sample(str(index), 1 if index % 3 else 5, 4 if index % 3 else 3) for index in range(10)]

    found = list(batches(samples, 4))

    assert [[one.id for one in batch] for batch in found] == [["1", "2", "4", "5"], ["0", "3", "6", "9"], ["7", "8"]]


def test_samples_of_one_shape_stay_in_order():
    samples = [sample(str(index), 1) for index in range(5)]

    assert [[one.id for one in batch] for batch in batches(samples, 2)] == [["0", "1"], ["2", "3"], ["4"]]


def test_every_run_of_the_sampler_has_one_shape_and_no_index_comes_twice():
    shapes = ["picture", "clip", "picture"] * 7
    order = list(ShapeSampler(shapes, run_length=4, seed=3))

    runs = [order[start : start + 4] for start in range(0, len(order), 4)]
    assert all(len({shapes[index] for index in run}) == 1 for run in runs)
    assert max(Counter(order).values()) == 1
    assert len(order) == len(ShapeSampler(shapes, 4, 3)) == 12 + 4


def test_each_epoch_has_its_own_order_and_a_seed_gives_it_again():
    sampler = ShapeSampler([0, 1] * 20, run_length=2, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)

    assert first != second
    assert list(sampler) == first
    assert list(ShapeSampler([0, 1] * 20, run_length=2, seed=1)) != first


def test_too_few_samples_for_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"4 samples of 2 shapes .* none fills a batch of 3"):
        ShapeSampler([0, 0, 1, 1], run_length=3, seed=0)
