"""What can be said without looking ahead is worth no more than guessing; what takes a step of physics is named."""

import jaxtyping
import pytest

from theworld.datasets.foresight.ground_truth import with_choices
from theworld.datasets.foresight.heuristics import LOOKING_AHEAD, RULES, baselines, rules_of, wording_accuracy
from theworld.datasets.foresight.questions import dynamic_question
from theworld.datasets.foresight.scene import TASKS

CHANCE = {"drop": 1 / 3, "topple": 1 / 3, "roll": 1 / 2, "collide": 1 / 2, "hide": 1 / 3}


@pytest.fixture(scope="module")
def scores():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # checking every small call doubles the time
        return {task: baselines(task) for task in TASKS}


def test_rules_answer_with_one_of_the_choices(items, task):
    for item in items[:30]:
        said = rules_of(item)
        assert tuple(said) == tuple(RULES[task])
        assert set(said.values()) <= set(dynamic_question(item).choices)


def test_rules_that_do_not_look_ahead_are_hardly_better_than_chance(scores, task):
    limit = 0.45 if CHANCE[task] < 0.4 else 0.55
    for name in RULES[task]:
        assert name in LOOKING_AHEAD or scores[task][name] <= limit, name


def test_rules_that_look_a_step_ahead_are_better_than_chance(scores):
    known = [(task, name) for task in TASKS for name in RULES[task] if name in LOOKING_AHEAD]
    assert len(known) == len(LOOKING_AHEAD)
    for task, name in known:
        assert scores[task][name] > CHANCE[task] + 0.1


def test_the_wording_alone_gives_nothing_away(scores, task):
    assert scores[task]["chance"] == pytest.approx(CHANCE[task])
    for form in ("wording", "wording_choice"):
        assert scores[task][form] <= CHANCE[task] + 0.05  # two standard errors of 600 items are 0.04


def test_the_most_frequent_answer_is_worth_at_most_chance(scores, task):
    assert scores[task]["majority"] <= CHANCE[task] + 0.01


@pytest.mark.parametrize(("task", "limit"), [("collide", 0.55), ("hide", 0.45)])
def test_the_last_given_picture_of_a_clip_hardly_tells_what_comes(scores, task, limit):
    assert scores[task]["nearest"] <= limit


def test_the_classifier_would_see_a_wording_that_gives_the_answer_away():
    def leaking(index):
        answer = ("yes", "no")[index % 2]
        return with_choices("end", f"Will the {'red' if answer == 'yes' else 'blue'} ball fall", ("yes", "no"), answer)

    assert wording_accuracy([leaking(index) for index in range(20)], [leaking(index) for index in range(20)]) == 1.0
