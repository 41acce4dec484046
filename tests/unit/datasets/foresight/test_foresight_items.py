"""Items are a pure function of split, index and task, are never shared between splits, and are balanced."""

from collections import Counter

import numpy as np
import pytest

from theworld.datasets.foresight.ground_truth import STATIC_KINDS
from theworld.datasets.foresight.items import (
    DESIGNS,
    PLAIN_SPLITS,
    _make_item,
    find_item,
    make_film,
    make_item,
    split_of,
)
from theworld.datasets.foresight.physics import simulate
from theworld.datasets.foresight.questions import dynamic_question, static_questions
from theworld.datasets.foresight.scene import TASKS


@pytest.mark.usefixtures("unchecked")
def test_the_same_split_index_and_task_give_the_same_item_whatever_was_made_before(task):
    for split, index in (("test", 4), ("train", 0), ("test", 4)):
        before = make_item(split, index, task)
        _make_item.cache_clear()
        again = make_item(split, index, task)
        assert again is not before
        assert again.scene == before.scene
        np.testing.assert_array_equal(again.poses, before.poses)


def test_an_item_is_made_once_however_it_is_asked_for():
    assert make_item("test", 4) is make_item("test", 4, "drop") is make_item("test", index=4, task="drop")


@pytest.mark.usefixtures("unchecked")
def test_no_two_splits_share_a_scene_and_a_scene_names_its_split(task):
    made = [find_item(split, index, task) for split in PLAIN_SPLITS for index in range(3)]
    assert [split_of(item.scene) for item in made] == [item.split for item in made]
    assert len({item.scene for item in made}) == len({item.id for item in made}) == len(made)


def test_films_belong_to_the_split_of_the_world_model_and_tasks_take_turns():
    films = [make_film(index)[0] for index in range(25)]
    assert {split_of(scene) for scene in films} == {"world"}
    assert [scene.task for scene in films] == list(TASKS) * 5


def test_a_film_is_what_comes_first_and_moves_as_its_scene_says():
    for index in range(5):
        scene, motion = make_film(index)
        assert make_film(index)[0] == scene
        np.testing.assert_array_equal(simulate(scene).poses, motion.poses)


@pytest.mark.usefixtures("unchecked")
def test_an_item_is_found_by_simulation_where_none_is_shipped(task):
    item = make_item("test", 600, task)
    assert item.outcome == DESIGNS[task].outcome(item.scene, simulate(item.scene))
    np.testing.assert_allclose(simulate(item.scene).poses, item.poses, atol=5.1e-5)


def test_outcomes_are_balanced_exactly_over_a_period(items, task):
    period = DESIGNS[task].PERIOD
    assert len(set(Counter(item.outcome for item in items[:period]).values())) == 1


def test_answers_are_balanced_within_two_percent_over_all_items(items):
    answers = Counter(dynamic_question(item).answer for item in items)
    for count in answers.values():
        assert count / len(items) == pytest.approx(1 / len(answers), abs=0.02)
    outcomes = Counter(item.outcome for item in items)
    for count in outcomes.values():
        assert count / len(items) == pytest.approx(1 / len(outcomes), abs=0.02)


@pytest.mark.usefixtures("unchecked")
def test_outcomes_are_the_same_from_starts_that_look_the_same(items, task):
    design = DESIGNS[task]
    for item in items[:12]:
        near = design.neighbours(item.scene)
        assert len(near) >= 2
        assert {design.outcome(one, simulate(one)) for one in near} == {item.outcome}


def test_every_current_picture_decides_every_control(items, task):
    for item in items:
        assert tuple(question.kind for question in static_questions(item)) == STATIC_KINDS[task]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("holdout", 0), "split 'holdout': expected one of"),
        (("test", -1), "index -1: expected 0 or more"),
        (("test", 0, "fly"), "task 'fly': expected one of"),
    ],
)
def test_an_unknown_split_index_or_task_is_refused(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        make_item(*arguments)


def test_an_item_that_others_share_cannot_be_changed(items):
    with pytest.raises(ValueError, match="read-only"):
        items[0].poses[0, 0, 0] = 0.5
