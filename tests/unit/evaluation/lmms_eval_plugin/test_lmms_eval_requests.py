"""Requests of lmms-eval become samples and decoding without anything lost, added or guessed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fixtures_clips import Decoder, film, frames_of
from theworld.datasets.sample import Turn
from theworld.datasets.video import ClipRule, read_clip
from theworld.evaluation.lmms_eval.requests import DEFAULT_MAX_NEW_TOKENS, to_decoding, to_sample

RED, BLUE = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))


def user(*parts: object, **rest: object) -> dict[str, object]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content, **rest}


def image(picture: Image.Image) -> dict[str, object]:
    return {"type": "image", "url": picture}


def test_several_pictures_keep_their_order_and_each_is_a_clip_of_one_frame() -> None:
    sample = to_sample([user("First:", image(RED), "second:", image(BLUE), "Which is red?")], "task/test/0")

    assert sample.images == (RED, BLUE)
    assert sample.turns == (Turn("user", "First:\nsecond:\nWhich is red?"),)
    assert (sample.clips, sample.num_clips, sample.id) == (None, 2, "task/test/0")


def test_text_alone_is_a_question_without_a_picture() -> None:
    sample = to_sample([{"role": "user", "content": "What is 2 + 2?"}], "a")

    assert (sample.images, sample.prompt[-1].text) == ((), "What is 2 + 2?")


def test_a_system_message_stands_before_the_first_question() -> None:
    system = {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}

    assert to_sample([system, user("Why?")], "a").turns == (Turn("user", "Be brief.\n\nWhy?"),)


def test_turns_of_a_conversation_stay_turns_and_messages_of_one_role_are_joined() -> None:
    answered = {"role": "assistant", "content": [{"type": "text", "text": "red"}]}

    sample = to_sample([user(image(RED), "Colour?"), answered, user("Sure?"), user("Say why.")], "a")

    assert sample.turns == (Turn("user", "Colour?"), Turn("assistant", "red"), Turn("user", "Sure?\nSay why."))


def test_a_list_of_frames_is_a_clip_of_which_the_model_itself_sees_the_last() -> None:
    clip = {"type": "video", "url": [RED, RED, RED, RED, BLUE]}

    sample = to_sample([user(clip, "And then?", num_world_steps=3)], "a")

    assert sample.images == (BLUE,)
    assert sample.clips == ([RED, RED, RED, RED, BLUE],)
    assert sample.num_world_steps == 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.mark.parametrize("form", [str, Path, Path.read_bytes, lambda path: Decoder(frames_of(path))])
def test_every_form_of_a_video_is_the_clip_that_the_model_reads(form: Callable[[Path], Any], clip: Path) -> None:
    rule = ClipRule(6.0, 9, 2)

    sample = to_sample([user({"type": "video", "url": form(clip)}, "And then?")], "a", rule)

    expected = read_clip(clip, rule)
    assert sample.clips == (list(expected.frames),)
    assert sample.images == expected.shown
    assert (len(sample.images), len(expected.frames)) == (2, 9)


def test_a_picture_beside_a_video_is_repeated(clip: Path) -> None:
    sample = to_sample([user(image(RED), {"type": "video", "url": str(clip)}, "Which?")], "a")

    assert sample.clips is not None
    assert [len(frames) for frames in sample.clips] == [5, 5]
    assert list(sample.clips[0]) == [RED] * 5
    assert sample.shape == ((5,), None)


@pytest.mark.parametrize("times", [("start_time", "end_time"), ("video_start", "video_end")])
def test_a_task_may_cut_its_video(times: tuple[str, str], clip: Path) -> None:
    cut: dict[str, object] = dict(zip(times, (0.5, 1.0), strict=True))
    part: dict[str, object] = {"type": "video", "url": str(clip), **cut}
    if times[0] == "video_start":  # as the harness passes a visual with times
        part = {"type": "video", "url": {"type": "video", "path": str(clip), **cut}}

    sample = to_sample([user(part, "And then?")], "a", ClipRule(6.0))

    assert sample.clips == (list(read_clip(clip, ClipRule(6.0), start_s=0.5, end_s=1.0).frames),)


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([user({"type": "video", "url": "film.mp4"}, "What happens?")], "film.mp4: no such file"),
        (
            [user({"type": "video", "url": {"video_path": "a.mp4", "timestep": 3}}, "What?")],
            "a video given by video_path, timestep: expected url or path",
        ),
        ([user({"type": "video", "url": []}, "What happens?")], "a video given as no frames"),
        ([user({"type": "audio", "url": "noise.wav"}, "What is heard?")], "'audio'"),
        ([user("One."), {"role": "assistant", "content": "two"}, user(image(RED), "Three?")], "later turn"),
        ([{"role": "assistant", "content": "hello"}], "turns must go user"),
        ([], "turns must go user"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_name(messages: list[dict[str, object]], named: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        to_sample(messages, "task/test/7")

    assert named in str(error.value)
    assert "task/test/7" in str(error.value)


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, {"do_sample": False}),
        ({"temperature": 0, "do_sample": True, "top_p": 0.9}, {"do_sample": False}),
        ({"temperature": 0.0, "num_beams": 1}, {"do_sample": False}),
        ({"temperature": 0.7, "top_p": 0.9, "top_k": None}, {"do_sample": True, "temperature": 0.7, "top_p": 0.9}),
        ({"temperature": 0.7, "do_sample": False}, {"do_sample": False}),
        ({"do_sample": True}, {"do_sample": True}),
        ({"num_beams": 3}, {"do_sample": False, "num_beams": 3}),
    ],
)
def test_temperature_decides_between_sampling_and_greedy(given: dict[str, object], options: dict[str, object]) -> None:
    decoding, ignored = to_decoding(given)

    assert dict(decoding.options) == options
    assert not ignored


def test_lengths_and_stops_are_taken_and_unknown_options_named() -> None:
    decoding, ignored = to_decoding({"max_new_tokens": 4, "until": "\n\n", "image_aspect_ratio": "pad"})

    assert (decoding.max_new_tokens, decoding.until, ignored) == (4, ("\n\n",), {"image_aspect_ratio"})
    assert to_decoding({})[0].max_new_tokens == DEFAULT_MAX_NEW_TOKENS


def test_stops_that_are_no_texts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"until=\[3\]: expected a text"):
        to_decoding({"until": [3]})


def test_a_reply_ends_at_the_first_of_its_stops() -> None:
    decoding, _ = to_decoding({"until": ["\n\n", "<end>", ""]})

    assert decoding.cut("red <end> or\n\nblue") == "red"
    assert decoding.cut("red or blue") == "red or blue"
