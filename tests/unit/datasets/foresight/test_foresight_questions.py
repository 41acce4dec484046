"""Questions have one right answer, which the scene decides and the text does not give away."""

import re
from collections import Counter, defaultdict

import numpy as np
import pytest

from theworld.datasets.foresight import collide, hide
from theworld.datasets.foresight.ground_truth import STATIC_KINDS, Question, state_of
from theworld.datasets.foresight.items import Item
from theworld.datasets.foresight.questions import (
    dynamic_question,
    item_choice,
    multiple_choice,
    readings,
    static_questions,
)
from theworld.datasets.foresight.scene import COLOURS, DIVIDER_TOP_Y, third

SIDES = ("left", "right", "neither")


def asked_of(item: Item) -> dict[str, Question]:
    return {question.kind: question for question in static_questions(item)}


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("drop", "In which bin does the ball come to rest: {0}, {1} or {2}? Answer with one word."),
        ("topple", "Which way does the tower fall: left, right or neither? Answer with one word."),
        ("roll", "Which ball reaches the floor first: {0} or {1}? Answer with one word."),
        ("collide", "Will the balls touch: yes or no? Answer with one word."),
        ("hide", "On which side of the screen does the ball come out: left, right or neither? Answer with one word."),
    ],
)
def test_the_dynamic_question_reads_like_this(items_of, task, text):
    item = items_of[task][0]
    colours = sorted(item.scene.bins or [ball.colour for ball in item.scene.balls])
    assert dynamic_question(item).text == text.format(*colours)


def test_the_dynamic_answer_is_what_the_last_frame_shows(items_of):
    for item in items_of["drop"]:
        assert dynamic_question(item).answer == item.scene.bins[int(item.poses[-1, 0, 0] * 3)]
        assert dynamic_question(item).place == ("left", "middle", "right")[item.outcome]
    for item in items_of["topple"]:
        shifts = item.poses[-1, :, 0] - item.poses[0, :, 0]
        fell = "neither" if abs(shifts).max() < 0.01 else SIDES[int(shifts[abs(shifts).argmax()] > 0)]
        assert dynamic_question(item).answer == fell
    for item in items_of["roll"]:
        assert dynamic_question(item).answer == item.scene.balls[int(item.poses[-1, :, 1].argmax())].colour
    for item in items_of["collide"]:
        gap = np.linalg.norm(np.diff(item.poses[-1, :, :2], axis=0)) - 0.1
        assert dynamic_question(item).answer == ("yes" if gap < 0.005 else "no")
    for item in items_of["hide"]:
        x, screen = item.poses[-1, 0, 0], item.scene.screen
        side = "left" if x < screen.left else "right" if x > screen.right else "neither"
        assert dynamic_question(item).answer == side


def test_the_state_of_the_last_picture_is_the_answer_to_the_question_about_the_future(items):
    for item in items:
        state = state_of(item.scene, item.poses[-1])
        assert state is not None
        assert state.answer == dynamic_question(item).answer
        assert state.kind != "end"


def test_static_answers_follow_from_the_scene_description_alone(items_of):
    for item in items_of["drop"]:
        scene, questions = item.scene, asked_of(item)
        assert questions["ball_colour"].answer == scene.ball.colour
        assert [questions[f"{side}_bin"].answer for side in ("left", "middle", "right")] == list(scene.bins)
        assert questions["ball_place"].answer == ("left", "middle", "right")[int(scene.ball.x * 3)]
        assert questions["bin_below"].answer == scene.bins[int(scene.ball.x * 3)]
        assert questions["num_planks"].answer == {1: "one", 2: "two", 3: "three"}[len(scene.planks)]
    for item in items_of["topple"]:
        blocks, questions = item.scene.blocks, asked_of(item)
        assert questions["num_blocks"].answer == {4: "four", 5: "five"}[len(blocks)]
        assert (questions["lowest_colour"].answer, questions["top_colour"].answer) == (
            blocks[0].colour,
            blocks[-1].colour,
        )
        assert questions["block_side"].answer == SIDES[int(blocks[-1].x > blocks[0].x)]
        named = re.findall("the ([a-z]+) block", questions["block_above"].text)
        above = named[0] == blocks[2].colour
        assert sorted(named) == sorted(block.colour for block in blocks[1:3])
        assert questions["block_above"].answer == ("above" if above else "below")
    for item in items_of["roll"]:
        (left, right), questions = item.scene.balls, asked_of(item)
        assert (questions["left_ball"].answer, questions["right_ball"].answer) == (left.colour, right.colour)
        assert questions["nearer_ball"].answer == (left if 0.5 - left.x < right.x - 0.5 else right).colour
        rises = [abs(plank.y1 - plank.y0) for plank in item.scene.planks[:2]]
        assert questions["steeper_ramp"].answer == SIDES[int(rises[1] > rises[0])]
    for item in items_of["hide"]:
        assert asked_of(item)["screen_colour"].answer == item.scene.screen.colour
        assert asked_of(item)["post"].answer == ("yes" if item.scene.planks else "no")


def test_controls_of_a_clip_are_about_its_last_given_frame(items_of):
    for item in items_of["collide"]:
        (first, second), poses, questions = item.scene.balls, item.poses[4], asked_of(item)
        assert questions["left_ball"].answer == (first if poses[0, 0] < poses[1, 0] else second).colour
        assert questions["higher_ball"].answer == (first if poses[0, 1] < poses[1, 1] else second).colour
        assert questions["ball_place"].answer == ("left", "middle", "right")[int(poses[0, 0] * 3)]
        assert questions["ball_half"].answer == ("upper" if poses[1, 1] < 0.5 else "lower")


