"""Questions have one right answer, which the scene decides and the text does not give away."""

import re

from theworld.foresight.items import Item
from theworld.foresight.questions import STATIC_KINDS, Question, dynamic_question, static_questions
from theworld.foresight.scene import COLOURS


def asked_of(item: Item) -> dict[str, Question]:
    return {question.kind: question for question in static_questions(item)}


def test_the_dynamic_answer_is_the_colour_of_the_bin_that_the_ball_ends_in(items):
    for item in items:
        question = dynamic_question(item)
        x = float(item.positions[-1, 0, 0])
        assert question.answer == item.scene.bins[int(x * 3)]
        assert question.place == ("left", "middle", "right")[int(x * 3)]
        assert set(question.choices) == set(item.scene.bins)


def test_the_dynamic_question_reads_like_this(items):
    item = items[0]
    colours = sorted(item.scene.bins)
    expected = f"{colours[0]}, {colours[1]} or {colours[2]}"
    assert dynamic_question(item).text == (
        f"In which bin does the ball come to rest: {expected}? Answer with one word."
    )


def test_static_answers_follow_from_the_scene_description_alone(items):
    for item in items:
        scene, questions = item.scene, asked_of(item)
        place = ("left", "middle", "right")[int(scene.ball.x * 3)]
        assert questions["ball_colour"].answer == scene.ball.colour
        assert [questions[f"{side}_bin"].answer for side in ("left", "middle", "right")] == list(scene.bins)
        assert questions["ball_place"].answer == place
        assert questions["bin_below"].answer == scene.bins[int(scene.ball.x * 3)]
        assert questions["num_planks"].answer == {1: "one", 2: "two", 3: "three"}[len(scene.planks)]


def test_there_is_one_static_question_of_each_kind(items):
    assert tuple(question.kind for question in static_questions(items[0])) == STATIC_KINDS


def test_answers_are_plain_words_among_the_choices_and_the_text_says_how_to_answer(items):
    for item in items:
        for question in (dynamic_question(item), *static_questions(item)):
            assert re.fullmatch("[a-z]+", question.answer)
            assert question.choices.count(question.answer) == 1
            assert question.text.endswith(" Answer with one word.")
            listed = all(choice in question.text for choice in question.choices)
            assert listed or question.choices == COLOURS


def test_choices_stand_in_the_order_of_the_alphabet_not_of_the_picture(items):
    assert all(list(dynamic_question(item).choices) == sorted(item.scene.bins) for item in items)
    assert any(dynamic_question(item).choices != item.scene.bins for item in items)


def test_static_answers_vary(items):
    for kind in STATIC_KINDS:
        assert len({asked_of(item)[kind].answer for item in items}) >= 3
