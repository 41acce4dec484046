"""Over-long samples are left out and never cut; batches of similar length are planned on indices alone."""

import pickle
import time

import numpy as np
import pytest

from fixtures_model import picture
from theworld.datasets.collator import Collator
from theworld.datasets.errors import RecordError
from theworld.datasets.sample import question
from theworld.datasets.samplers import LengthSampler, WithinLength, estimated_lengths


@pytest.fixture(scope="module")
def collator(processor):
    return Collator(processor, supervise=True)


class Known(list):
    """A data set that knows its lengths."""

    def text_length_of(self, index):
        return sum(len(turn.text) for turn in self[index].turns)

    def num_images_of(self, index):
        return len(self[index].images)


def test_a_sample_of_exactly_the_limit_stays_and_one_more_token_is_too_many(collator):
    sample = question("a", [picture(1), picture(2)], "Which bin?", "red")
    length = collator([sample])["input_ids"].shape[1]

    assert WithinLength([sample], collator, length)[0] is sample
    with pytest.raises(RecordError) as refused:
        WithinLength([sample], collator, length - 1)[0]
    assert refused.value.cause == "overlong"
    assert refused.value.message == f"sample 'a' has {length} tokens (2 pictures), max_length={length - 1}"


def test_a_limited_data_set_still_knows_what_it_knew(collator):
    samples = Known([question("a", [], "Why?", "so"), question("b", [picture()], "Why?", "so")])
    limited = pickle.loads(pickle.dumps(WithinLength(samples, collator, 50)))
    assert len(limited) == 2
    assert (limited.text_length_of(0), limited.num_images_of(1)) == (6, 1)
    assert not hasattr(limited, "shape_of")


def test_a_sample_without_an_answer_is_not_judged_by_its_length(collator):
    sample = question("a", [], "Why?")
    assert WithinLength([sample], collator, 1)[0] is sample


def test_estimates_are_near_the_truth_for_pictures_and_text(collator):
    samples = Known([question(str(n), [picture(seed) for seed in range(n)], "Which bin?", "red") for n in range(4)])
    estimates = estimated_lengths(samples, collator)
    assert estimates == pytest.approx([collator.length_of(sample) for sample in samples], abs=20)


def test_a_data_set_that_does_not_know_its_lengths_is_refused(collator):
    with pytest.raises(ValueError, match=r"group_by_length=True needs a data set that knows .*text_length_of"):
        estimated_lengths([question("a", [], "Why?", "so")], collator)


def runs_of(sampler, run_length):
    return np.array(list(sampler)).reshape(-1, run_length)


def test_runs_hold_similar_lengths_of_one_shape_and_no_index_comes_twice():
    lengths = np.random.default_rng(0).lognormal(5, 1, 4_001)
    shapes = [index % 3 == 0 for index in range(4_001)]
    runs = runs_of(LengthSampler(lengths, shapes, 8, seed=0), 8)

    assert len(np.unique(runs)) == runs.size > 4_001 - 2 * 8
    assert all(len({shapes[index] for index in run}) == 1 for run in runs)
    padding = [
        1 - lengths[order].sum() / (lengths[order].max(1).sum() * 8)
        for order in (runs, np.arange(4_000).reshape(-1, 8))
    ]
    assert padding[0] < 0.15 < 0.4 < padding[1]
    firsts = lengths[runs[:, 0]]
    assert abs(np.corrcoef(firsts[:-1], firsts[1:])[0, 1]) < 0.1  # short and long batches follow each other at random


def test_an_order_belongs_to_its_seed_and_epoch():
    lengths = np.arange(400) % 17
    sampler = LengthSampler(lengths, None, 4, seed=0)
    first = list(sampler)
    sampler.set_epoch(1)
    assert sorted(first) == sorted(sampler) == list(range(400))
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first != list(LengthSampler(lengths, None, 4, seed=1))
    assert len(sampler) == 400


def test_two_processes_of_four_see_the_batches_of_one_of_eight():
    """accelerate deals batches out in turn: process 0 gets the first of two, process 1 the second."""
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    sampler = LengthSampler(np.arange(100) % 23, None, 8, seed=0)
    whole = list(BatchSampler(sampler, 8, drop_last=False))
    halves = [
        list(BatchSamplerShard(BatchSampler(sampler, 4, drop_last=False), num_processes=2, process_index=rank))
        for rank in range(2)
    ]
    assert [first + second for first, second in zip(*halves, strict=True)] == whole


def test_a_million_indices_are_planned_in_seconds():
    lengths = np.random.default_rng(0).lognormal(5, 1, 1_000_000)
    began = time.process_time()
    sampler = LengthSampler(lengths, None, 64, seed=0)
    assert next(iter(sampler)) >= 0
    assert time.process_time() - began < 4  # about one on a quiet core


def test_too_few_samples_for_a_batch_are_refused():
    with pytest.raises(ValueError, match=r"3 samples of 1 shapes .* none fills a batch of 4"):
        LengthSampler(np.ones(3), None, 4, seed=0)
