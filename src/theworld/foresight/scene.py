"""Scene: what a Foresight picture shows, in unit lengths, and its JSON form."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from theworld.config import STRICT

# The picture is the unit square: x to the right, y downwards from the top edge, one unit is one picture side.
WALL_WIDTH: Final = 0.02
FLOOR_Y: Final = 0.93
DIVIDER_TOP_Y: Final = 0.80
DIVIDER_RADIUS: Final = 0.011
PLANK_RADIUS: Final = 0.018
BALL_RADIUS: Final = 0.05

NUM_FRAMES: Final = 17
"""Frames of a scene, the first included: 1 + 4 x 4, five latent slots of the Wan VAE."""
FRAME_RATE_HZ: Final = 6.0

Task = Literal["drop"]
TASKS: Final[tuple[Task, ...]] = get_args(Task)

Colour = Literal["red", "orange", "yellow", "green", "blue", "purple"]
COLOURS: Final[tuple[Colour, ...]] = get_args(Colour)

Place = Literal["left", "middle", "right"]
PLACES: Final[tuple[Place, ...]] = get_args(Place)
"""The thirds of the picture, left to right: index 0, 1, 2."""

UnitLength = Annotated[float, Field(ge=0, le=1)]


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Ball:
    """A ball before it is let go: centre in unit lengths, at rest."""

    x: UnitLength
    y: UnitLength
    colour: Colour


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Plank:
    """A fixed plank: the ends of its middle line in unit lengths, left end first."""

    x0: UnitLength
    y0: UnitLength
    x1: UnitLength
    y1: UnitLength


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Scene:
    """A physical scene at time zero: all that physics, drawing and questions are computed from."""

    task: Task
    balls: Annotated[tuple[Ball, ...], Field(min_length=1, max_length=1)]
    planks: tuple[Plank, ...]
    bins: tuple[Colour, Colour, Colour]
    """Colours of the bins, left to right; each is a third of the picture wide."""

    @model_validator(mode="after")
    def _check(self) -> "Scene":
        colours = [*self.bins, *(ball.colour for ball in self.balls)]
        if len(set(colours)) < len(colours):
            raise ValueError(f"colours {colours} of bins and balls: expected all different, or answers are ambiguous")
        return self

    @property
    def ball(self) -> Ball:
        """The only ball."""
        return self.balls[0]

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


def third(x: float) -> int:
    """Which third of the picture a position x (unit lengths) is in: 0 left, 1 middle, 2 right."""
    return min(max(int(3 * x), 0), 2)
