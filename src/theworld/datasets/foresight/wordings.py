"""Wordings of the questions about varied scenes: several for each kind, some of them held out from training."""

import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Final, Literal, get_args

from theworld.datasets.foresight.ground_truth import HOW, Question, listed
from theworld.datasets.foresight.scene import Task

Wordings = Literal["trained", "held-out"]
WORDING_SETS: Final[tuple[Wordings, ...]] = get_args(Wordings)

NUM_HELD_OUT_END: Final = 4
"""Last wordings of a question about the future, which no split for training asks."""
NUM_HELD_OUT_FACT: Final = 2
"""The same for a question about the present."""

_SHARE_LISTED: Final = 0.5
"""Share of questions that list their choices."""
_SHARE_INSTRUCTED: Final = 0.5
"""Share of questions that end with the instruction to answer in one word."""

END_WORDINGS: Final[Mapping[Task, tuple[str, ...]]] = {
    "drop": (
        "In which bin does the ball come to rest",
        "Which bin does the ball land in",
        "In what bin will the ball end up",
        "Which bin will hold the ball at the end",
        "Into which bin will the ball fall",
        "The ball is dropped. Which bin does it reach",
        "What is the colour of the bin that the ball falls into",
        "When the ball stops, in which bin is it",
        "The ball is let go. Which bin catches it",
        "Name the bin where the ball stops. Which one is it",
        "After all bounces, which bin does the ball lie in",
        "Which bin gets the ball",
    ),
    "topple": (
        "Which way does the tower fall",
        "To which side will the tower fall",
        "In which direction does the stack of blocks tip",
        "Where do the blocks fall",
        "Which way will the blocks go",
        "The tower is let go. To which side does it fall",
        "Does the tower fall to the left, to the right or to neither side",
        "On which side do the blocks land",
        "If nobody holds the blocks, which way do they fall",
        "To what side will this stack tip over",
        "To which side do the blocks come down",
        "Which side does the tower come down on",
    ),
    "roll": (
        "Which ball reaches the floor first",
        "Which ball is the first on the floor",
        "Which ball gets down first",
        "Of the two balls, which one arrives at the floor first",
        "Which ball wins the race to the floor",
        "Both balls are let go. Which one is down first",
        "What colour is the ball that reaches the floor first",
        "Which ball will be at the bottom of the shaft",
        "Which of the balls touches the ground before the other",
        "The balls start to roll. Which one lands first",
        "Which ball comes to the floor before the other",
        "Name the ball that is under the other at the end. Which one is it",
    ),
    "collide": (
        "Will the balls touch",
        "Will the two balls hit each other",
        "Do the balls meet",
        "Will the balls come into contact",
        "Is there going to be contact between the balls",
        "The balls keep rolling. Do they touch",
        "Will one ball hit the other",
        "Are the balls going to touch each other",
        "Do the two balls crash into each other",
        "Will there be a hit",
        "If nothing stops them, will the balls meet",
        "Is one of the balls going to hit the other one",
    ),
    "hide": (
        "On which side of the screen does the ball come out",
        "Where does the ball come out from behind the screen",
        "On which side will the ball be seen again",
        "Which side of the screen does the ball leave",
        "The ball is behind the screen. Where does it come out",
        "To which side does the ball leave the screen",
        "On what side of the screen is the ball at the end",
        "From which side of the screen will the ball come out",
        "Where will we see the ball again",
        "At the end, on which side of the screen is the ball",
        "The ball went behind the screen. On which side does it come back into view",
        "Which way does the hidden ball come out",
    ),
}
"""Of the question about the future; the first is that of plain scenes."""


def _colour_wordings(words: str) -> tuple[str, ...]:
    return (
        f"What colour is {words}",
        f"Which colour does {words} have",
        f"What is the colour of {words}",
        f"Name the colour of {words}. What is it",
        f"Of which colour is {words}",
        f"{words[0].upper()}{words[1:]} has what colour",
    )


