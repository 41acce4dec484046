"""Reuse of pictures and worlds: equal bits, the bound in bytes, and the content that makes another picture."""

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client"):
    pytest.importorskip(extra, reason="the extra `serve` is not installed")

import torch
from served_model import asked, body

from theworld.config.serving import ServeSettings
from theworld.serving.inputs import Preparer
from theworld.serving.metrics import Metrics
from theworld.serving.reading import BatchReader
from theworld.serving.reuse import ReuseCache, content_of

PLENTY = 10**9


def rows_of(model, *requests):
    preparer = Preparer(model, ServeSettings(model="test"), "test")
    return [preparer(request, lambda event: None).row for request in requests]


@torch.no_grad()
def first_logits(model, inputs):
    """Return the logits of the first token of each answer, (B, V)."""
    output = model.generate(**inputs, max_new_tokens=1, return_dict_in_generate=True, output_logits=True)
    return output.logits[0]


@pytest.mark.parametrize("name", ["fused", "residual", "world_off"])
def test_the_second_question_about_a_picture_has_the_same_bits_as_without_reuse(name, request):
    model = request.getfixturevalue(name)
    readers = [BatchReader(model, Metrics(), most) for most in (0, PLENTY)]
    for text in ("Which bin?", "Which bin?", "Left or right, and why?"):
        rows = rows_of(model, body(messages=asked(text, 1)))
        never, perhaps = (first_logits(model, reader.inputs(rows)) for reader in readers)
        assert torch.equal(never, perhaps)
    assert not torch.equal(never, first_logits(model, readers[1].inputs(rows_of(model, body(messages=asked(text, 2))))))


def test_each_picture_of_a_batch_is_read_once_and_kept(fused, monkeypatch):
    read, counts = fused.read_world, []
    monkeypatch.setattr(fused, "read_world", lambda clips, steps: counts.append(len(clips)) or read(clips, steps))
    metrics = Metrics()
    reader = BatchReader(fused, metrics, PLENTY)
    for seeds in ((1, 2, 1), (2, 3, 1), (3, 2, 1)):
        reader.inputs(rows_of(fused, *(body(messages=asked("Which bin?", seed)) for seed in seeds)))
    assert counts == [2, 1]
    assert metrics.value("theworld_clips_read_total") == 3


def test_one_other_value_of_a_pixel_or_another_k_is_another_clip(fused):
    (row,) = rows_of(fused, body(messages=asked("Which bin?", 1)))
    pixels = row.inputs["world_pixels"]
    other = pixels.clone()
    other[0, 0, 0, 0, 0] ^= 1
    first, changed, again, longer, frames = (
        content_of({"world_pixels": clips, "num_world_steps": steps}).clips
        for clips, steps in (
            (pixels, 1), (other, 1), (pixels.clone(), 1), (pixels, 2), (pixels.expand(1, 5, -1, -1, -1), 1)
        )
    )  # fmt: skip
    assert first == again
    assert len({first, changed, longer, frames}) == 4


def test_the_least_recently_used_tensors_leave_when_the_bytes_are_used_up():
    metrics = Metrics()
    cache = ReuseCache(80, metrics)
    computed = []

    def compute(places):
        computed.append(len(places))
        return [(torch.zeros(10),) for _ in places]  # 40 bytes each

    for names in ("ab", "a", "c", "a", "b"):
        cache.collect("world", list(names), compute)
    assert computed == [2, 1, 1]  # `c` takes the place of `b`
    assert cache.num_bytes == metrics.value("theworld_reuse_bytes") == 80
    assert metrics.value("theworld_reuse_hits_total", kind="world") == 2
    assert metrics.value("theworld_reuse_misses_total", kind="world") == 4


@pytest.mark.parametrize("most", [0, 39])
def test_tensors_larger_than_the_bound_are_not_kept(most):
    cache = ReuseCache(most, Metrics())
    for _ in range(2):
        ((tensor,),) = cache.collect("picture", ["a"], lambda places: [(torch.ones(10),)])
        assert tensor.sum() == 10
    assert cache.num_bytes == 0


def test_a_kept_feature_does_not_hold_on_to_its_batch(fused):
    reader = BatchReader(fused, Metrics(), PLENTY)
    reader.inputs(rows_of(fused, *(body(messages=asked("Which bin?", seed)) for seed in (1, 2, 3))))
    kept = [tensor for tensors in reader._kept._kept.values() for tensor in tensors]
    assert len(kept) == 6
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in kept)
