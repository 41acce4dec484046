"""The judge behind an endpoint: what is sent, what each misbehaviour becomes, and where the key never shows."""

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures_judge import StubEndpoint, answers, cuts, says
from theworld.config.evaluation import JudgeSettings
from theworld.evaluation.judges.client import (
    CallFailedError,
    CallRefusedError,
    EndpointJudge,
    JudgeReply,
    JudgeUnusableError,
    Prompt,
    key_for,
    retry_after_seconds,
)

PROMPT = Prompt("Be brief.", "How are you?")
KEY = "sk-0123456789"


def ask(endpoint: StubEndpoint, **rest: Any) -> JudgeReply:
    async def once() -> JudgeReply:
        async with EndpointJudge(JudgeSettings(endpoint=endpoint.url, model="m", **rest)) as judge:
            return await judge.ask(PROMPT)

    return asyncio.run(once())


def test_a_prompt_goes_out_as_a_chat_and_the_reply_comes_back_with_its_tokens(endpoint):
    endpoint.script.append(says("Well.", {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}))
    assert ask(endpoint) == JudgeReply("Well.", 7, 2)
    (request,) = endpoint.requests
    assert request == {
        "path": "/v1/chat/completions",
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How are you?"}],
        "temperature": 0.0,
        "max_tokens": 256,
        "response_format": {"type": "json_object"},
    }
    assert endpoint.keys == [None]


def test_what_an_endpoint_does_not_know_can_be_left_out(endpoint):
    endpoint.script.append(says("Well."))
    assert ask(endpoint, temperature=None, max_new_tokens=None, json_mode=False) == JudgeReply("Well.", None, None)
    assert endpoint.requests[0].keys() == {"path", "model", "messages"}


@pytest.mark.parametrize("usage", [None, [], {}, {"prompt_tokens": "7", "completion_tokens": 2}, {"prompt_tokens": -1}])
def test_tokens_that_are_not_told_are_not_made_up(endpoint, usage):
    endpoint.script.append(says("Well.", usage))
    assert ask(endpoint) == JudgeReply("Well.", None, None)


def test_a_reply_without_words_is_empty(endpoint):
    endpoint.script.append(says(None))
    assert ask(endpoint).text == ""


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answers(500, "on fire"), "HTTP 500: on fire"),
        (answers(503), "HTTP 503"),
        (answers(429, "slow down"), "HTTP 429: slow down"),
        (answers(408), "HTTP 408"),
        (cuts, "RemoteProtocolError"),
        (answers(200, "<html>hello</html>"), "no chat completion: the response: Invalid JSON"),
        (answers(200, b"\xff\xfe"), "no chat completion"),
        (answers(200, b"this is no gzip at all", Content_Encoding="gzip"), "DecodingError"),
        (answers(200, "[]"), "no chat completion"),
        (answers(200, '{"choices": []}'), "no chat completion: choices"),
        (answers(200, '{"error": "overloaded"}'), "no chat completion: choices: Field required"),
        (answers(200, '{"choices": [{"message": {"content": "\\ud800"}}]}'), "no chat completion"),
        (answers(200, " " * 5_000_000), "more than 4,000,000 bytes"),
    ],
)
def test_what_may_pass_is_a_failed_call(endpoint, behaviour, words):
    endpoint.script.append(behaviour)
    with pytest.raises(CallFailedError) as caught:
        ask(endpoint)
    assert words in str(caught.value)
    assert caught.value.wait_seconds is None


@pytest.mark.parametrize("slowness", ["waits", "trickles"])
def test_a_slow_endpoint_is_given_up_in_time_however_it_is_slow(endpoint, slowness):
    endpoint.script.append(getattr(endpoint, slowness))
    started = time.monotonic()
    with pytest.raises(CallFailedError, match=r"no answer within 0\.3 s|ReadTimeout"):
        ask(endpoint, timeout_seconds=0.3)
    assert time.monotonic() - started < 20


def test_an_endpoint_that_is_not_there_is_a_failed_call(endpoint):
    endpoint.close()
    with pytest.raises(CallFailedError, match="ConnectError"):
        ask(endpoint)


def test_the_pause_that_is_asked_for_is_handed_on(endpoint):
    endpoint.script.append(answers(429, Retry_After="7"))
    with pytest.raises(CallFailedError) as caught:
        ask(endpoint)
    assert caught.value.wait_seconds == 7.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:10 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value, seconds):
    assert retry_after_seconds(value, now=40.0) == seconds


@settings(deadline=None)
@given(st.text() | st.floats().map(str) | st.integers().map(str) | st.datetimes().map(str))
def test_no_retry_after_raises(value):
    assert retry_after_seconds(value, now=0.0) is None or retry_after_seconds(value, now=0.0) >= 0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the key is not accepted (HTTP 401: no); no key was sent; set THEWORLD_JUDGE_API_KEY in the environment"),
        (403, "the key may not use this model"),
        (402, "the account has no credit"),
        (404, "no such model or address (HTTP 404: no); name another with --judge.model or --judge.endpoint"),
        (301, "HTTP 301 instead of an answer; give the final URL"),
    ],
)
def test_what_every_call_would_meet_makes_the_judge_unusable(endpoint, status, words):
    endpoint.script.append(answers(status, "no", Location="http://127.0.0.1:1/"))
    with pytest.raises(JudgeUnusableError) as caught:
        ask(endpoint)
    assert words in str(caught.value)
    assert len(endpoint.requests) == 1


def test_a_prompt_that_is_refused_is_refused(endpoint):
    endpoint.script.append(answers(400, "too long"))
    with pytest.raises(CallRefusedError, match="HTTP 400: too long"):
        ask(endpoint)


def test_the_key_is_sent_and_shown_nowhere(endpoint, monkeypatch):
    monkeypatch.setenv("THEWORLD_JUDGE_API_KEY", f" {KEY}\n")
    endpoint.script.extend([says(f"Your key is {KEY}."), answers(500, KEY), answers(401, f"{KEY} is wrong")])
    assert ask(endpoint).text == "Your key is ***."
    with pytest.raises(CallFailedError) as failed:
        ask(endpoint)
    with pytest.raises(JudgeUnusableError) as refused:
        ask(endpoint)
    assert endpoint.keys == [f"Bearer {KEY}"] * 3
    assert KEY not in f"{failed.value} {refused.value}"
    assert "*** is wrong" in str(refused.value)


@pytest.mark.parametrize(
    ("url", "environment", "key"),
    [
        ("https://api.openai.com/v1", {}, None),
        ("https://api.openai.com/v1", {"OPENAI_API_KEY": "o"}, "o"),
        ("https://api.openai.com/v1", {"OPENAI_API_KEY": "o", "THEWORLD_JUDGE_API_KEY": "t"}, "t"),
        ("http://127.0.0.1:8000/v1", {"OPENAI_API_KEY": "o"}, "o"),
        ("http://judge.example:8000/v1", {"OPENAI_API_KEY": "o"}, None),
        ("http://judge.example:8000/v1", {"THEWORLD_JUDGE_API_KEY": "t"}, "t"),
    ],
)
def test_a_key_comes_from_the_environment_and_one_for_elsewhere_is_not_sent_in_the_open(url, environment, key):
    assert key_for(url, environment) == key


@pytest.mark.parametrize("key", ["a b", "a\nb", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key):
    with pytest.raises(JudgeUnusableError, match="THEWORLD_JUDGE_API_KEY: not a key") as caught:
        key_for("https://api.openai.com/v1", {"THEWORLD_JUDGE_API_KEY": key})
    assert key not in str(caught.value)
