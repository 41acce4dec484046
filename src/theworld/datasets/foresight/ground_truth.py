"""Facts: the contents of one picture of a scene, as questions with one right answer each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float

from theworld.datasets.foresight import hide, roll, topple
from theworld.datasets.foresight.drop import max_planks_of
from theworld.datasets.foresight.scene import (
    COLOURS,
    DIVIDER_TOP_Y,
    FLOOR_Y,
    PLACES,
    Colour,
    Place,
    Scene,
    Task,
    third,
)

NUMBER_WORDS: Final = ("one", "two", "three", "four", "five", "six")
NEITHER: Final = "neither"

STATIC_KINDS: Final[Mapping[Task, tuple[str, ...]]] = {
    "drop": ("ball_colour", "left_bin", "middle_bin", "right_bin", "ball_place", "bin_below", "num_planks"),
    "topple": ("num_blocks", "top_colour", "lowest_colour", "block_side", "block_above"),
    "roll": ("left_ball", "right_ball", "nearer_ball", "steeper_ramp"),
    "collide": ("left_ball", "higher_ball", "ball_place", "ball_half"),
    "hide": ("screen_colour", "post"),
}
"""Kinds of the controls of each task; the current picture of every scene decides all of them."""
_VARIED_KINDS: Final[Mapping[Task, tuple[str, ...]]] = {
    **STATIC_KINDS,
    "roll": ("left_ball", "right_ball", "nearer_ball", "higher_ramp"),
}

HOW: Final = "Answer with one word."
"""Instruction at the end of a question."""
_CLEAR = 0.03
"""Smallest difference, unit lengths, for a question that compares: two pixels of a 64-px picture."""

_Poses = Float[np.ndarray, "num_bodies 3"]


@dataclass(frozen=True)
class Question:
    """A question with its one right answer."""

    kind: str
    """Name of the wording, which is the same for all scenes."""
    text: str
    choices: tuple[str, ...]
    """All possible answers to this kind of question; `text` lists them unless they are all colours."""
    answer: str
    place: Place | None = None
    """Place of the answer in the picture; None if the question is not about a place."""


def static_kinds(task: Task, is_varied: bool) -> tuple[str, ...]:
    """Return the kinds of the controls of a task, in the varied or plain scenes."""
    return (_VARIED_KINDS if is_varied else STATIC_KINDS)[task]


def facts_of(scene: Scene, poses: _Poses) -> tuple[Question, ...]:
    """Return all questions that a picture decides at 64 px, except its state (`state_of`).

    Args:
        scene: the scene.
        poses: poses of its balls and blocks in this picture.
    """
    return tuple(_FACTS[scene.task](scene, poses))


def controls_of(scene: Scene, poses: _Poses) -> tuple[Question, ...]:
    """Return the facts of the kinds that every current picture of the task decides."""
    kinds = static_kinds(scene.task, scene.is_varied)
    return tuple(fact for fact in facts_of(scene, poses) if fact.kind in kinds)


def state_of(scene: Scene, poses: _Poses) -> Question | None:
    """Return the fact that answers the question about the future, if asked of the last picture.

    None if a picture does not decide it, as during the fall of a tower.
    """
    return _STATES[scene.task](scene, poses)


def with_choices(kind: str, words: str, choices: tuple[str, ...], answer: str, place: Place | None = None) -> Question:
    """Return a question that lists its choices."""
    return Question(kind, f"{words}: {listed(choices)}? {HOW}", choices, answer, place)


def listed(choices: tuple[str, ...]) -> str:
    """Return choices as a text: a, b or c."""
    return f"{', '.join(choices[:-1])} or {choices[-1]}"


def bin_choices(scene: Scene) -> tuple[str, ...]:
    """Return the colours of the bins in alphabetical order: a text must not reveal their places."""
    assert scene.bins is not None
    return tuple(sorted(scene.bins))


def ball_choices(scene: Scene) -> tuple[str, ...]:
    """Return the colours of the balls in alphabetical order."""
    return tuple(sorted(ball.colour for ball in scene.balls))


def _colour(kind: str, words: str, colour: Colour, place: Place | None = None) -> Question:
    return Question(kind, f"What colour is {words}? {HOW}", COLOURS, colour, place)


def _place(scene: Scene, x: float, y: float) -> Place | None:
    """Return the third of the picture that holds a place; None if it is not clear.

    A camera moves the picture against the scene: both must agree, since bins are thirds of the scene.
    """
    seen_x = scene.look.seen(x, y)[0] if scene.look else x
    if min(abs(value - edge / 3) for value in (x, seen_x) for edge in (1, 2)) < _CLEAR or third(x) != third(seen_x):
        return None
    return PLACES[third(x)]


def _half(scene: Scene, x: float, y: float) -> str | None:
    """Return the half of the picture that holds a place; None if it is not clear, as for `_place`."""
    seen_y = scene.look.seen(x, y)[1] if scene.look else y
    if min(abs(y - 0.5), abs(seen_y - 0.5)) < _CLEAR or (y < 0.5) != (seen_y < 0.5):
        return None
    return "upper" if y < 0.5 else "lower"


def _of_drop(scene: Scene, poses: _Poses) -> Iterator[Question]:
    assert scene.bins is not None
    x, y = float(poses[0, 0]), float(poses[0, 1])
    yield _colour("ball_colour", "the ball", scene.ball.colour)
    for place, colour in zip(PLACES, scene.bins, strict=True):
        yield _colour(f"{place}_bin", f"the {place} bin", colour, place)
    below = _place(scene, x, y)
    if below is not None:
        yield with_choices("ball_place", "Where is the ball now", PLACES, below, below)
        if y < DIVIDER_TOP_Y - scene.ball_radius:
            words = "Which bin is straight below the ball now"
            yield with_choices("bin_below", words, bin_choices(scene), scene.bins[third(x)], below)
    counts = NUMBER_WORDS[: max_planks_of(scene)]
    yield with_choices("num_planks", "How many planks are there", counts, counts[len(scene.planks) - 1])


def _of_topple(scene: Scene, poses: _Poses) -> Iterator[Question]:
    counts = tuple(NUMBER_WORDS[number - 1] for number in topple.counts_of(scene))
    yield with_choices("num_blocks", "How many blocks are there", counts, NUMBER_WORDS[len(scene.blocks) - 1])
    colours: list[Colour] = [block.colour for block in scene.blocks]
    upright = np.abs(poses - poses[:1])[:, 2].max() < 0.05 and (np.diff(poses[:, 1]) < 0).all()
    if upright:  # "top" has a meaning only while the blocks are on each other
        yield _colour("top_colour", "the top block", colours[-1])
        yield _colour("lowest_colour", "the lowest block", colours[0])
    x, y = poses[:, 0], poses[:, 1]
    if abs(x[-1] - x[0]) >= 0.02:
        words = f"On which side of the {colours[0]} block is the {colours[-1]} block"
        yield with_choices("block_side", words, ("left", "right"), "left" if x[-1] < x[0] else "right")
    if abs(y[1] - y[2]) >= _CLEAR:
        first, second = sorted((1, 2), key=lambda level: colours[level])  # by colour: the text reveals no height
        words = f"Is the {colours[first]} block above or below the {colours[second]} block"
        yield with_choices("block_above", words, ("above", "below"), "above" if y[first] < y[second] else "below")


def _of_roll(scene: Scene, poses: _Poses) -> Iterator[Question]:
    (x0, y0, _), (x1, y1, _) = poses
    left, right = scene.balls[0].colour, scene.balls[1].colour
    choices = ball_choices(scene)
    if x1 - x0 >= _CLEAR:
        yield _colour("left_ball", "the ball on the left", left, "left")
        yield _colour("right_ball", "the ball on the right", right, "right")
    if abs(y0 - y1) >= _CLEAR:
        yield with_choices("higher_ball", "Which ball is higher", choices, left if y0 < y1 else right)
    middle, _ = roll.shaft_of(scene)
    ways = abs(x0 - middle), abs(x1 - middle)
    if abs(ways[0] - ways[1]) >= _CLEAR:
        words = "Which ball is nearer to the shaft" if scene.is_varied else "Which ball is nearer to the middle"
        yield with_choices("nearer_ball", words, choices, left if ways[0] < ways[1] else right)
    higher = scene.planks[0].y0 < scene.planks[1].y1
    if abs(scene.planks[0].y0 - scene.planks[1].y1) < _CLEAR:
        return
    if scene.is_varied:
        yield with_choices("higher_ramp", "Which ramp begins higher", ("left", "right"), "left" if higher else "right")
    else:  # ramps end at the same height in the middle
        yield with_choices("steeper_ramp", "Which ramp is steeper", ("left", "right"), "left" if higher else "right")


def _of_collide(scene: Scene, poses: _Poses) -> Iterator[Question]:
    (x0, y0, _), (x1, y1, _) = poses
    first, second = (ball.colour for ball in scene.balls)
    choices = ball_choices(scene)
    if abs(x0 - x1) >= _CLEAR:
        yield with_choices("left_ball", "Which ball is further left", choices, first if x0 < x1 else second)
    if abs(y0 - y1) >= _CLEAR:
        yield with_choices("higher_ball", "Which ball is higher", choices, first if y0 < y1 else second)
    place, half = _place(scene, x0, y0), _half(scene, x1, y1)
    if place is not None:
        yield with_choices("ball_place", f"Where is the {first} ball now", PLACES, place)
    if half is not None:
        yield with_choices("ball_half", f"In which half is the {second} ball", ("upper", "lower"), half)


def _of_hide(scene: Scene, poses: _Poses) -> Iterator[Question]:
    assert scene.screen is not None
    yield _colour("screen_colour", "the screen", scene.screen.colour)
    yield with_choices("post", "Is there a post", ("yes", "no"), "yes" if hide.post_of(scene) else "no")
    if hide.place_of(scene, float(poses[0, 0])) in (hide.LEFT, hide.RIGHT):
        yield _colour("ball_colour", "the ball", scene.ball.colour)


def _drop_state(scene: Scene, poses: _Poses) -> Question | None:
    assert scene.bins is not None
    x, y = float(poses[0, 0]), float(poses[0, 1])
    if abs(y - DIVIDER_TOP_Y) < _CLEAR:
        return None
    answer = scene.bins[third(x)] if y > DIVIDER_TOP_Y else "none"
    return with_choices("in_bin", "In which bin is the ball", (*bin_choices(scene), "none"), answer)


def _topple_state(scene: Scene, poses: _Poses) -> Question | None:
    start = np.array([[block.x, block.y, 0.0] for block in scene.blocks])
    outcome = topple.fallen(start, poses)
    if outcome is None:
        return None
    words = "Which way has the tower fallen"
    return with_choices("has_fallen", words, ("left", "right", NEITHER), ("left", "right", NEITHER)[outcome])


def _roll_state(scene: Scene, poses: _Poses) -> Question | None:
    heights = FLOOR_Y - scene.ball_radius - poses[:, 1]
    low = heights < _CLEAR
    if low.all() or (np.abs(heights - _CLEAR) < 0.01).any():
        return None
    answer = scene.balls[int(low.argmax())].colour if low.any() else "none"
    return with_choices("on_floor", "Which ball is on the floor", (*ball_choices(scene), "none"), answer)


def _collide_state(scene: Scene, poses: _Poses) -> Question | None:
    gap = float(np.linalg.norm(poses[1, :2] - poses[0, :2])) - 2 * scene.ball_radius
    if 0.005 < gap < 0.02:
        return None
    return with_choices("do_touch", "Do the balls touch", ("yes", "no"), "yes" if gap < 0.01 else "no")


def _hide_state(scene: Scene, poses: _Poses) -> Question | None:
    place = hide.place_of(scene, float(poses[0, 0]))
    if place is None:
        return None
    words = "On which side of the screen is the ball"
    return with_choices("ball_side", words, ("left", "right", NEITHER), ("left", "right", NEITHER)[place])


_FACTS: Final[Mapping[Task, Callable[[Scene, _Poses], Iterator[Question]]]] = {
    "drop": _of_drop,
    "topple": _of_topple,
    "roll": _of_roll,
    "collide": _of_collide,
    "hide": _of_hide,
}
_STATES: Final[Mapping[Task, Callable[[Scene, _Poses], Question | None]]] = {
    "drop": _drop_state,
    "topple": _topple_state,
    "roll": _roll_state,
    "collide": _collide_state,
    "hide": _hide_state,
}
