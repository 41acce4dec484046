"""Questions about a scene: one about its future, and controls that the picture alone answers."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from theworld.foresight.drop import MAX_PLANKS, straight_down
from theworld.foresight.items import Item
from theworld.foresight.scene import COLOURS, PLACES, Place

DynamicKind = Literal["end"]
StaticKind = Literal["ball_colour", "left_bin", "middle_bin", "right_bin", "ball_place", "bin_below", "num_planks"]
STATIC_KINDS: Final[tuple[StaticKind, ...]] = get_args(StaticKind)

NUMBER_WORDS: Final = ("one", "two", "three")
assert len(NUMBER_WORDS) == MAX_PLANKS

_HOW = "Answer with one word."


@dataclass(frozen=True)
class Question:
    """A question with its one right answer."""

    kind: DynamicKind | StaticKind
    text: str
    choices: tuple[str, ...]
    """All words that can be right for this kind of question; `text` lists them unless they are all colours."""
    answer: str
    place: Place | None = None
    """Where in the picture the answer lies; None if the question is not about a place."""


def dynamic_question(item: Item) -> Question:
    """In which bin the ball comes to rest: the answer is not in the first picture, only in what follows."""
    return _which_bin("end", "In which bin does the ball come to rest", item, item.end)


def static_questions(item: Item) -> tuple[Question, ...]:
    """The controls, in the order of `STATIC_KINDS`: what the first picture shows."""
    scene, start = item.scene, straight_down(item.scene)
    number = NUMBER_WORDS[len(scene.planks) - 1]
    return (
        Question("ball_colour", f"What colour is the ball? {_HOW}", COLOURS, scene.ball.colour),
        _colour_of_bin("left_bin", item, 0),
        _colour_of_bin("middle_bin", item, 1),
        _colour_of_bin("right_bin", item, 2),
        Question(
            "ball_place", f"Where is the ball now: {_either(PLACES)}? {_HOW}", PLACES, PLACES[start], PLACES[start]
        ),
        _which_bin("bin_below", "Which bin is straight below the ball now", item, start),
        Question("num_planks", f"How many planks are there: {_either(NUMBER_WORDS)}? {_HOW}", NUMBER_WORDS, number),
    )


def _which_bin(kind: Literal["end", "bin_below"], words: str, item: Item, bin_index: int) -> Question:
    # In the order of the alphabet: the text says nothing about where the bins are.
    choices = tuple(sorted(item.scene.bins))
    text = f"{words}: {_either(choices)}? {_HOW}"
    return Question(kind, text, choices, item.scene.bins[bin_index], PLACES[bin_index])


def _colour_of_bin(kind: StaticKind, item: Item, bin_index: int) -> Question:
    place = PLACES[bin_index]
    return Question(kind, f"What colour is the {place} bin? {_HOW}", COLOURS, item.scene.bins[bin_index], place)


def _either(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
