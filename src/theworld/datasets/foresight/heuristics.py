"""Simple rules: answers without looking ahead, or with one step of physics, and their accuracies."""

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
    """Return the answer of each rule to the question about the item's future."""
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
"""Rules that take one real step of physics: not shortcuts, but baselines for models that predict the future."""


NUM_NEIGHBOURS = 15


def baselines(task: Task) -> dict[str, float]:
    """Return accuracies of baselines on the shipped test items of a task.

    Returns:
        `chance` among the choices; `majority`, the most frequent answer; `wording`, a classifier on the words of the
        question alone, and `wording_choice` on those in multiple choice; `nearest`, the outcome of the most similar
        current pictures; and each rule by its name. Classifiers learn from the validation items.
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
        **{name: _share(answers, [replies[name] for replies in rules]) for name in rules[0]},
    }


def wording_accuracy(known: Sequence[Question], questions: Sequence[Question]) -> float:
    """Return the accuracy of naive Bayes on words and pairs of neighbouring words, without a picture.

    It learns from `known` and chooses the likeliest choice of each question in `questions`.
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

    guesses = []
    for question in questions:
        terms = list(_terms(question.text))
        guesses.append(max(question.choices, key=lambda answer: likelihood(answer, terms)))
    return _share([question.answer for question in questions], guesses)


def nearest_accuracy(known: Sequence[Item], items: Sequence[Item]) -> float:
    """Return the accuracy of the most frequent outcome among the 15 items with the most similar current picture.

    The distance of pictures is that of their numerical descriptions, scaled to unit variance; it uses no pixels.
    """
    features = np.array([_current(item) for item in (*known, *items)])
    features = features / np.maximum(features.std(axis=0), 1e-6)
    outcomes = np.array([item.outcome for item in known])
    guesses = []
    for place in features[len(known) :]:
        nearest = np.argsort(((features[: len(known)] - place) ** 2).sum(axis=1), kind="stable")[:NUM_NEIGHBOURS]
        guesses.append(int(np.bincount(outcomes[nearest]).argmax()))
    return _share([item.outcome for item in items], guesses)


def _choices(items: Sequence[Item]) -> list[Question]:
    return [item_choice(dynamic_question(item), item) for item in items]


def _items(split: Split, task: Task) -> list[Item]:
    return [make_item(split, index, task) for index in range(NUM_SHIPPED[split])]


def _terms(text: str) -> Iterator[str]:
    words = text.lower().split()
    yield from words
    yield from (f"{word} {following}" for word, following in pairwise(words))


def _current(item: Item) -> Float[np.ndarray, " num_features"]:
    """Return the positions of all visible objects in the current picture; planks from the highest down."""
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


def _share(answers: Sequence[object], guesses: Sequence[object]) -> float:
    return float(np.mean([answer == guess for answer, guess in zip(answers, guesses, strict=True)]))