def test_answers_are_plain_words_among_the_choices_and_the_text_says_how_to_answer(items):
    for item in items[:100]:
        for question in (dynamic_question(item), *static_questions(item), *readings(item)):
            assert re.fullmatch("[a-z]+", question.answer)
            assert question.choices.count(question.answer) == 1
            assert question.text.endswith("? Answer with one word.")
            listed = all(choice in question.text for choice in question.choices)
            assert listed or question.choices == COLOURS


@pytest.mark.parametrize("task", ["drop", "roll"])
def test_colours_stand_in_the_order_of_the_alphabet_not_of_the_picture(items_of, task):
    for item in items_of[task]:
        shown = item.scene.bins or tuple(ball.colour for ball in item.scene.balls)
        assert dynamic_question(item).choices == tuple(sorted(shown))


def test_static_answers_vary(items, task):
    asked = [asked_of(item) for item in items]
    for kind in STATIC_KINDS[task]:
        answers = Counter(questions[kind].answer for questions in asked)
        assert len(answers) >= 2
        assert answers.most_common(1)[0][1] / len(items) < 0.62


def test_readings_name_slots_and_end_with_the_question_about_the_future(items):
    numbers = ("one", "two", "three", "four", "five")
    for item in items[:60]:
        *facts, end = readings(item)
        assert end == dynamic_question(item)
        by_slot = defaultdict(set)
        for fact in facts:
            slot, kind = int(fact.kind[5]), fact.kind[7:]
            assert fact.kind == f"slot_{slot}_{kind}"
            assert fact.text.startswith(f"In picture {numbers[slot]}: ")
            by_slot[slot].add(kind)
        assert set(by_slot) == {0, 1, 2, 3, 4}


def test_readings_agree_with_the_poses_of_the_last_frame_of_their_slot(items_of):
    found = {
        task: [(item, question) for item in items_of[task][:60] for question in readings(item)] for task in items_of
    }

    def about(task, kind):
        chosen = [(i, q, i.poses[4 * int(q.kind[5])]) for i, q in found[task] if q.kind.endswith(kind)]
        assert len(chosen) > 60
        return chosen

    for item, question, poses in about("drop", "in_bin"):
        in_bin = item.scene.bins[third(poses[0, 0])] if poses[0, 1] > DIVIDER_TOP_Y else "none"
        assert question.answer == in_bin
    for item, question, poses in about("roll", "higher_ball"):
        assert question.answer == item.scene.balls[int(poses[:, 1].argmin())].colour
    for item, question, poses in about("collide", "do_touch"):
        assert question.answer == ("yes" if collide.gap_of(item.scene, poses) < 0.01 else "no")
    for item, question, poses in about("hide", "ball_side"):
        assert question.answer == SIDES[hide.place_of(item.scene, poses[0, 0])]
    for _, question, poses in about("topple", "block_side"):
        assert question.answer == SIDES[int(poses[-1, 0] > poses[0, 0])]


def options(question: Question) -> dict[str, str]:
    return dict(re.findall(r"\(([A-F])\) ([a-z]+)", question.text))


def test_multiple_choice_keeps_question_choices_and_answer(items):
    for item in items[:60]:
        for asked in (dynamic_question(item), *static_questions(item), *readings(item)):
            lettered = multiple_choice(asked, item.id)
            listed = options(lettered)
            assert tuple(listed) == lettered.choices == tuple("ABCDEF"[: len(asked.choices)])
            assert sorted(listed.values()) == sorted(asked.choices)
            assert listed[lettered.answer] == asked.answer
            assert lettered.text.endswith(" Answer with the letter.")
            words = lettered.text.partition("? (A)")[0]
            assert asked.text.startswith(words)
            assert asked.text[len(words)] in "?:"


def test_a_question_in_multiple_choice_reads_like_this(items_of):
    asked = multiple_choice(dynamic_question(items_of["hide"][0]), "some key", place=2)
    ways = re.fullmatch(r"On which .* does the ball come out\? \(A\) \w+ \(B\) \w+ \(C\) \w+ Answer.*", asked.text)
    assert ways
    assert asked.answer == "C"


def test_a_reading_keeps_its_picture_in_multiple_choice(items_of):
    asked = next(one for one in readings(items_of["drop"][0]) if one.kind == "slot_2_ball_colour")
    assert multiple_choice(asked, "key").text.startswith("In picture three: what colour is the ball? (A) ")


def test_the_letters_of_right_answers_are_balanced_within_five_percent(items, task):
    kinds = defaultdict(list)
    for item in items:
        for asked in (dynamic_question(item), *static_questions(item)):
            lettered = item_choice(asked, item)
            assert options(lettered)[lettered.answer] == asked.answer
            kinds[asked.kind].append(lettered)
    assert len(kinds) == 1 + len(STATIC_KINDS[task])
    for asked in kinds.values():
        letters = Counter(question.answer for question in asked)
        for letter in asked[0].choices:
            assert letters[letter] / len(asked) == pytest.approx(1 / len(asked[0].choices), abs=0.05)


def test_letters_say_nothing_of_outcomes(items):
    pairs = Counter((item.outcome, item_choice(dynamic_question(item), item).answer) for item in items)
    for count in pairs.values():
        assert count / len(items) == pytest.approx(1 / len(pairs), abs=0.06)
