"""Concurrent clients: batches, a full queue, disconnects, time limits, failures, and the shutdown."""

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client", "openai"):
    pytest.importorskip(extra, reason="the extra `serve`, or the client that asks it, is not installed")

import openai
import torch
from served_model import asked, body, data_url, served, shown

from fixtures_model import encode, picture, user
from theworld import TheWorld
from theworld.config.serving import ServeSettings
from theworld.datasets.foresight.dataset import ForesightDataset
from theworld.serving.decoding import BatchDecoder
from theworld.serving.engine import Engine
from theworld.serving.inputs import Preparer
from theworld.serving.metrics import Metrics
from theworld.serving.reading import joined
from theworld.serving.refusals import RequestError


def prepared(model, *requests):
    """Return the rows of requests, and a list of events for each."""
    preparer = Preparer(model, ServeSettings(model="test"), "test")
    events = [[] for _ in requests]
    return [
        preparer(content, row_events.append).row for content, row_events in zip(requests, events, strict=True)
    ], events


def test_rows_encoded_one_by_one_make_the_batch_of_the_processor(fused):
    texts = [("Which bin?", (1,)), ("Which bin is it, left or right, and why?", (2, 3)), ("Hello?", ())]
    rows, _ = prepared(fused, *(body(messages=asked(text, *seeds)) for text, seeds in texts))
    batch = joined([row.inputs for row in rows], fused.processor.tokenizer.pad_token_id)
    expected = encode(fused.processor, [[user(text, *map(picture, seeds))] for text, seeds in texts])
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(batch[name], value) if torch.is_tensor(value) else batch[name] == value, name


@pytest.mark.slow
def test_twenty_clients_at_once_are_answered_in_few_batches_and_as_one_by_one(embedded):
    model = TheWorld.from_pretrained(
        "tiny-foresight", transfer_tap=True, num_inference_steps=2, num_world_steps=1
    ).eval()
    samples = ForesightDataset("test", 20, image_size_px=64)
    questions = [(sample.images[0], sample.prompt[0].text) for sample in map(samples.__getitem__, range(20))]
    alone = [model.generate(image, text, do_sample=False, max_new_tokens=8) for image, text in questions]
    with served(model, batch_wait_ms=500) as running:
        requests = [
            {
                "messages": [{"role": "user", "content": [*shown(data_url(image)), {"type": "text", "text": text}]}],
                "max_tokens": 8,
            }
            for image, text in questions
        ]
        answers = [completion.choices[0].message.content for completion in running.at_once(requests)]
        assert running.value("theworld_batch_rows_sum") == 20
        assert running.value("theworld_batch_rows_count") <= 8
        assert running.value("theworld_clips_read_total") == 20
    assert answers == alone
    assert len(set(alone)) > 3


def test_only_rows_that_agree_on_the_world_share_a_batch(fused, gate):
    with served(fused) as running, ThreadPoolExecutor(6) as pool:
        first = pool.submit(running.ask, asked("Which bin?"), max_tokens=1)
        assert gate.arrived.acquire(timeout=60)
        asking = [
            pool.submit(
                running.ask, asked("Which bin?", seed), max_tokens=2 + seed, extra_body={"world": seed % 2 == 0}
            )
            for seed in range(1, 5)
        ]
        for _ in range(5):
            assert running.submitted.acquire(timeout=60)
        gate.open.set()
        assert [answer.result().usage.completion_tokens for answer in (first, *asking)] == [1, 3, 4, 5, 6]
        assert running.value("theworld_batch_rows_count") == 3
        assert running.value("theworld_batch_rows_sum") == 5


def test_a_short_answer_does_not_wait_for_a_long_one_beside_it(fused):
    (short, long), events = prepared(fused, body(max_tokens=2), body(max_tokens=9))
    lengths = []
    take = short.take

    def noted(token_id):
        take(token_id)
        lengths.append(len(events[1]))

    short.take = noted
    engine = Engine(BatchDecoder(fused, Metrics()), max_queue=2, max_batch_size=2)
    for row in (short, long):
        engine.submit(row)
    engine.close()
    engine.run()
    assert [events[0][-1].num_tokens, events[1][-1].num_tokens] == [2, 9]
    assert len(short.tokens) == 2
    assert lengths[1] < len(events[1])  # the long answer was still running


def test_a_full_queue_refuses(fused, gate):
    with served(fused, max_queue=1) as running, ThreadPoolExecutor(2) as pool:
        answered = pool.submit(running.ask, asked("Which bin?"), max_tokens=1)
        assert gate.arrived.acquire(timeout=60)
        waiting = pool.submit(running.ask, asked("Which bin?"), max_tokens=1)
        for _ in range(2):
            assert running.submitted.acquire(timeout=60)
        assert running.value("theworld_waiting_requests") == 1
        with pytest.raises(openai.RateLimitError, match="1 requests are waiting already") as refused:
            running.ask(asked("Which bin?"))
        assert refused.value.code == "queue_full"
        gate.open.set()
        assert answered.result().choices
        assert waiting.result().choices


