"""The page answers a question twice, step by step, and encodes its picture once."""

from typing import Any

import pytest

pytest.importorskip("av", reason="the extra `app` is not installed")

from fixtures_model import IMAGE_TOKENS, WORLD_TOKENS, picture
from theworld import TheWorld
from theworld.config.serving import AppSettings
from theworld.serving.refusals import RequestError
from theworld.serving.web.demo_answer import DemoQuestion, TwoAnswers
from theworld.serving.web.uploads import Clip, read_scene

SETTINGS = AppSettings(max_new_tokens=6, num_looks=4)


def events_of(answers: TwoAnswers, clip: Clip, question: str = "Which bin?", name: str = "one") -> list[dict[str, Any]]:
    """Return all events of one question."""
    events: list[dict[str, Any]] = []
    answers.answer(DemoQuestion(name, clip, question, 0, events.append))
    return events


def answer_of(events: list[dict[str, Any]], side: str) -> dict[str, Any]:
    (answer,) = [event for event in events if event["is"] == "answer" and event["side"] == side]
    return answer


@pytest.fixture
def answers(fused: TheWorld) -> TwoAnswers:
    return TwoAnswers(fused, SETTINGS)


def test_the_answers_are_those_of_generate_with_and_without_the_world(
    answers: TwoAnswers, fused: TheWorld, world_off: TheWorld
):
    events = events_of(answers, Clip((picture(1),)))
    for side, model in (("without", world_off), ("with", fused)):
        whole = model.generate(picture(1), "Which bin?", max_new_tokens=6, do_sample=False)
        assert answer_of(events, side)["text"] == whole
        pieces = "".join(event["text"] for event in events if event["is"] == "piece" and event["side"] == side)
        assert pieces
        assert whole.startswith(pieces)
    assert fused.config.enable_world
    assert fused.processor.enable_world


def test_events_come_in_the_order_in_which_things_happen(answers: TwoAnswers):
    events = events_of(answers, Clip((picture(1),)))
    kinds = [event["is"] for event in events if event["is"] != "piece"]
    assert kinds == ["stage", "stage", "answer", "stage", "stage", "stage", "answer", "future", "attention", "done"]
    stages = [(event["side"], event["name"]) for event in events if event["is"] == "stage"]
    assert stages == [
        ("without", "reading"),
        ("without", "writing"),
        ("with", "imagining"),
        ("with", "reading"),
        ("with", "writing"),
    ]


def test_tokens_are_counted_by_kind(answers: TwoAnswers):
    events = events_of(answers, Clip((picture(1),)))
    without, with_world = (answer_of(events, side)["tokens"] for side in ("without", "with"))
    assert (without["image"], without["world"]) == (IMAGE_TOKENS, 0)
    assert (with_world["image"], with_world["world"]) == (IMAGE_TOKENS, WORLD_TOKENS)
    assert with_world["text"] == without["text"] + 2  # the two markers


def test_a_second_question_about_a_picture_encodes_nothing_again(answers: TwoAnswers, fused: TheWorld, monkeypatch):
    events_of(answers, Clip((picture(1),)))
    monkeypatch.setattr(fused, "read_world", lambda *args: pytest.fail("the world was read again"))
    monkeypatch.setattr(fused, "look", lambda *args: pytest.fail("the picture was read again"))
    events = events_of(answers, Clip((picture(1),)), "Left or right?")
    assert [(stage["name"], stage["remembered"]) for stage in answer_of(events, "with")["stages"]] == [
        ("imagining", True),
        ("reading", True),
        ("writing", False),
    ]


def test_the_oldest_look_is_dropped(answers: TwoAnswers):
    for name in ("one", "two", "three"):  # two looks each; four are kept
        events_of(answers, Clip((picture(1),)), name=name)
    again = {name: events_of(answers, Clip((picture(1),)), name=name) for name in ("three", "one")}
    remembered = {name: answer_of(events, "with")["stages"][0]["remembered"] for name, events in again.items()}
    assert remembered == {"three": True, "one": False}


