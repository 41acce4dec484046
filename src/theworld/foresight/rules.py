"""Simple rules: what somebody would answer who does not look ahead, or one step only."""

from collections.abc import Callable, Mapping
from typing import Final

from theworld.foresight import collide, drop, hide, roll, topple
from theworld.foresight.facts import NEITHER
from theworld.foresight.items import Item
from theworld.foresight.scene import Scene, Task


def rules_of(item: Item) -> dict[str, str]:
    """The answer of each rule to the question about the item's future."""
    return {name: rule(item.scene) for name, rule in RULES[item.scene.task].items()}


def _bin(rule: Callable[[Scene], int]) -> Callable[[Scene], str]:
    def colour(scene: Scene) -> str:
        assert scene.bins is not None
        return scene.bins[rule(scene)]

    return colour


def _side(rule: Callable[[Scene], int]) -> Callable[[Scene], str]:
    return lambda scene: ("left", "right", NEITHER)[rule(scene)]


def _ball(rule: Callable[[Scene], int]) -> Callable[[Scene], str]:
    return lambda scene: scene.balls[rule(scene)].colour


def _yes(rule: Callable[[Scene], int]) -> Callable[[Scene], str]:
    return lambda scene: ("yes", "no")[rule(scene)]


RULES: Final[Mapping[Task, Mapping[str, Callable[[Scene], str]]]] = {
    "drop": {"straight_down": _bin(drop.straight_down), "downhill": _bin(drop.downhill)},
    "topple": {"lean": _side(topple.lean), "overhang": _side(topple.overhang)},
    "roll": {
        "nearer": _ball(roll.nearer),
        "steeper": _ball(roll.steeper),
        "lower": _ball(roll.lower),
        "much_nearer": _ball(roll.much_nearer),
    },
    "collide": {"near": _yes(collide.near), "approaching": _yes(collide.approaching)},
    "hide": {
        "straight_on": _side(hide.straight_on),
        "post_side": _side(hide.post_side),
        "rebound": _side(hide.rebound),
    },
}

LOOKING_AHEAD: Final = ("downhill", "overhang", "much_nearer", "rebound")
"""Rules that take one real step of physics: no shortcut, but what a model has to beat that claims to see the future."""
