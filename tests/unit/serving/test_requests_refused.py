"""Refused requests: each gets its status, its code and a message, and the server goes on."""

import time

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client", "openai"):
    pytest.importorskip(extra, reason="the extra `serve`, or the client that asks it, is not installed")

import httpx2
import openai
from served_model import as_url, asked, body, bomb, data_url, served, shown

from fixtures_model import picture
from theworld.config.serving import ServeSettings
from theworld.serving.inputs import Preparer
from theworld.serving.protocol import NEUTRAL, WITHOUT_EFFECT
from theworld.serving.refusals import RequestError

LIMITS = ServeSettings(
    model="test",
    max_images=2,
    max_image_bytes=20_000,
    max_image_pixels=10_000,
    max_prompt_tokens=300,
    max_new_tokens=100,
    default_new_tokens=10,
)


@pytest.fixture(scope="module")
def prepare(fused):
    preparer = Preparer(fused, LIMITS, "test")
    return lambda content: preparer(content, lambda event: None)


def pictures(*urls):
    return [{"role": "user", "content": [*shown(*urls), {"type": "text", "text": "Which bin?"}]}]


def messages(*roles):
    return [{"role": role, "content": "Which bin?"} for role in roles]


PICTURE = data_url(picture(1))

# Fields of the request, the expected code, and words of the message.
REFUSED = {
    "an address": ({"messages": pictures("https://example.com/a.png")}, "unsupported_image_url", "only data URLs"),
    "an address of the machine": ({"messages": pictures("http://127.0.0.1/a")}, "unsupported_image_url", "opens no"),
    "a file": ({"messages": pictures("file:///etc/passwd")}, "unsupported_image_url", "'file:///etc/passwd'"),
    "a path": ({"messages": pictures("/etc/passwd")}, "unsupported_image_url", "opens no addresses and no files"),
    "a data URL of text": ({"messages": pictures("data:text/plain;base64,aGk=")}, "unsupported_image_url", "data URLs"),
    "a data URL without base64": ({"messages": pictures("data:image/png,abc")}, "unsupported_image_url", "data URLs"),
    "no base64": ({"messages": pictures("data:image/png;base64,a*b")}, "invalid_image", "not base64"),
    "no picture": ({"messages": pictures(as_url(b"no picture"))}, "invalid_image", "not a readable picture"),
    "nothing": ({"messages": pictures(as_url(b""))}, "invalid_image", "not a readable picture"),
    "half a picture": ({"messages": pictures(PICTURE[:2022])}, "invalid_image", "not a readable picture"),
    "a picture of another format": ({"messages": pictures(data_url(picture(1), "TIFF"))}, "invalid_image", "PNG, JPEG"),
    "a line": ({"messages": pictures(data_url(picture(1, 300, 2)))}, "invalid_image", "sides at most"),
    "too many pixels": ({"messages": pictures(bomb(101, 100))}, "image_too_large", "101 x 100 px"),
    "a decompression bomb": (
        {"messages": pictures(bomb(30_000, 30_000))},
        "image_too_large",
        "pixels: expected at most 10,000",
    ),
    "too many bytes": ({"messages": pictures(as_url(b"0" * 20_010))}, "image_too_large", "20,010 bytes"),
    "too many pictures": ({"messages": pictures(*[PICTURE] * 3)}, "too_many_images", "3 pictures: expected at most 2"),
    "too many tokens": ({"messages": asked("word " * 300)}, "context_length_exceeded", "expected at most 300"),
    "too many characters": ({"messages": asked("a" * 9601)}, "context_length_exceeded", "9,601 characters"),
    "too long an answer": ({"max_tokens": 101}, "invalid_value", "expected at most 100"),
    "no tokens": ({"max_tokens": 0}, "invalid_value", "max_tokens"),
    "a cut of the words": ({"top_k": 1}, "unsupported_value", "top_k is not served: drop it, or give -1"),
    "a penalty of a vLLM client": (
        {"repetition_penalty": 1.1},
        "unsupported_value",
        "repetition_penalty is not served",
    ),
    "two answers": ({"n": 2}, "unsupported_value", "n is not served"),
    "tools": ({"tools": [{"type": "function"}]}, "unsupported_value", "tools is not served"),
    "log-probabilities": ({"logprobs": True}, "unsupported_value", "logprobs is not served"),
    "an unknown field": ({"temprature": 1.0}, "invalid_value", "temprature: unknown field"),
    "another model": ({"model": "gpt-4o"}, "model_not_found", "expected 'test'"),
    "heat": ({"temperature": 2.5}, "invalid_value", "temperature"),
    "next to no heat": ({"temperature": 1e-5}, "invalid_value", "expected 0 (greedy)"),
    "no mass": ({"top_p": 0}, "invalid_value", "top_p"),
    "an endless seed": ({"seed": 2**70}, "invalid_value", "seed"),
    "five stop texts": ({"stop": list("abcde")}, "invalid_value", "at most 4 texts"),
    "an empty stop text": ({"stop": ""}, "invalid_value", "1 to 200 characters"),
    "no messages": ({"messages": []}, "invalid_value", "messages"),
    "a system alone": ({"messages": messages("system")}, "invalid_value", "expected [system,] user"),
    "two users": ({"messages": messages("user", "user")}, "invalid_value", "['user', 'user']"),
    "an answer last": ({"messages": messages("user", "assistant")}, "invalid_value", "..., user"),
    "a tool's message": ({"messages": messages("user", "tool")}, "invalid_value", "messages.1.role"),
    "a message without content": ({"messages": [{"role": "user", "content": None}]}, "invalid_value", "content"),
    "a message of no parts": ({"messages": [{"role": "user", "content": []}]}, "invalid_value", "without content"),
    "sound": (
        {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        "invalid_value",
        "messages.0.content.0.type: should be 'text' or",
    ),
    "a picture as text": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": PICTURE}]}]},
        "invalid_value",
        "messages.0.content.0.image_url: should be an object",
    ),
    "a detail of another name": (
        {"messages": [{"role": "user", "content": [{**shown(PICTURE)[0], "cache": 1}]}]},
        "invalid_value",
        "messages.0.content.0.cache: unknown field",
    ),
    "a picture without a URL": (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "invalid_value",
        "messages.0.content.0.image_url.url: missing",
    ),
    "a part without text": (
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        "invalid_value",
        "messages.0.content.0.text: missing",
    ),
    "a part without a type": (
        {"messages": [{"role": "user", "content": [{"text": "a"}]}]},
        "invalid_value",
        "messages.0.content.0.type: missing",
    ),
    "true for one answer": ({"n": True}, "unsupported_value", "n is not served"),
    "true for no penalty": ({"frequency_penalty": False}, "unsupported_value", "frequency_penalty is not served"),
    "one for true": ({"logprobs": 0}, "unsupported_value", "logprobs is not served"),
    "true as a length": ({"max_tokens": True}, "invalid_value", "max_tokens: should be a valid integer"),
    "true as a temperature": ({"temperature": True}, "invalid_value", "temperature: should be a valid number"),
    "a system's picture": (
        {"messages": [{"role": "system", "content": shown(PICTURE)}, *messages("user")]},
        "invalid_value",
        "only a user shows pictures",
    ),
    "a K that the tap cannot serve": (
        {"messages": pictures(PICTURE), "num_world_steps": 4},
        "invalid_value",
        "needs a tap that looks ahead",
    ),
    "a K without a picture": ({"num_world_steps": 0}, "invalid_value", "num_world_steps without a picture"),
    "a share of the mass for a greedy answer": ({"top_p": 0.9}, "invalid_value", "top_p=0.9 without temperature"),
    "options of a stream without one": (
        {"stream_options": {"include_usage": True}},
        "invalid_value",
        "stream_options without stream",
    ),
    "two lengths": ({"max_tokens": 5, "max_completion_tokens": 6}, "invalid_value", "give one of them"),
    "a K without a world": ({"world": False, "num_world_steps": 1}, "invalid_value", "without the world"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_unsupported_request_is_refused(case, prepare):
    fields, code, words = REFUSED[case]
    with pytest.raises(RequestError) as refused:
        prepare(body(**fields))
    assert refused.value.code == code
    assert words in str(refused.value)
    assert refused.value.status == (404 if code == "model_not_found" else 400)
    assert len(str(refused.value)) < 400  # the message quotes no picture


ODD_BODIES = [
    b"",
    b"{",
    b"[]",
    b"\xff",
    b'{"a": NaN}',
    b"[" * 100_000,
    b'{"n": 1, "n": 1}',
    b'{"messages": [{"role": "user", "role": "user", "content": "a"}]}',
    b'{"stream_options": {"a": 1, "\\u0061": 2}}',
]


@pytest.mark.parametrize("content", ODD_BODIES)
def test_a_body_other_than_a_json_object_is_refused(content, prepare):
    with pytest.raises(RequestError) as refused:
        prepare(content)
    assert refused.value.code == "invalid_json"


CONTENT = PICTURE.partition(",")[2]
LINES = "\n".join(CONTENT[start : start + 76] for start in range(0, len(CONTENT), 76))
ACCEPTED = {
    "an unknown suffix": f"data:application/octet-stream;base64,{CONTENT}",
    "no media type": f"data:;base64,{CONTENT}",
    "upper case": f"DATA:IMAGE/PNG;BASE64,{CONTENT}",
    "parameters": f'data:image/png;name="a_b.png";charset=utf-8;base64,{CONTENT}',
    "lines": f"data:image/png;base64,{LINES}\n",
    "white space": f"data:image/png;base64, {CONTENT}\r\n ",
    "the URL-safe alphabet": f"data:image/png;base64,{CONTENT.translate(str.maketrans('+/', '-_'))}",
    "no padding": f"data:image/png;base64,{CONTENT.rstrip('=')}",
}


@pytest.mark.parametrize("form", ACCEPTED)
def test_every_usual_form_of_a_data_url_is_the_same_picture(form, prepare):
    expected = prepare(body(messages=pictures(PICTURE))).row.inputs["pixel_values"]
    assert (prepare(body(messages=pictures(ACCEPTED[form]))).row.inputs["pixel_values"] == expected).all()


def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(prepare):
    content = b'{"metadata": [' + b"[]," * 5_000_000 + b"1]}"
    started = time.process_time()
    with pytest.raises(RequestError, match="10,000,002 commas and brackets: expected at most"):
        prepare(content)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_neutral_values_of_unsupported_fields_are_accepted(prepare, name):
    for value in NEUTRAL[name]:
        assert prepare(body(**{name: value})).row.options.max_new_tokens == 2


def test_options_without_effect_are_accepted(prepare):
    neutral = {
        **dict.fromkeys(sorted(WITHOUT_EFFECT), "any"),
        "stop": None,
        "seed": None,
        "top_p": 1,
        "stream_options": {"include_usage": False, "include_obfuscation": False},
        "max_completion_tokens": 2,
    }
    assert prepare(body(**neutral)).row.options.max_new_tokens == 2
    assert prepare(body(max_tokens=None)).row.options.max_new_tokens == 10


def test_a_server_without_a_world_says_so(world_off):
    preparer = Preparer(world_off, LIMITS, "test")
    with pytest.raises(RequestError, match="this server has none"):
        preparer(body(world=True), lambda event: None)
    assert preparer(body(world=False), lambda event: None).row.num_clips == 0


def test_prompt_and_answer_must_fit_into_the_model(fused):
    most = fused.config.get_text_config().max_position_embeddings
    preparer = Preparer(fused, ServeSettings(model="test", max_new_tokens=most), "test")
    with pytest.raises(RequestError, match=r"in all .*expected at most 8,192"):
        preparer(body(max_tokens=most), lambda event: None)


def test_a_refusal_reaches_the_client_in_openai_s_form(server):
    with pytest.raises(openai.BadRequestError) as refused:
        server.ask(pictures("https://example.com/a.png"))
    assert refused.value.code == "unsupported_image_url"
    assert refused.value.type == "invalid_request_error"
    assert "only data URLs are taken" in refused.value.message
    with pytest.raises(openai.BadRequestError):
        server.ask(asked("Which bin?"), n=2, stream=True)
    assert server.value("theworld_errors_total", code="unsupported_image_url") >= 1
    assert server.ask(asked("Which bin?"), max_tokens=1).choices


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/v1/chat/completions", 405, "method_not_allowed"), ("POST", "/v1/completions", 404, "not_found")],
)
def test_another_route_is_refused_in_the_same_form(method, path, status, code, server):
    response = httpx2.request(method, f"{server.address}{path}")
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_a_body_of_another_kind_is_refused(server):
    address = f"{server.address}/v1/chat/completions"
    response = httpx2.post(address, content=body(), headers={"content-type": "text/plain"})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_media_type_may_have_parameters(server):
    address, kind = f"{server.address}/v1/chat/completions", "application/json; charset=utf-8"
    assert httpx2.post(address, content=body(), headers={"content-type": kind}, timeout=120).status_code == 200


def test_a_body_that_is_too_large_is_not_read_to_its_end(fused):
    with served(fused, max_request_bytes=1000) as running:
        with pytest.raises(openai.APIStatusError) as refused:
            running.ask(asked("word " * 300))
        assert (refused.value.status_code, refused.value.code) == (413, "request_too_large")
