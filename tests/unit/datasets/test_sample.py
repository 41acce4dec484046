"""A sample: turns in order, and one clip for each future."""

import pytest

from theworld.datasets import Sample, Turn, question


def test_a_question_with_its_answer():
    sample = question("a", ["p.png"], "Which bin?", "red", fields={"task": "drop"})
    assert sample.answer == "red"
    assert [turn.text for turn in sample.prompt] == ["Which bin?"]
    assert (sample.num_clips, sample.fields) == (1, {"task": "drop"})


def test_a_question_without_an_answer():
    sample = question("a", [], "Which bin?")
    assert sample.answer is None
    assert sample.prompt == sample.turns
    assert sample.num_clips == 0


def test_the_prompt_of_several_turns_ends_with_the_last_question():
    turns = (Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d"))
    assert [turn.text for turn in Sample("a", turns).prompt] == ["a", "b", "c"]


@pytest.mark.parametrize("roles", [[], ["assistant"], ["user", "user"], ["user", "assistant", "assistant"]])
def test_turns_out_of_order_are_refused(roles):
    with pytest.raises(ValueError, match="sample 'a': turns must go user, assistant, user"):
        Sample("a", tuple(Turn(role, "text") for role in roles))


def test_clips_take_the_place_of_pictures_and_each_needs_its_own_future():
    turns = (Turn("user", "Hi"),)
    assert Sample("a", turns, ("p",), clips=(["f"] * 5, ["g"] * 5)).num_clips == 2
    with pytest.raises(ValueError, match="sample 'a': 1 futures for 2 clips"):
        Sample("a", turns, ("p", "q"), future=(["f"] * 4,))
