"""Simple rules: what somebody would answer who does not look ahead, or one step only."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from jaxtyping import Float

from theworld.datasets.foresight import collide, drop, hide, roll, topple
from theworld.datasets.foresight.ground_truth import NEITHER
from theworld.datasets.foresight.items import NUM_SHIPPED, Item, Split, make_item
from theworld.datasets.foresight.questions import Question, dynamic_question, item_choice
from theworld.datasets.foresight.scene import Scene, Task


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


NUM_NEIGHBOURS = 15


def baselines(task: Task) -> dict[str, float]:
    """Accuracies on the shipped test items of a task.

    Returns:
        `chance` among the choices; `majority`, the most frequent answer; `wording`, a classifier on the words of the
        question alone, and `wording_choice` on those in multiple choice; `nearest`, the outcome of the most similar
        current pictures; and a name for each rule. What learns, learns from the validation items.
    """
    known, items = (_items(split, task) for split in ("validation", "test"))
    questions = [dynamic_question(item) for item in items]
    answers = [question.answer for question in questions]
    rules = [rules_of(item) for item in items]
    return {
        "chance": float(np.mean([1 / len(question.choices) for question in questions])),
        "majority": max(Counter(answers).values()) / len(answers),
        "wording": wording_accuracy([dynamic_question(item) for item in known], questions),
        "wording_choice": wording_accuracy(_choices(known), _choices(items)),
        "nearest": nearest_accuracy(known, items),
        **{name: _share(answers, [said[name] for said in rules]) for name in rules[0]},
    }


def wording_accuracy(known: Sequence[Question], asked: Sequence[Question]) -> float:
    """How often naive Bayes on words and pairs of neighbouring words is right, which has no picture.

    It learns from `known` and names the likeliest of the choices of each question in `asked`.
    """
    priors = Counter(question.answer for question in known)
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for question in known:
        counts[question.answer].update(_terms(question.text))
    num_terms = len(set().union(*counts.values()))

    def likelihood(answer: str, terms: list[str]) -> float:
        seen = counts[answer]
        norm = math.log(seen.total() + num_terms)
        return math.log(priors[answer] + 1) + sum(math.log(seen[term] + 1) - norm for term in terms)

    said = []
    for question in asked:
        terms = list(_terms(question.text))
        said.append(max(question.choices, key=lambda answer: likelihood(answer, terms)))
    return _share([question.answer for question in asked], said)


def nearest_accuracy(known: Sequence[Item], asked: Sequence[Item]) -> float:
    """How often the most frequent outcome among the 15 items with the most similar current picture is right.

    Pictures are compared by the numbers that describe them, each scaled to unit variance: no seeing is involved.
    """
    features = np.array([_current(item) for item in (*known, *asked)])
    features = features / np.maximum(features.std(axis=0), 1e-6)
    outcomes = np.array([item.outcome for item in known])
    said = []
    for place in features[len(known) :]:
        nearest = np.argsort(((features[: len(known)] - place) ** 2).sum(axis=1), kind="stable")[:NUM_NEIGHBOURS]
        said.append(int(np.bincount(outcomes[nearest]).argmax()))
    return _share([item.outcome for item in asked], said)


def _choices(items: Sequence[Item]) -> list[Question]:
    return [item_choice(dynamic_question(item), item) for item in items]


def _items(split: Split, task: Task) -> list[Item]:
    return [make_item(split, index, task) for index in range(NUM_SHIPPED[split])]


def _terms(text: str) -> Iterator[str]:
    words = text.lower().split()
    yield from words
    yield from (f"{one} {other}" for one, other in pairwise(words))


def _current(item: Item) -> Float[np.ndarray, " num_features"]:
    """Where everything is that is seen in the current picture; planks from the highest down."""
    scene, screen = item.scene, item.scene.screen
    bodies = [] if screen else item.poses[scene.num_given_frames - 1, :, :2].tolist()
    planks = sorted((min(plank.y0, plank.y1), plank.x0, plank.x1, plank.y1 - plank.y0) for plank in scene.planks)
    return np.concatenate(
        [
            _padded(bodies, (5, 2)),
            _padded([(block.width,) for block in scene.blocks], (5, 1)),
            _padded(planks, (4, 4)),
            _padded([(screen.left, screen.right, screen.top)] if screen else [], (1, 3)),
        ]
    )


def _padded(rows: Sequence[Sequence[float]], shape: tuple[int, int]) -> Float[np.ndarray, " num_features"]:
    table = np.zeros(shape)
    table[: len(rows)] = np.reshape(rows, (len(rows), shape[1]))
    return table.ravel()


def _share(right: Sequence[object], said: Sequence[object]) -> float:
    return float(np.mean([one == other for one, other in zip(right, said, strict=True)]))
