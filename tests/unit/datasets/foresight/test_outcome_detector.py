"""What a last picture shows is read off its pixels."""

import numpy as np
import pytest

from theworld.datasets.foresight import TASKS, draw, make_item
from theworld.datasets.foresight.outcome_detector import watched_outcome


@pytest.mark.parametrize("task", TASKS)
def test_the_true_last_picture_shows_the_outcome(task):
    items = [make_item("validation", index, task) for index in range(40)]
    seen = [watched_outcome(item.scene, np.asarray(draw(item.scene, item.poses[-1], 64))) for item in items]

    assert np.mean([one == item.outcome for one, item in zip(seen, items, strict=True)]) >= 0.97


@pytest.mark.parametrize("task", ["drop", "topple", "roll", "collide"])
def test_an_empty_picture_shows_nothing(task):
    item = make_item("validation", 0, task)

    assert watched_outcome(item.scene, np.full((64, 64, 3), 244, np.uint8)) is None


def test_a_ball_that_is_not_seen_is_behind_the_screen():
    item = make_item("validation", 0, "hide")

    assert watched_outcome(item.scene, np.full((64, 64, 3), 244, np.uint8)) == 2
