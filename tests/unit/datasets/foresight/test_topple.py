"""Towers fall as statics says, show what the index asks for, and lean both ways whatever comes of it."""

from collections import Counter

import numpy as np
import pytest

from theworld.datasets.foresight.items import make_film
from theworld.datasets.foresight.scene import COLOURS, FLOOR_Y, Block, Scene
from theworld.datasets.foresight.topple import (
    LEFT,
    PERIOD,
    RIGHT,
    STAYS,
    aim_of,
    examine,
    fallen,
    lean,
    overhang,
    statics,
)


def tower(*xs: float, width: float = 0.2) -> Scene:
    """Blocks of one width, from the lowest up."""
    blocks = [
        Block(x=x, y=round(FLOOR_Y - 0.1 * (level + 0.5), 4), width=width, height=0.1, colour=colour)
        for level, (x, colour) in enumerate(zip(xs, COLOURS, strict=False))
    ]
    return Scene(task="topple", blocks=tuple(blocks))


@pytest.mark.parametrize(
    ("xs", "expected"),
    [
        ((0.5, 0.5, 0.5), STAYS),
        ((0.5, 0.57, 0.57), STAYS),
        ((0.5, 0.63, 0.63), RIGHT),
        ((0.5, 0.37, 0.37), LEFT),
        ((0.5, 0.5, 0.37), LEFT),
        ((0.5, 0.61, 0.545), STAYS),  # the top block is the weight that holds
        ((0.5, 0.595, 0.66), RIGHT),  # each block would stay on the one below, but not the two upper ones together
        ((0.5, 0.6, 0.6), -1),  # on the edge
        ((0.5, 0.71, 0.71), -1),  # not on the block below at all
    ],
)
def test_statics_weighs_all_that_lies_above_each_contact(xs, expected):
    assert statics(np.array([xs]), np.full((1, 3), 0.2)).tolist() == [expected]


def test_statics_and_the_simulation_agree(items_of):
    for item in items_of["topple"]:
        xs, widths = (np.array([[getattr(block, name) for block in item.scene.blocks]]) for name in ("x", "width"))
        # Marking its split moves the lowest block by up to a fortieth of a pixel: a few come within the margin.
        assert statics(xs, widths)[0] in (item.outcome, -1)
        assert item.outcome == aim_of(item.index)


def test_leans_and_heights_say_nothing_of_the_outcome(items_of):
    period = items_of["topple"][:PERIOD]
    seen = Counter((item.outcome, lean(item.scene), len(item.scene.blocks)) for item in period)
    assert len(seen) == PERIOD
    assert set(seen.values()) == {1}


def test_a_tower_has_fallen_only_when_it_has_moved_to_one_side():
    start = np.array([[0.5, 0.88, 0.0], [0.5, 0.78, 0.0]])
    aside = np.array([[0.0, 0.0, 0.0], [0.2, 0.1, 1.5]])
    assert fallen(start, start) == STAYS
    assert fallen(start, start + aside) == RIGHT
    assert fallen(start, start - aside) == LEFT
    assert fallen(start, start + 0.1 * aside) is None  # on its way
    assert fallen(start, start + aside - 2 * aside[::-1]) is None  # to both sides


def test_a_tower_that_begins_inside_a_wall_is_turned_down():
    assert examine(tower(0.14, 0.14, 0.14, 0.14), STAYS) is not None
    assert examine(tower(0.11, 0.11, 0.11, 0.11), STAYS) is None


def test_towers_reach_no_further_than_the_picture():
    # At these indices of the split `world` a drawn tower had a block beyond the edge, which no scene may have.
    for index in (61131, 63151):
        scene, _ = make_film(index)
        assert all(0 <= block.x <= 1 for block in scene.blocks)


def test_rules_look_at_the_top_or_at_one_contact_only():
    assert [lean(tower(*xs)) for xs in ((0.5, 0.8, 0.6), (0.5, 0.8, 0.4))] == [RIGHT, LEFT]
    assert overhang(tower(0.5, 0.55, 0.47)) == STAYS
    assert overhang(tower(0.5, 0.55, 0.43)) == LEFT
    assert overhang(tower(0.5, 0.62, 0.53)) == RIGHT  # although the top block holds it
