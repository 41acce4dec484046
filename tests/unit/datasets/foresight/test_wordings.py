"""Wordings: many for each question, some held out; they change neither kind nor answer."""

import pytest

from theworld.datasets.foresight import ForesightDataset, ForesightLabels
from theworld.datasets.foresight.ground_truth import facts_of, listed, state_of
from theworld.datasets.foresight.items import make_film, make_item
from theworld.datasets.foresight.questions import dynamic_question, item_choice, readings
from theworld.datasets.foresight.scene import TASKS
from theworld.datasets.foresight.wordings import END_WORDINGS, FACT_WORDINGS, reworded, wordings_of

pytestmark = pytest.mark.usefixtures("unchecked")


def stem(text: str) -> str:
    return text.partition("?")[0].partition(": ")[0]


def test_every_question_about_the_future_has_twelve_wordings_and_four_are_held_out(task):
    question = dynamic_question(make_item("test", 0, task))
    trained, held_out = (wordings_of(question, task, part) for part in ("trained", "held-out"))
    assert len(trained) >= 8
    assert len(held_out) == 4
    assert {*trained, *held_out} == {*END_WORDINGS[task]}
    assert len({*END_WORDINGS[task]}) == len(END_WORDINGS[task]) >= 12
    assert stem(question.text) == trained[0]


def test_no_wording_contains_the_signs_that_end_it():
    for wordings in (*END_WORDINGS.values(), *FACT_WORDINGS):
        assert len({*wordings}) == len(wordings) >= 6
        for words in wordings:
            assert "?" not in words
            assert ":" not in words


def test_every_fact_can_be_reworded_and_keeps_its_answer(task):
    for index in range(15):
        scene, motion = make_film(5 * index + TASKS.index(task), "varied")
        frame = 4 * (index % 5)
        state = state_of(scene, motion.poses[frame])
        for question in (*facts_of(scene, motion.poses[frame]), *([state] if state else [])):
            for part in ("trained", "held-out"):
                again = reworded(question, task, f"{index}", part)
                assert (again.kind, again.choices, again.answer) == (question.kind, question.choices, question.answer)
                assert stem(again.text) in wordings_of(question, task, part)


def test_half_of_the_questions_list_their_choices_and_half_are_told_how_to_answer():
    question = dynamic_question(make_item("test", 0, "collide"))
    texts = [reworded(question, "collide", str(key)).text for key in range(300)]
    assert 110 < sum(listed(question.choices) in text for text in texts) < 190
    assert 110 < sum(text.endswith("Answer with one word.") for text in texts) < 190
    assert len({stem(text) for text in texts}) == 8


def test_training_never_asks_a_held_out_wording_and_a_test_can():
    trained = ForesightDataset("train", 10, 16, "both", tasks=("collide", "roll"), scenes="varied")
    held_out = ForesightDataset("test", 10, 16, tasks=("collide", "roll"), scenes="varied", wordings="held-out")
    labels = ForesightLabels("train", 4, 16, tasks=("collide", "roll"), scenes="varied")
    asked = [trained[i].turns[0].text for i in range(len(trained))]
    asked += [turn.text for i in range(4) for turn in labels[i].turns if turn.role == "user"]
    kept = {words for task in ("collide", "roll") for words in END_WORDINGS[task][-4:]}
    assert not {stem(text) for text in asked} & kept
    assert {stem(held_out[i].turns[0].text) for i in range(len(held_out))} <= kept
    with pytest.raises(ValueError, match="wordings='held-out': split 'train' is for training"):
        ForesightDataset("train", 10, scenes="varied", wordings="held-out")
    with pytest.raises(ValueError, match="use scenes='varied'"):
        ForesightDataset("test", 10, wordings="held-out")


def test_readings_and_letters_are_worded_too():
    item = make_item("train", 3, "collide", "varied")
    kinds = {question.kind for question in readings(item)}
    assert {"slot_0_left_ball", "slot_4_ball_half", "end"} & kinds
    lettered = item_choice(dynamic_question(item), item)
    assert lettered.text.endswith("Answer with the letter.")
    assert "(A)" in lettered.text
    assert ": yes or no" not in lettered.text


def test_plain_scenes_keep_their_wording():
    for task in TASKS:
        assert stem(dynamic_question(make_item("test", 0, task)).text) == END_WORDINGS[task][0]
