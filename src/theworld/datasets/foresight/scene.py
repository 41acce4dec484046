"""Scene: what a Foresight picture shows, in unit lengths, and its JSON form."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from theworld.config import STRICT
from theworld.constants import TEMPORAL_STRIDE

# The picture is the unit square: x to the right, y downwards from the top edge, one unit is one picture side.
WALL_WIDTH: Final = 0.02
FLOOR_Y: Final = 0.93
DIVIDER_TOP_Y: Final = 0.80
DIVIDER_RADIUS: Final = 0.011
PLANK_RADIUS: Final = 0.018
BALL_RADIUS: Final = 0.05

NUM_FRAMES: Final = 17
"""Frames of a scene, the first included: 1 + 4 x 4, five latent slots of the Wan VAE."""
NUM_SLOTS: Final = 1 + (NUM_FRAMES - 1) // TEMPORAL_STRIDE
FRAME_RATE_HZ: Final = 6.0

Task = Literal["drop", "topple", "roll", "collide", "hide"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)

NUM_GIVEN_FRAMES: Final[Mapping[Task, int]] = {"drop": 1, "topple": 1, "roll": 1, "collide": 5, "hide": 5}
"""Frames that are shown before a question is asked: one picture, or a clip in which velocity is seen."""

Colour = Literal["red", "orange", "yellow", "green", "blue", "purple"]
COLOURS: Final[tuple[Colour, ...]] = get_args(Colour)

Place = Literal["left", "middle", "right"]
PLACES: Final[tuple[Place, ...]] = get_args(Place)
"""The thirds of the picture, left to right: index 0, 1, 2."""

UnitLength = Annotated[float, Field(ge=0, le=1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Ball:
    """A ball in the first frame: centre in unit lengths, velocity in unit lengths / s."""

    x: UnitLength
    y: UnitLength
    vx: float = 0.0
    vy: float = 0.0
    colour: Colour


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Block:
    """An upright block at rest in the first frame: centre and sides in unit lengths."""

    x: UnitLength
    y: UnitLength
    width: UnitLength
    height: UnitLength
    colour: Colour


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Plank:
    """A fixed plank: the ends of its middle line in unit lengths, left end first; an upright one from its top."""

    x0: UnitLength
    y0: UnitLength
    x1: UnitLength
    y1: UnitLength


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Screen:
    """A screen that stands on the floor before everything else and hides what is behind it."""

    left: UnitLength
    right: UnitLength
    top: UnitLength
    colour: Colour


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Scene:
    """A physical scene at time zero: all that physics, drawing and questions are computed from."""

    task: Task
    balls: tuple[Ball, ...] = ()
    blocks: tuple[Block, ...] = ()
    planks: tuple[Plank, ...] = ()
    bins: tuple[Colour, Colour, Colour] | None = None
    """Colours of the bins, left to right; each is a third of the picture wide."""
    screen: Screen | None = None

    @model_validator(mode="after")
    def _check(self) -> "Scene":
        if not self.balls and not self.blocks:
            raise ValueError("a scene without a ball or a block: expected something that can move")
        parts = [*self.balls, *self.blocks, *([self.screen] if self.screen else [])]
        colours = [*(self.bins or ()), *(part.colour for part in parts)]
        if len(set(colours)) < len(colours):
            raise ValueError(f"colours {colours}: expected all different, or answers are ambiguous")
        return self

    @property
    def ball(self) -> Ball:
        """The first ball."""
        return self.balls[0]

    @property
    def num_given_frames(self) -> int:
        """Frames that are shown before a question is asked, 1 or 5; the current one is the last of them."""
        return NUM_GIVEN_FRAMES[self.task]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` gives an equal scene back."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Scene":
        """The scene that `to_dict` described.

        Raises:
            ValueError: unknown or missing key, unknown colour or task, coordinate outside the picture.
        """
        try:
            # Through JSON text: strict validation takes lists for tuples there only.
            return _SCENE.validate_json(json.dumps(dict(values)))
        except ValidationError as error:
            raise ValueError(f"not a scene of Foresight: {error}") from error


_SCENE = TypeAdapter(Scene)


def num_future_slots(task: Task) -> int:
    """Latent slots after the given frames: 4 of a picture, 3 of a clip."""
    return (NUM_FRAMES - NUM_GIVEN_FRAMES[task]) // TEMPORAL_STRIDE


def third(x: float) -> int:
    """Which third of the picture a position x (unit lengths) is in: 0 left, 1 middle, 2 right."""
    return min(max(int(3 * x), 0), 2)