def test_a_client_that_disconnects_ends_its_answer(fused):
    with served(fused) as running:
        with running.ask(asked("Which bin?"), max_tokens=4000, stream=True) as stream:
            next(stream)
            next(stream)
        assert running.cancelled.acquire(timeout=60)
        assert running.ask(asked("Which bin?"), max_tokens=2).usage.completion_tokens == 2
        assert running.value("theworld_completion_tokens_total") < 2000
        assert running.value("theworld_errors_total", code="client_gone") == 1
    # Read after the end of the server: a client gets its answer a moment before the model thread finishes.
    assert running.value("theworld_running_requests") == 0


def test_a_client_that_disconnects_leaves_the_queue(fused, gate):
    async def leave(running):
        async with running.client(asynchronous=True) as client:
            asking = asyncio.create_task(client.chat.completions.create(model="test", messages=asked("Which bin?")))
            await asyncio.to_thread(running.submitted.acquire, timeout=60)
            asking.cancel()
            await asyncio.wait([asking])

    with served(fused, max_queue=1) as running, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(running.ask, asked("Which bin?"), max_tokens=1)
        assert gate.arrived.acquire(timeout=60)
        assert running.submitted.acquire(timeout=60)
        asyncio.run(leave(running))
        assert running.cancelled.acquire(timeout=60)
        assert running.value("theworld_waiting_requests") == 0
        gate.open.set()
        assert answered.result().choices
    assert running.value("theworld_batch_rows_sum") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_takes_too_long_is_given_up(stream, fused, gate):
    with served(fused, max_seconds=1.0) as running:
        with pytest.raises(openai.InternalServerError, match="no whole answer within 1 s") as refused:
            running.ask(asked("Which bin?"), max_tokens=2, stream=stream)
        assert (refused.value.status_code, refused.value.code) == (504, "timeout")
        gate.open.set()


def test_a_failure_in_the_middle_of_a_stream_is_an_event(fused, monkeypatch):
    def fail_at_the_third(*args, **kwargs):
        (criterion,) = kwargs["stopping_criteria"]
        tokens = fused.processor.tokenizer.encode("one two", add_special_tokens=False)
        for token_id in tokens:
            criterion.rows[0].take(token_id)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(fused, "generate", fail_at_the_third)
    with served(fused) as running:
        stream = running.ask(asked("Which bin?"), max_tokens=9, stream=True)
        with pytest.raises(openai.APIError, match="the model failed on this request"):
            list(stream)
        assert running.value("theworld_errors_total", code="internal_error") == 1


def test_a_batch_that_fails_is_answered_one_by_one(fused, monkeypatch):
    generate, sizes = fused.generate, []

    def fail_for_two(*args, **kwargs):
        sizes.append(len(kwargs["input_ids"]))
        if len(kwargs["input_ids"]) > 1 or "second" in fused.processor.decode(kwargs["input_ids"][0]):
            raise RuntimeError("out of memory")
        return generate(*args, **kwargs)

    monkeypatch.setattr(fused, "generate", fail_for_two)
    rows, events = prepared(fused, *(body(messages=asked(f"The {which}?")) for which in ("first", "second", "third")))
    engine = Engine(BatchDecoder(fused, Metrics()), max_queue=8, max_batch_size=8)
    for row in rows:
        engine.submit(row)
    engine.close()
    engine.run()
    assert sizes == [3, 1, 1, 1]
    assert [row_events[-1].num_tokens for row_events in (events[0], events[2])] == [2, 2]
    (refusal,) = events[1]
    assert isinstance(refusal, RequestError)
    assert refusal.status == 500
    assert "memory" not in str(refusal)


def test_after_a_programming_error_every_client_gets_an_error(fused, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyError("ours")

    monkeypatch.setattr(fused, "generate", fail)
    rows, events = prepared(fused, body(), body(world=False))
    engine = Engine(BatchDecoder(fused, Metrics()), max_queue=8, max_batch_size=8)
    for row in rows:
        engine.submit(row)
    with pytest.raises(KeyError, match="ours"):
        engine.run()
    assert [row_events[-1].status for row_events in events] == [500, 500]
    with pytest.raises(RequestError, match="shutting down"):
        engine.submit(rows[0])


def test_after_a_signal_running_answers_finish_and_new_requests_are_refused(fused, gate):
    with served(fused) as running, ThreadPoolExecutor(1) as pool:
        answered = pool.submit(running.ask, asked("Which bin?"), max_tokens=3)
        assert gate.arrived.acquire(timeout=60)
        running.server.handle_exit(signal.SIGTERM, None)
        with pytest.raises((openai.APIConnectionError, openai.InternalServerError)):
            running.ask(asked("Which bin?"))
        gate.open.set()
        assert answered.result().usage.completion_tokens == 3
        running.thread.join(60)
        assert not running.thread.is_alive()