FACT_WORDINGS: Final[tuple[tuple[str, ...], ...]] = (
    *(
        _colour_wordings(words)
        for words in (
            "the ball",
            "the left bin",
            "the middle bin",
            "the right bin",
            "the top block",
            "the lowest block",
            "the ball on the left",
            "the ball on the right",
            "the screen",
        )
    ),
    (
        "Where is the ball now",
        "In which part of the picture is the ball now",
        "Which third of the picture shows the ball now",
        "Where do you see the ball now",
        "At what place is the ball now",
        "The ball is now in which part of the picture",
    ),
    (
        "Where is the {a} ball now",
        "In which part of the picture is the {a} ball now",
        "Which third of the picture shows the {a} ball now",
        "Where do you see the {a} ball now",
        "At what place is the {a} ball now",
        "The {a} ball is now in which part of the picture",
    ),
    (
        "Which bin is straight below the ball now",
        "Which bin is right under the ball now",
        "The ball is now above which bin",
        "Which bin lies below the ball now",
        "Over which bin is the ball now",
        "What bin is directly under the ball now",
    ),
    (
        "How many planks are there",
        "How many planks do you see",
        "What is the number of planks",
        "How many planks does the picture show",
        "Count the planks. How many are there",
        "The picture has how many planks",
    ),
    (
        "How many blocks are there",
        "How many blocks do you see",
        "What is the number of blocks",
        "How many blocks does the picture show",
        "Count the blocks. How many are there",
        "The picture has how many blocks",
    ),
    (
        "On which side of the {a} block is the {b} block",
        "To which side of the {a} block do you see the {b} block",
        "From the {a} block, on which side is the {b} block",
        "The {b} block is on which side of the {a} block",
        "Looking from the {a} block, where is the {b} block",
        "Where is the {b} block, seen from the {a} block",
    ),
    (
        "Is the {a} block above or below the {b} block",
        "Does the {a} block lie above or below the {b} block",
        "Where is the {a} block, above or below the {b} block",
        "Compared with the {b} block, is the {a} block above or below",
        "Is the {a} block over the {b} block or under it, above or below",
        "The {a} block is where, above or below the {b} block",
    ),
    (
        "Which ball is higher",
        "Which ball is further up",
        "Which of the two balls is higher",
        "What colour is the higher ball",
        "Which ball is nearer to the top of the picture",
        "Which of the balls is above the other",
    ),
    (
        "Which ball is further left",
        "Which ball is more to the left",
        "Which of the two balls is on the left",
        "What colour is the ball that is further left",
        "Which ball is nearer to the left side",
        "Which of the balls is left of the other",
    ),
    (
        "Which ball is nearer to the shaft",
        "Which ball is closer to the shaft",
        "Which of the two balls has the shorter way to the shaft",
        "What colour is the ball nearer to the shaft",
        "Which ball starts at the smaller distance from the shaft",
        "Near the shaft, which ball is closest",
    ),
    (
        "Which ramp begins higher",
        "Which ramp starts further up",
        "Which of the two ramps begins at a higher place",
        "The upper end of which ramp is higher",
        "Which ramp reaches higher up",
        "On which side is the ramp with the higher end",
    ),
    (
        "In which half is the {a} ball",
        "In which half of the picture is the {a} ball",
        "Which half of the picture shows the {a} ball",
        "The {a} ball is in which half",
        "What half of the picture holds the {a} ball",
        "Where is the {a} ball, in the upper or the lower half",
    ),
    (
        "Is there a post",
        "Do you see a post",
        "Does the picture show a post",
        "Is a post behind the screen",
        "Can you see a post",
        "Does a post stand there",
    ),
    (
        "In which bin is the ball",
        "Which bin holds the ball",
        "The ball is in which bin",
        "Which bin has the ball in it",
        "What bin is the ball in",
        "Inside which bin do you see the ball",
    ),
    (
        "Which way has the tower fallen",
        "To which side has the tower fallen",
        "On which side do the fallen blocks lie",
        "Where has the tower fallen",
        "To what side did the tower fall",
        "The tower has fallen which way",
    ),
    (
        "Which ball is on the floor",
        "Which ball has reached the floor",
        "Which of the balls is on the floor",
        "On the floor there is which ball",
        "What ball lies on the floor",
        "Which ball is down on the ground",
    ),
    (
        "Do the balls touch",
        "Are the balls in contact",
        "Do the two balls touch each other",
        "Have the balls met",
        "Is there contact between the balls",
        "Did the balls hit each other",
    ),
    (
        "On which side of the screen is the ball",
        "Where is the ball, seen from the screen",
        "The ball is on which side of the screen",
        "Next to which side of the screen is the ball",
        "On what side of the screen do you see the ball",
        "Left or right of the screen, where is the ball",
    ),
)
"""Of the questions about the present: the first of each is that of plain scenes; {a} and {b} are colours."""

_NAMES: Final = "red|orange|yellow|green|blue|purple"
_PATTERNS: Final = [
    (re.compile(wordings[0].replace("{a}", f"(?P<a>{_NAMES})").replace("{b}", f"(?P<b>{_NAMES})")), wordings)
    for wordings in FACT_WORDINGS
]


def reworded(question: Question, task: Task, key: str, wordings: Wordings = "trained") -> Question:
    """Return the question in another wording, with or without its choices; kind, choices and answer stay.

    Args:
        question: as plain scenes word it.
        task: the kind of scene.
        key: determines the wording; for example the id of the item.
        wordings: those of training, or those that are held out from it.

    Raises:
        ValueError: for a question that has no wordings.
    """
    rng = Random(f"foresight/wordings/{wordings}/{key}/{question.kind}")
    words = rng.choice(wordings_of(question, task, wordings))
    if rng.random() < _SHARE_LISTED:
        words = f"{words}: {listed(question.choices)}"
    how = f" {HOW}" if rng.random() < _SHARE_INSTRUCTED else ""
    return replace(question, text=f"{words}?{how}")


def wordings_of(question: Question, task: Task, wordings: Wordings = "trained") -> tuple[str, ...]:
    """Return the wordings of a question, without a question mark.

    Raises:
        ValueError: for a question that has none.
    """
    if question.kind == "end":
        return _chosen(END_WORDINGS[task], NUM_HELD_OUT_END, wordings)
    plain = question.text.partition("?")[0].removesuffix(f": {listed(question.choices)}")
    for pattern, variants in _PATTERNS:
        if match := pattern.fullmatch(plain):
            filled = tuple(variant.format(**match.groupdict()) for variant in variants)
            return _chosen(filled, NUM_HELD_OUT_FACT, wordings)
    raise ValueError(f"question {plain!r} of kind {question.kind!r}: expected one of FACT_WORDINGS")


def _chosen(variants: tuple[str, ...], num_held_out: int, wordings: Wordings) -> tuple[str, ...]:
    return variants[-num_held_out:] if wordings == "held-out" else variants[:-num_held_out]
