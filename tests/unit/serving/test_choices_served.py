"""`world: "auto"` over HTTP: one of the choices, with the world only where the answer without it is unsure."""

from typing import Any

import pytest

for extra in ("uvicorn", "starlette", "prometheus_client", "openai"):
    pytest.importorskip(extra, reason="the extra `serve`, or the client that asks it, is not installed")

import openai
from served_model import asked, body, data_url, served, shown

from fixtures_model import picture
from theworld.config.serving import ServeSettings
from theworld.modeling import TheWorld
from theworld.modeling.world_gate import AutoAnswer
from theworld.serving.inputs import Preparer
from theworld.serving.refusals import RequestError

CHOICES = ["blue", "dark green", "red"]


def auto(fused: TheWorld, threshold: Any) -> AutoAnswer:
    return fused.generate(picture(1), "Which bin?", world="auto", choices=CHOICES, auto_threshold=threshold)


def test_a_request_gets_the_choice_that_generate_gives_and_learns_if_the_world_was_asked(
    server: Any, fused: TheWorld
) -> None:
    margin = auto(fused, 0).margin

    def num_asked() -> float:
        return server.value("theworld_clips_read_total") + server.value("theworld_reuse_hits_total", kind="world")

    before = num_asked()
    for threshold, clips in ((0, 0), (margin * 0.9, 0), (margin * 1.1, 1), ("always", 1)):
        extra = {"world": "auto", "choices": CHOICES, "auto_threshold": threshold}
        completion = server.ask(asked("Which bin?", 1), extra_body=extra)
        expected = auto(fused, threshold)
        assert completion.choices[0].message.content == expected.answer
        assert completion.choices[0].finish_reason == "stop"
        assert completion.world["imagined"] is expected.imagined is bool(clips)
        assert completion.world["clips_read"] == clips
        assert completion.world["num_world_steps"] == (0 if clips else None)
        assert completion.world["margin"] == pytest.approx(margin, abs=1e-4)
    assert num_asked() == before + 2
    assert fused.config.enable_world


def test_an_answer_with_the_world_counts_its_tokens(server: Any) -> None:
    def tokens(threshold: Any) -> int:
        extra = {"world": "auto", "choices": CHOICES, "auto_threshold": threshold}
        return server.ask(asked("Which bin?", 1), extra_body=extra).usage.prompt_tokens

    assert tokens("always") - tokens(0) == 64 + 2  # a slot, and its two markers


def test_a_stream_has_the_whole_choice_and_says_if_the_world_was_asked(server: Any) -> None:
    extra = {"world": "auto", "choices": CHOICES, "auto_threshold": "always"}
    whole = server.ask(asked("Which bin?", 1), extra_body=extra)
    chunks = list(server.ask(asked("Which bin?", 1), stream=True, extra_body=extra))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].world == whole.world


def test_choices_about_several_turns_and_pictures_are_weighed_beside_other_requests(server: Any) -> None:
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "One:"}, *shown(data_url(picture(1)))]},
        {"role": "assistant", "content": "Seen."},
        {"role": "user", "content": [*shown(data_url(picture(2)))]},
    ]
    extra = {"world": "auto", "choices": CHOICES, "auto_threshold": "always"}
    requests = [
        {"messages": turns, "extra_body": extra},
        {"messages": asked("Which bin?", 1), "max_tokens": 3},
        {"messages": asked("Which bin?", 1), "extra_body": extra},
    ]
    answers = server.at_once(requests)
    assert [answer.world["clips_read"] for answer in answers] == [2, 1, 1]
    assert answers[0].choices[0].message.content in CHOICES
    for request, answer in zip(requests, answers, strict=True):
        assert server.ask(**request).choices[0].message.content == answer.choices[0].message.content


@pytest.fixture(scope="module")
def prepare(fused: TheWorld) -> Any:
    preparer = Preparer(fused, ServeSettings(model="test", max_new_tokens=20, default_new_tokens=10), "test")
    return lambda content: preparer(content, lambda event: None)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"choices": None}, "world='auto' needs choices"),
        ({"choices": ["red"]}, "1 choices: expected 2 to 32"),
        ({"choices": ["red"] * 33}, "33 choices: expected 2 to 32"),
        ({"choices": ["red", ""]}, "choice '': expected a text that is not empty"),
        ({"choices": ["red", "red"]}, "choice 'red' twice: give each once"),
        ({"choices": ["red", "word " * 30]}, "tokens: expected at most 2"),
        ({"choices": ["red", "x" * 300_000]}, "a prompt of "),
        ({"auto_threshold": None}, "needs a threshold, and the checkpoint has none"),
        ({"auto_threshold": -1}, "auto_threshold=-1.0: expected a margin of 0 or more"),
        ({"auto_threshold": "often"}, "auto_threshold: "),
        ({"world": "on"}, "world: "),
        ({"world": True}, "choices without world='auto': give both, or drop it"),
        ({"world": True, "choices": None}, "auto_threshold without world='auto'"),
        ({"temperature": 1.0}, "temperature with world='auto'"),
        ({"top_p": 0.5}, "top_p with world='auto'"),
        ({"seed": 0}, "seed with world='auto'"),
        ({"stop": "x"}, "stop with world='auto'"),
        ({"messages": asked("Which bin?")}, "without a picture: there is nothing to imagine"),
    ],
)
def test_what_cannot_be_weighed_is_refused(fields: dict[str, Any], message: str, prepare: Any) -> None:
    given = {"world": "auto", "choices": CHOICES, "auto_threshold": 1.0, "messages": asked("Which bin?", 1), **fields}
    with pytest.raises(RequestError) as error:
        prepare(body(**given))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_server_without_a_world_and_one_whose_checkpoint_has_a_threshold(
    fused: TheWorld, world_off: TheWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"world": "auto", "choices": CHOICES}
    with served(world_off) as running, pytest.raises(openai.BadRequestError, match="this server has none"):
        running.ask(asked("Which bin?", 1), extra_body=extra)
    monkeypatch.setattr(fused.config, "auto_threshold", "always")
    with served(fused) as running:
        assert running.ask(asked("Which bin?", 1), extra_body=extra).world["imagined"] is True
