"""Alignment teaches to read true clips, and never shows a present picture with a later answer; labels do just that."""

import numpy as np
import pytest

from theworld.datasets.foresight import ForesightAlignment, ForesightLabels, draw, make_item
from theworld.datasets.foresight.dialogues import NUM_CONTROLS, NUM_QUESTIONS
from theworld.datasets.foresight.questions import dynamic_question, readings, static_questions, words_by_outcome


@pytest.fixture(scope="module")
def samples() -> ForesightAlignment:
    return ForesightAlignment("train", 10)


def test_a_sample_asks_how_its_clip_ends_for_readings_of_it_and_for_controls_of_the_other_picture(samples):
    for index in range(5):
        sample = samples[index]
        item = make_item("train", index // 5, samples.tasks[index % 5])
        pairs = asked_in(sample)
        read = pairs & {(reading.text, reading.answer) for reading in readings(item)}
        end = dynamic_question(item)

        assert len(sample.turns) == 2 * NUM_QUESTIONS
        assert (end.text, end.answer) in read
        assert len(pairs - read) == min(NUM_CONTROLS, len(static_questions(item)))
        if item.scene.task == "topple":  # whose scenes are found fastest
            assert pairs - read <= shown_by(sample, item)


def asked_in(sample) -> set[tuple[str, str]]:
    """Questions and answers of a conversation."""
    return {(turn.text, answer.text) for turn, answer in zip(sample.turns[::2], sample.turns[1::2], strict=True)}


def shown_by(sample, item) -> set[tuple[str, str]]:
    """The controls of the scene whose picture Gemma sees."""
    given = item.scene.num_given_frames
    others = (make_item("train", index, item.scene.task) for index in range(item.index + 1, item.index + 163))
    [other] = [
        one for one in others if draw(one.scene, one.poses[given - 1], 64).tobytes() == sample.images[0].tobytes()
    ]
    return {(control.text, control.answer) for control in static_questions(other)}


def test_gemma_sees_another_scene(samples):
    for index in range(10):
        sample = samples[index]
        item = make_item("train", index // 5, samples.tasks[index % 5])
        now = np.asarray(draw(item.scene, item.poses[item.scene.num_given_frames - 1], 64))

        assert not np.array_equal(np.asarray(sample.images[0]), now)
        assert np.array_equal(sample.clips[0][-1], now)


def test_clip_and_future_are_the_whole_of_seventeen_frames(samples):
    assert {len(samples[index].clips[0]) + len(samples[index].future[0]) for index in range(10)} == {17}
    assert [samples[index].shape for index in range(10)] == [samples.shape_of(index) for index in range(10)]


@pytest.mark.parametrize("split", ["world", "language"])
def test_what_must_not_see_what_follows_is_refused(split):
    for conversations in (ForesightAlignment, ForesightLabels):
        with pytest.raises(ValueError, match="serves no conversations"):
            conversations(split, 1)


def test_the_picture_of_another_scene_says_nothing_about_how_the_clip_ends():
    """Were the other scene a fixed step away, balanced outcomes would make it one that never ends alike."""
    samples = ForesightAlignment("test", 300, tasks=("topple",))
    pictures = {draw(item.scene, item.poses[0], 64).tobytes(): item for item in map(topple, range(270))}
    alike = [pictures[samples[index].images[0].tobytes()].outcome == topple(index).outcome for index in range(100)]

    assert 0.2 < np.mean(alike) < 0.47


def topple(index: int):
    return make_item("test", index, "topple")


def test_a_label_asks_for_the_outcome_among_controls_about_the_same_picture():
    samples = ForesightLabels("train", 10)
    places = []
    for index in range(10):
        sample = samples[index]
        item = make_item("train", index // 5, samples.tasks[index % 5])
        now = draw(item.scene, item.poses[item.scene.num_given_frames - 1], 64)
        end = dynamic_question(item)
        controls = {(control.text, control.answer) for control in static_questions(item)}

        assert sample.images[0].tobytes() == now.tobytes()
        assert asked_in(sample) <= controls | {(end.text, end.answer)}
        assert len(sample.turns) == 2 * (1 + min(NUM_CONTROLS, len(controls)))
        assert sample.future is None
        places.append([turn.text for turn in sample.turns].index(end.text))
    assert len(set(places)) > 1  # the outcome is not always asked first


def test_the_future_of_a_label_is_drawn_for_the_upper_bound_alone():
    sample = ForesightLabels("train", 1, with_future=True)[0]

    assert len(sample.clips[0]) + len(sample.future[0]) == 17


@pytest.mark.parametrize("asked", ["states", "facts"])
def test_alignment_without_outcomes_asks_neither_how_a_clip_ends_nor_without_states_what_the_last_slot_shows(asked):
    samples = ForesightAlignment("train", 10, asked=asked)
    ends, states = 0, 0
    for index in range(10):
        pairs = asked_in(samples[index])
        item = make_item("train", index // 5, samples.tasks[index % 5])
        end = dynamic_question(item)
        facts = {(fact.text, fact.answer) for fact in readings(item, with_states=False)}
        every = {(fact.text, fact.answer) for fact in readings(item)}

        ends += (end.text, end.answer) in pairs
        states += len(pairs & (every - facts))
        assert len(samples[index].turns) == 2 * NUM_QUESTIONS
        assert len(pairs & every) >= NUM_QUESTIONS - NUM_CONTROLS
    assert ends == 0
    assert (states > 0) == (asked == "states")


def test_conversations_begin_at_a_scene_of_a_whole_round():
    later, first = ForesightLabels("train", 5, first_scene=5), ForesightLabels("train", 10)

    assert later[0].id == first[5].id
    with pytest.raises(ValueError, match="first_scene=3: expected a multiple of 5"):
        ForesightLabels("train", 5, first_scene=3)


def test_words_by_outcome_hold_the_answer_at_the_number_of_the_outcome():
    for task in ("drop", "topple", "roll", "collide", "hide"):
        for index in range(4):
            item = make_item("test", index, task)
            assert words_by_outcome(item.scene)[item.outcome] == dynamic_question(item).answer