def test_the_reason_for_a_hidden_future_is_reported(answers: TwoAnswers):
    (future,) = [event for event in events_of(answers, Clip((picture(1),))) if event["is"] == "future"]
    assert future["imagined"] is None
    assert future["sentence"].startswith("tap 'vae' imagines no video")


@pytest.mark.parametrize("tap", [{"world_tap": "rollout"}, {"world_tap": "dit", "dit_block": 1}])
def test_the_page_draws_what_the_world_imagines_once_whatever_the_model_reads(tap: dict[str, Any]):
    model = TheWorld.from_pretrained("tiny", num_world_steps=1, num_inference_steps=2, **tap)
    answers, drawn = TwoAnswers(model, SETTINGS), []
    for question in ("Which bin?", "Left or right?"):
        events: list[Any] = []
        answers.answer(DemoQuestion("one", Clip((picture(1),)), question, 1, events.append))
        (future,) = [event for event in events if event["is"] == "future"]
        drawn.append(future["imagined"])
        assert (future["num_given"], future["num_frames"], future["sentence"]) == (1, 5, "")
    assert drawn[0] is not None
    assert drawn[0] == drawn[1]


def test_a_future_that_cannot_be_drawn_leaves_the_answers(monkeypatch: pytest.MonkeyPatch):
    model = TheWorld.from_pretrained("tiny", num_world_steps=1, world_tap="dit", dit_block=1)

    def no_memory(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("theworld.serving.web.demo_answer.future_latents", no_memory)
    events: list[Any] = []
    TwoAnswers(model, SETTINGS).answer(DemoQuestion("one", Clip((picture(1),)), "Which bin?", 1, events.append))

    (future,) = [event for event in events if event["is"] == "future"]
    assert (future["imagined"], future["sentence"]) == (
        None,
        "the future could not be drawn; the server's log says why",
    )
    assert answer_of(events, "with")["text"]
    assert events[-1]["is"] == "done"


def test_a_question_about_a_scene_is_scored_whatever_its_white_space(answers: TwoAnswers):
    scene = read_scene("drop", 0, 64, 5)
    known = answer_of(events_of(answers, scene, f" {scene.questions[0].text}\n"), "with")
    assert known["right"] in (True, False)
    assert answer_of(events_of(answers, scene, "Why?"), "with")["right"] is None


def test_an_unsupported_number_of_steps_is_reported(answers: TwoAnswers):
    events: list[Any] = []
    answers.answer(DemoQuestion("one", Clip((picture(1),)), "Which bin?", 3, events.append))
    assert isinstance(events[-1], RequestError)
    assert "num_world_steps=3 needs a tap that looks ahead" in str(events[-1])
    assert answers.model.config.enable_world


def test_a_failure_of_the_model_is_logged_with_its_traceback(
    answers: TwoAnswers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(answers.model, "look", fail)
    events: list[Any] = []
    answers.answer(DemoQuestion("one", Clip((picture(1),)), "Which bin?", 0, events.append))
    assert str(events[-1]) == "the model failed on this question; the server's log says why"
    assert "in fail" in caplog.text
    assert "RuntimeError: out of memory" in caplog.text


def test_a_cancelled_question_ends_at_its_next_step(answers: TwoAnswers):
    events: list[dict[str, Any]] = []

    def leave(event: dict[str, Any]) -> None:
        events.append(event)
        question.cancelled = event["is"] == "piece"

    question = DemoQuestion("one", Clip((picture(1),)), "Which bin?", 0, leave)
    answers.answer(question)
    assert events[-1]["is"] == "piece"
    assert answers.model.config.enable_world


def test_a_model_without_a_world_answers_once(world_off: TheWorld):
    events = events_of(TwoAnswers(world_off, SETTINGS), Clip((picture(1),)))
    assert [event["side"] for event in events if event["is"] == "answer"] == ["without"]
    assert events[-1]["is"] == "done"
