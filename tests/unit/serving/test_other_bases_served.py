"""The server with a base other than Gemma 3: rows encoded one by one make the processor's batch, and are answered."""

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client", "openai"):
    pytest.importorskip(extra, reason="the extra `serve`, or the client that asks it, is not installed")

import torch
from served_model import asked, body, served

from fixtures_model import encode, picture, user
from theworld.config.serving import ServeSettings
from theworld.serving.inputs import Preparer
from theworld.serving.reading import joined


def test_rows_encoded_one_by_one_make_the_batch_of_the_processor(fused_other):
    texts = [("Which bin?", (1,)), ("Which bin is it, left or right, and why?", (2, 3)), ("Hello?", ())]
    preparer = Preparer(fused_other, ServeSettings(model="test"), "test")
    rows = [preparer(body(messages=asked(text, *seeds)), lambda _: None).row for text, seeds in texts]
    batch = joined([row.inputs for row in rows], fused_other.processor.tokenizer.pad_token_id)
    expected = encode(fused_other.processor, [[user(text, *map(picture, seeds))] for text, seeds in texts])
    assert batch.keys() == expected.keys()
    assert all(torch.equal(torch.as_tensor(batch[name]), torch.as_tensor(expected[name])) for name in expected)


def test_a_request_is_answered(fused_other):
    with served(fused_other) as running:
        reply = running.ask(asked("Which bin?", 1), max_tokens=2)
    assert isinstance(reply.choices[0].message.content, str)
