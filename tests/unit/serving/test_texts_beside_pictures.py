"""Texts beside pictures: they are answered in pauses of a batch with pictures, which keeps a quarter of the time."""

from types import SimpleNamespace

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client"):
    pytest.importorskip(extra, reason="the extra `serve` is not installed")

import torch
from served_model import asked, body
from torch import nn

from theworld.config.serving import ServeSettings
from theworld.serving import engine as engine_module
from theworld.serving.decoding import BatchDecoder, Finished
from theworld.serving.engine import Engine, Job
from theworld.serving.inputs import Preparer
from theworld.serving.metrics import Metrics
from theworld.serving.pauses import layers_of, pausing
from theworld.serving.refusals import RequestError

PICTURE, TEXT = body(messages=asked("Which bin?", 5)), body(messages=asked("Hello?"))


def answered(model, *requests):
    """Return the events of rows that wait together, each with the number of its request, and the engine."""
    preparer, events = Preparer(model, ServeSettings(model="test"), "test"), []
    decoder = BatchDecoder(model, Metrics())
    engine = Engine(decoder, max_queue=8, max_batch_size=8)
    decoder.pause = engine.answer_quick
    for number, request in enumerate(requests):
        engine.submit(preparer(request, lambda event, number=number: events.append((number, event))).row)
    engine.close()
    engine.run()
    return [(number, event) for number, event in events if isinstance(event, Finished)]


def test_a_text_behind_a_picture_is_answered_first_and_neither_answer_changes(fused):
    ((_, picture),), ((_, text),) = answered(fused, PICTURE), answered(fused, TEXT)
    assert answered(fused, PICTURE, TEXT) == [(1, text), (0, picture)]
    assert fused.config.enable_world
    assert not any(layer._forward_pre_hooks for layer in layers_of(fused))


def test_a_text_with_the_world_is_answered_in_a_pause_of_a_picture_without_it(fused):
    plain = body(messages=asked("Which bin?", 5), world=False)
    ((_, picture),), ((_, text),) = answered(fused, plain), answered(fused, TEXT)
    assert answered(fused, plain, TEXT) == [(1, text), (0, picture)]
    assert fused.config.enable_world


class Quick(Job):
    """A job with a name; the quick ones begin with a q."""

    def __init__(self, name, events):
        super().__init__(events.append)
        self.name = name

    @property
    def is_quick(self):
        return self.name.startswith("q")

    @property
    def batch_key(self):
        return self.name


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(engine_module.time, "monotonic", lambda: clock.now)
    return clock


def test_quick_jobs_get_at_most_three_quarters_of_the_time_of_a_batch(clock):
    order = []

    def answer(batch):
        (job,) = batch
        if job.is_quick:
            clock.now += 3.0
        else:
            for step in range(4):
                clock.now += 1.0
                engine.answer_quick()
                order.append(step)
        order.append(job.name)

    engine = Engine(answer, max_queue=8)
    for name in ("slow", "q1", "q2", "q3"):
        engine.submit(Quick(name, []))
    engine.close()
    engine.run()
    assert order == ["q1", 0, "q2", 1, "q3", 2, 3, "slow"]


def test_a_job_that_breaks_in_a_pause_gets_an_error_like_all_others():
    events = {name: [] for name in ("slow", "quick", "later")}

    def answer(batch):
        if batch[0].is_quick:
            raise KeyError("ours")
        engine.answer_quick()

    engine = Engine(answer, max_queue=8)
    for name in events:
        engine.submit(Quick(name, events[name]))
    with pytest.raises(KeyError, match="ours"):
        engine.run()
    assert all(isinstance(error, RequestError) and error.status == 500 for (error,) in events.values())


def test_positions_that_a_model_keeps_survive_a_pause():
    layer, model = nn.Linear(1, 1), SimpleNamespace(model=SimpleNamespace(rope_deltas=torch.ones(1)))

    def answer_another():
        model.model.rope_deltas = torch.zeros(1)

    with pausing(model, [layer], answer_another):
        layer(torch.ones(1))
    assert model.model.rope_deltas == 1
