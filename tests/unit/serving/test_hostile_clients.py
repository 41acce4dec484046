"""Clients that are slow, half open, or ask for too much: each is refused early, and costs the others nothing."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client", "openai"):
    pytest.importorskip(extra, reason="the extra `serve`, or the client that asks it, is not installed")

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served_model import Served, as_url, asked, body, bomb, served, shown

from theworld.config.serving import ServeSettings
from theworld.serving import server as server_module
from theworld.serving.inputs import Preparer
from theworld.serving.refusals import RequestError
from theworld.serving.server import LOOPBACK, HostCheck

PATH = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def prepare(fused):
    preparer = Preparer(fused, ServeSettings(model="test"), "test")
    return lambda content: preparer(content, lambda event: None)


@pytest.fixture
def impatient(fused, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(server_module, "_HEAD_SECONDS", 0.5)
    monkeypatch.setattr(server_module, "_FIRST_BODY_SECONDS", 0.5)
    with served(fused, max_queue=4) as running:
        yield running


def opened(running: Served, text: str) -> socket.socket:
    connection = socket.create_connection(running.listening.getsockname()[:2], timeout=60)
    connection.sendall(text.encode())
    return connection


def whole(connection: socket.socket) -> str:
    """Return everything that arrives up to the end of a JSON body."""
    content = b""
    while not content.endswith(b"}") and (chunk := connection.recv(1000)):
        content += chunk
    return content.decode()


HEAD = f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.one_of(st.integers(17, 10**19), st.integers(-(10**19), -1)), has_picture=st.booleans())
def test_a_number_of_steps_outside_of_the_range_is_refused_at_once(prepare, steps: int, has_picture: bool):
    messages = asked("Which bin?", *([1] if has_picture else []))
    started = time.process_time()
    with pytest.raises(RequestError) as error:
        prepare(body(messages=messages, num_world_steps=steps))
    assert error.value.status == 400
    assert "num_world_steps" in str(error.value)
    assert time.process_time() - started < 2


def test_a_number_of_steps_that_the_tap_serves_is_prepared(prepare):
    assert prepare(body(messages=asked("Which bin?", 1), num_world_steps=0)).row.num_world_steps == 0


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": role, "content": ""} for _ in range(30_000) for role in ("user", "assistant")],
        [{"role": "user", "content": [{"type": "text", "text": ""}] * 60_000}],
        [{"role": "user", "content": [{"type": "text", "text": ""}] * 2_000}] * 30,
        [7] * 60_000,
    ],
)
def test_messages_and_parts_are_counted_before_they_are_read(prepare, messages):
    content = json.dumps({"messages": messages}).encode()
    started = time.process_time()
    with pytest.raises(RequestError, match=r"[0-9,]+ (messages|parts of messages): expected at most 2,048"):
        prepare(content)
    assert time.process_time() - started < 1


def test_a_text_of_many_tokens_is_refused_before_the_tokenizer_has_read_it(prepare, caplog: pytest.LogCaptureFixture):
    content = body(messages=asked("\U0001f3b1" * 200_000))
    started = time.process_time()
    with pytest.raises(RequestError, match=r"more than 16,384 tokens .*expected at most 8,192"):
        prepare(content)
    assert time.process_time() - started < 1
    with pytest.raises(RequestError, match=r"12,0[0-9]{2} tokens .*expected at most 8,192"):
        prepare(body(messages=asked("\U0001f3b1" * 3_000)))
    assert "Token indices" not in caplog.text


def test_texts_and_refusals_do_not_wait_behind_pictures(server: Served, monkeypatch: pytest.MonkeyPatch):
    held, encode = threading.Event(), server.api.preparer.encode

    def slow(checked, emit):
        assert not checked.files or held.wait(60)
        return encode(checked, emit)

    monkeypatch.setattr(server.api.preparer, "encode", slow)
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(server.ask, asked("Which bin?", 1), max_tokens=1) for _ in range(8)]
        while server.api._num_preparing < 8:
            time.sleep(0.01)
        try:
            assert server.ask(asked("Which bin?"), max_tokens=1).choices
            shows = [[{"role": "user", "content": shown(url)}] for url in (as_url(b"no picture"), bomb(9000, 9000))]
            refused = [b"{", body(messages=asked("a", 1), n=2), *(body(messages=messages) for messages in shows)]
            for content in refused:
                reply = httpx2.post(server.address + PATH, content=content, headers=JSON, timeout=60)
                assert reply.status_code == 400
            assert not any(answer.done() for answer in answers)
        finally:
            held.set()
        assert all(answer.result().choices for answer in answers)


def test_a_websocket_is_answered_without_advice_to_install_a_package(server: Served, caplog: pytest.LogCaptureFixture):
    upgrade = "host: 127.0.0.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n"
    connection = opened(server, f"GET /v1/models HTTP/1.1\r\n{upgrade}")
    assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    connection.close()
    assert caplog.text == ""


def test_a_body_that_does_not_come_is_given_up_and_holds_no_place_in_the_queue(impatient: Served):
    slow = [opened(impatient, HEAD + "content-length: 100\r\n\r\n{") for _ in range(8)]  # max_queue is 4
    reply = httpx2.post(
        impatient.address + PATH, content=body(), headers={"content-type": "application/json"}, timeout=60
    )
    answers = [whole(connection) for connection in slow]
    for connection in slow:
        connection.close()
    assert reply.status_code == 200
    assert all(answer.startswith("HTTP/1.1 408") and "arrived in time" in answer for answer in answers)


def test_a_head_that_stays_half_is_given_up(impatient: Served):
    half = opened(impatient, HEAD)
    silent = opened(impatient, "")
    assert half.recv(10) == silent.recv(10) == b""
    again = opened(impatient, "GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
    assert b"200" in again.recv(1000)
    again.sendall(b"GET /health HTTP")
    while again.recv(1000):
        pass
    for connection in (half, silent, again):
        connection.close()


def test_bodies_that_arrive_at_once_have_a_limit_in_bytes(impatient: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_module, "_MOST_BODIES", 0)
    reply = httpx2.post(
        impatient.address + PATH, content=body(), headers={"content-type": "application/json"}, timeout=60
    )
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "queue_full")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_host_name_of_another_site_is_refused(server: Served, host: str, status: int):
    names = tuple(f"[{name}]" if ":" in name else name for name in LOOPBACK)
    transport = httpx2.ASGITransport(app=HostCheck(server.api, names))

    async def ask() -> httpx2.Response:
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/models", headers={"host": host})

    assert asyncio.run(ask()).status_code == status
