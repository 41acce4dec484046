"""Reuse of pictures and worlds: equal bits, the bound in bytes, and the content that makes another picture."""

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client"):
    pytest.importorskip(extra, reason="the extra `serve` is not installed")

import torch
from served_model import asked, body

from theworld.config.serving import ServeSettings
from theworld.evaluation.generation import place
from theworld.modeling.cache_name import CACHE
from theworld.serving.inputs import Preparer
from theworld.serving.metrics import Metrics
from theworld.serving.reading import BatchReader, joined
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
    assert metrics.value("theworld_reuse_hits_total", kind="keys") == 1 + 1 + 3  # a row's twin, and kept ones


def test_one_other_value_of_a_pixel_or_another_k_is_another_clip(fused):
    (row,) = rows_of(fused, body(messages=asked("Which bin?", 1)))
    pixels = row.inputs["world_pixels"]
    other = pixels.clone()
    other[0, 0, 0, 0, 0] ^= 1
    first, changed, again, longer, frames = (
        content_of({**row.inputs, "world_pixels": clips, "num_world_steps": steps}).clips
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
    assert len(kept) == 3 * (1 + 1 + 2 * fused.config.get_text_config().num_hidden_layers)
    assert all(tensor.untyped_storage().nbytes() == tensor.nbytes for tensor in kept)


TEXTS = (("Which bin?", 1), ("Which bin is it, left or right, and why?", 2, 3), ("Why? " * 9, 1))


@pytest.mark.parametrize("name", ["fused", "residual", "world_off"])
def test_a_batch_with_shared_prefixes_has_the_logits_of_the_batch_at_once(name, request):
    model = request.getfixturevalue(name)
    rows = rows_of(model, *(body(messages=asked(*text)) for text in TEXTS))
    reader = BatchReader(model, Metrics(), PLENTY)
    at_once = place(model, joined([row.inputs for row in rows], model.processor.tokenizer.pad_token_id))
    with torch.no_grad():
        if "world_pixels" in at_once:
            at_once["world_features"] = model.read_world(at_once.pop("world_pixels"), at_once["num_world_steps"])
    expected = first_logits(model, at_once)
    for _ in range(2):  # computed, then kept
        inputs = reader.inputs(rows)
        assert inputs[CACHE].get_seq_length() == max(row.prefix_length for row in rows)
        torch.testing.assert_close(first_logits(model, inputs), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("texts", "shares"), [(("Which bin?", "Which car?"), True), (("Which bin?", "Why?"), False)])
def test_beyond_the_sliding_window_rows_with_equal_rests_share_prefixes(texts, shares, world_off, monkeypatch):
    monkeypatch.setattr(world_off.config.get_text_config(), "sliding_window", 8)  # a picture alone is longer
    messages = (asked(texts[0], 1), asked(texts[1], 2, 3))
    rows = rows_of(world_off, *(body(messages=message) for message in messages))
    inputs = BatchReader(world_off, Metrics(), PLENTY).inputs(rows)
    assert (CACHE in inputs) is shares
    at_once = place(world_off, joined([row.inputs for row in rows], world_off.processor.tokenizer.pad_token_id))
    expected = first_logits(world_off, at_once)
    torch.testing.assert_close(first_logits(world_off, inputs), expected, atol=1e-5, rtol=1e-5)


def test_another_text_before_the_picture_or_no_world_is_another_prefix(fused):
    plain = asked("Which bin?", 1)
    system = [{"role": "system", "content": "Be brief."}, *plain]
    questions = (
        {"messages": plain},
        {"messages": asked("Why?", 1)},
        {"messages": system},
        {"messages": plain, "world": False},
    )
    first, second, *others = (row.content.prefix for row in rows_of(fused, *(body(**fields) for fields in questions)))
    assert first == second
    assert len({first, *others}) == 3
