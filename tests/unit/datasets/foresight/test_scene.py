"""A scene is checked when it is made, and its JSON form gives it back."""

import json

import pytest

from theworld.config import TASK_NAMES
from theworld.datasets.foresight.scene import (
    NUM_GIVEN_FRAMES,
    NUM_SLOTS,
    TASKS,
    Ball,
    Plank,
    Scene,
    num_future_slots,
    third,
)

SCENE = Scene(
    task="drop",
    balls=(Ball(x=0.25, y=0.1, colour="red"),),
    planks=(Plank(x0=0.2, y0=0.4, x1=0.4, y1=0.5),),
    bins=("blue", "green", "orange"),
)


def test_json_gives_an_equal_scene_back(items):
    for scene in (SCENE, *(item.scene for item in items[:20])):
        assert Scene.from_dict(json.loads(json.dumps(scene.to_dict()))) == scene


def test_the_json_form_is_this():
    assert json.loads(json.dumps(SCENE.to_dict())) == {
        "task": "drop",
        "balls": [{"x": 0.25, "y": 0.1, "vx": 0.0, "vy": 0.0, "colour": "red"}],
        "blocks": [],
        "planks": [{"x0": 0.2, "y0": 0.4, "x1": 0.4, "y1": 0.5}],
        "bins": ["blue", "green", "orange"],
        "screen": None,
    }


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"wind": 9.8}, "wind"),
        ({"gravity": "strong"}, "gravity"),
        ({"look": {"zoom": 1.0, "haze": 0.5}}, "haze"),
        ({"task": "fly"}, "task"),
        ({"bins": ["blue", "green"]}, "bins"),
        ({"bins": ["blue", "green", "pink"]}, "bins"),
        ({"balls": []}, "without a ball or a block"),
        ({"balls": [{"x": 1.5, "y": 0.1, "colour": "red"}]}, r"balls\.0\.x"),
        ({"balls": [{"x": "0.5", "y": 0.1, "colour": "red"}]}, r"balls\.0\.x"),
        ({"screen": {"left": 0.4, "right": 0.6, "top": 0.5}}, r"screen\.colour"),
        ({"blocks": [{"x": 0.4, "y": 0.6, "width": 0.5, "height": -0.1, "colour": "red"}]}, r"blocks\.0\.height"),
    ],
)
def test_a_description_that_is_no_scene_is_refused_with_the_key_at_fault(change, complaint):
    with pytest.raises(ValueError, match=rf"(?s)not a scene of Foresight.*{complaint}"):
        Scene.from_dict(SCENE.to_dict() | change)


def test_a_scene_must_name_its_task():
    values = SCENE.to_dict()
    del values["task"]
    with pytest.raises(ValueError, match="task"):
        Scene.from_dict(values)


@pytest.mark.parametrize("bins", [("blue", "blue", "green"), ("blue", "red", "green")])
def test_two_things_of_one_colour_are_refused(bins):
    with pytest.raises(ValueError, match="all different"):
        Scene(task="drop", balls=SCENE.balls, planks=(), bins=bins)


@pytest.mark.parametrize(("x", "expected"), [(0.0, 0), (0.33, 0), (0.34, 1), (0.66, 1), (0.67, 2), (1.0, 2)])
def test_thirds_are_counted_from_the_left(x, expected):
    assert third(x) == expected


def test_settings_name_the_tasks_that_there_are():
    assert TASK_NAMES == TASKS == tuple(NUM_GIVEN_FRAMES)


def test_what_is_given_and_what_follows_fill_the_slots():
    for task in TASKS:
        assert 1 + (NUM_GIVEN_FRAMES[task] - 1) // 4 + num_future_slots(task) == NUM_SLOTS == 5
