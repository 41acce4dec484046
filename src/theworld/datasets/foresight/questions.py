"""Questions about an item: its future, its current picture, and each slot of its true clip."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random
from typing import Final

from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.foresight.ground_truth import (
    NEITHER,
    NUMBER_WORDS,
    Question,
    ball_choices,
    bin_choices,
    controls_of,
    facts_of,
    listed,
    state_of,
    with_choices,
)
from theworld.datasets.foresight.items import Item
from theworld.datasets.foresight.scene import NUM_SLOTS, PLACES, Scene, Task
from theworld.datasets.foresight.wordings import Wordings, reworded

LETTERS: Final = "ABCDEF"
BY_LETTER: Final = "Answer with the letter."


def dynamic_question(item: Item, wordings: Wordings = "trained") -> Question:
    """Return the question about the future; the given pictures do not hold its answer."""
    return worded(_DYNAMIC[item.scene.task](item), item.scene, item.id, wordings)


def static_questions(item: Item, wordings: Wordings = "trained") -> tuple[Question, ...]:
    """Return the controls; the current picture alone decides their answers."""
    controls = controls_of(item.scene, item.poses[item.scene.num_given_frames - 1])
    return tuple(worded(control, item.scene, item.id, wordings) for control in controls)


def words_by_outcome(scene: Scene) -> tuple[str, ...]:
    """Return the answer to the question about the future for each outcome of a scene: words by place, left to right."""
    if scene.task == "drop":
        assert scene.bins is not None
        return tuple(scene.bins)
    if scene.task == "roll":
        return tuple(ball.colour for ball in scene.balls)
    return ("yes", "no") if scene.task == "collide" else ("left", "right", NEITHER)


def worded(question: Question, scene: Scene, key: str, wordings: Wordings = "trained") -> Question:
    """Return a question as a scene's questions are worded: in one of many wordings if the scene is varied."""
    return reworded(question, scene.task, key, wordings) if scene.is_varied else question


def readings(item: Item, with_states: bool = True) -> tuple[Question, ...]:
    """Return questions about each slot of the true clip and about its end, which train the reading of world tokens.

    Questions name a slot by its number: "In picture three: ...". Its facts are those of its last frame.

    Args:
        item: the item.
        with_states: ask for the state of a slot, too, which in the last slots is the outcome in other words.
    """
    questions = []
    for slot in range(NUM_SLOTS):
        poses = item.poses[slot * TEMPORAL_STRIDE]
        state = state_of(item.scene, poses) if with_states else None
        for fact in (*facts_of(item.scene, poses), *([state] if state else [])):
            asked = worded(fact, item.scene, f"{item.id}/{slot}")
            text = f"In picture {NUMBER_WORDS[slot]}: {asked.text[0].lower()}{asked.text[1:]}"
            questions.append(replace(asked, kind=f"slot_{slot}_{fact.kind}", text=text))
    return (*questions, dynamic_question(item))


def multiple_choice(question: Question, key: str, place: int | None = None) -> Question:
    """Return the same question with lettered choices.

    Args:
        question: the open question.
        key: determines the order of the choices; for example the id of the item.
        place: of the answer among the letters, from 0; None: as the key determines it.
    """
    order = list(question.choices)
    Random(f"foresight/choices/{key}/{question.kind}").shuffle(order)
    if place is not None:
        order.remove(question.answer)
        order.insert(place, question.answer)
    letters = LETTERS[: len(order)]
    words = question.text.partition("?")[0].removesuffix(f": {listed(question.choices)}")
    lines = " ".join(f"({letter}) {choice}" for letter, choice in zip(letters, order, strict=True))
    return replace(
        question,
        text=f"{words}? {lines} {BY_LETTER}",
        choices=tuple(letters),
        answer=letters[order.index(question.answer)],
    )


def item_choice(question: Question, item: Item) -> Question:
    """Return a question in multiple choice; each of n letters is the answer to two of 2n consecutive items."""
    size = len(question.choices)
    block, turn = divmod(item.index, 2 * size)
    places = [*range(size), *range(size)]
    Random(f"foresight/letters/{item.scene.task}/{item.split}/{question.kind}/{block}").shuffle(places)
    return multiple_choice(question, item.id, places[turn])


def _end_of_drop(item: Item) -> Question:
    assert item.scene.bins is not None
    words, choices = "In which bin does the ball come to rest", bin_choices(item.scene)
    return with_choices("end", words, choices, item.scene.bins[item.outcome], PLACES[item.outcome])


def _end_of_topple(item: Item) -> Question:
    choices = ("left", "right", NEITHER)
    return with_choices("end", "Which way does the tower fall", choices, choices[item.outcome])


def _end_of_roll(item: Item) -> Question:
    answer = item.scene.balls[item.outcome].colour
    return with_choices("end", "Which ball reaches the floor first", ball_choices(item.scene), answer)


def _end_of_collide(item: Item) -> Question:
    return with_choices("end", "Will the balls touch", ("yes", "no"), ("yes", "no")[item.outcome])


def _end_of_hide(item: Item) -> Question:
    choices = ("left", "right", NEITHER)
    words = "On which side of the screen does the ball come out"
    return with_choices("end", words, choices, choices[item.outcome])


_DYNAMIC: Final[Mapping[Task, Callable[[Item], Question]]] = {
    "drop": _end_of_drop,
    "topple": _end_of_topple,
    "roll": _end_of_roll,
    "collide": _end_of_collide,
    "hide": _end_of_hide,
}
