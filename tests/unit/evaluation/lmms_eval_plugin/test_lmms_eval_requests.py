"""Requests of lmms-eval become samples and decoding without anything lost, added or guessed."""

import pytest
from PIL import Image

from theworld.datasets.sample import Turn
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


@pytest.mark.parametrize(
    ("messages", "named"),
    [
        ([user({"type": "video", "url": "film.mp4"}, "What happens?")], "a video ('film.mp4')"),
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
