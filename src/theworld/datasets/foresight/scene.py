"""Scene: the contents of a Foresight picture in unit lengths, and its JSON form."""

import json
from collections.abc import Mapping
from dataclasses import Field as DataclassField
from dataclasses import asdict, fields
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from theworld.config import STRICT
from theworld.constants import TEMPORAL_STRIDE
from theworld.datasets.foresight.looks import COLOURS as COLOURS
from theworld.datasets.foresight.looks import Colour, Look

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
"""Frames shown before the question: one picture, or a clip, which shows velocity."""

Scenes = Literal["plain", "varied"]
"""plain: one look; varied: looks, sizes, numbers of parts and laws vary."""
SCENE_KINDS: Final[tuple[Scenes, ...]] = get_args(Scenes)

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
    """A fixed plank: the ends of its middle line in unit lengths, left end first; for an upright plank, top first."""

    x0: UnitLength
    y0: UnitLength
    x1: UnitLength
    y1: UnitLength


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Screen:
    """A screen on the floor in front of all other objects, which it hides."""

    left: UnitLength
    right: UnitLength
    top: UnitLength
    colour: Colour


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Spot:
    """A spot painted on the background, which nothing touches: centre and radius in unit lengths."""

    x: UnitLength
    y: UnitLength
    radius: UnitLength


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Scene:
    """A physical scene at time zero, from which physics, drawings and questions follow."""

    task: Task
    balls: tuple[Ball, ...] = ()
    blocks: tuple[Block, ...] = ()
    planks: tuple[Plank, ...] = ()
    bins: tuple[Colour, Colour, Colour] | None = None
    """Colours of the bins, left to right; each is a third of the picture wide."""
    screen: Screen | None = None
    ball_radius: UnitLength = BALL_RADIUS
    plank_radius: UnitLength = PLANK_RADIUS
    """Half of a plank's thickness, unit lengths."""
    spots: tuple[Spot, ...] = ()
    gravity: float | None = None
    """Downwards, unit lengths / s^2; None: that of the task."""
    restitution: float | None = None
    """Ratio of the speeds after and before a head-on impact; None: that of the task."""
    look: Look | None = None
    """Camera, light and colours of a varied scene; None: a plain scene."""

    @model_validator(mode="after")
    def _check(self) -> "Scene":
        if not self.balls and not self.blocks:
            raise ValueError("a scene without a ball or a block: expected an object that can move")
        parts = [*self.balls, *self.blocks, *([self.screen] if self.screen else [])]
        colours = [*(self.bins or ()), *(part.colour for part in parts)]
        if len(set(colours)) < len(colours):
            raise ValueError(f"colours {colours}: expected all different, since answers name colours")
        return self

    @property
    def ball(self) -> Ball:
        """Return the first ball."""
        return self.balls[0]

    @property
    def is_varied(self) -> bool:
        """Return True for a varied scene."""
        return self.look is not None

    @property
    def num_given_frames(self) -> int:
        """Return the number of frames shown before the question, 1 or 5; the last of them is the current one."""
        return NUM_GIVEN_FRAMES[self.task]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, without defaults of varied scenes; `from_dict` gives an equal scene."""
        left_out = {field.name for field in fields(self) if field.name in _VARIED and _is_default(self, field)}
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Scene":
        """Return the scene that `to_dict` described.

        Raises:
            ValueError: for an unknown or missing key, an unknown colour or task, a coordinate outside the picture.
        """
        try:
            # Through JSON text: only there does strict validation accept lists as tuples.
            return _SCENE.validate_json(json.dumps(dict(values)))
        except ValidationError as error:
            raise ValueError(f"not a scene of Foresight: {error}") from error


@dataclass(config=STRICT, frozen=True, kw_only=True)
class Kit:
    """Sizes and hidden constants of a varied scene, drawn before the scene is proposed."""

    ball_radius: float
    plank_radius: float
    gravity: float | None = None
    restitution: float | None = None


_SCENE = TypeAdapter(Scene)
_VARIED: Final = ("ball_radius", "plank_radius", "spots", "gravity", "restitution", "look")


def _is_default(scene: Scene, field: DataclassField) -> bool:
    return getattr(scene, field.name) == field.default


def num_future_slots(task: Task) -> int:
    """Return the number of latent slots after the given frames: 4 after a picture, 3 after a clip."""
    return (NUM_FRAMES - NUM_GIVEN_FRAMES[task]) // TEMPORAL_STRIDE


def third(x: float) -> int:
    """Return the third of the picture that holds a position x (unit lengths): 0 left, 1 middle, 2 right."""
    return min(max(int(3 * x), 0), 2)
