"""Physics of a scene: a pymunk space in unit lengths, and the motion of its balls and blocks."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pymunk
import pymunk.constraints
from jaxtyping import Float

from theworld.datasets.foresight.scene import (
    DIVIDER_RADIUS,
    DIVIDER_TOP_Y,
    FLOOR_Y,
    FRAME_RATE_HZ,
    NUM_FRAMES,
    WALL_WIDTH,
    Ball,
    Block,
    Scene,
    Task,
)

GRAVITY: Final = 2.0
"""Downwards, unit lengths / s^2: a free fall over the whole picture takes one second."""
STEPS_PER_FRAME: Final = 30
TIME_STEP_S: Final = 1 / (FRAME_RATE_HZ * STEPS_PER_FRAME)
REST_SPEED: Final = 0.02
"""Slower bodies are at rest, unit lengths / s: a fifth of a pixel per frame at 64 px."""

_CONTACT_DEPTH = 1e-4  # Chipmunk's default of 0.1 units is meant for pixels
_BLOCK_RADIUS = 0.5  # thick floor and walls, so that no body tunnels through
_SOLVER_ITERATIONS = 30  # with Chipmunk's default of 10, a tower of four blocks creeps


@dataclass(frozen=True)
class Law:
    """Physical constants of a kind of scene."""

    gravity: float = GRAVITY
    """Downwards, unit lengths / s^2; 0: a table seen from above."""
    restitution: float = 0.1
    """Ratio of the speeds after and before a head-on impact."""
    friction: float = 0.25
    """Coulomb's coefficient between any two bodies."""
    deceleration: float = 0.0
    """Rolling resistance of a ball on the floor, unit lengths / s^2."""
    sticky: bool = False
    """True: two balls that touch stay together."""
    bouncy_floor: bool = True
    """False: nothing bounces off floor and planks that are not upright."""


LAWS: Final[Mapping[Task, Law]] = {
    "drop": Law(),
    "topple": Law(restitution=0.0, friction=0.6),
    "roll": Law(),
    "collide": Law(gravity=0.0, restitution=0.0, friction=0.0, sticky=True),
    "hide": Law(restitution=0.9, friction=0.0, deceleration=0.35),
}

GRAVITIES: Final = (1.6, 2.4)
"""Range in varied scenes. Gravity alone changes how fast things move from rest, and not where."""
RESTITUTIONS: Final[Mapping[Task, tuple[float, float]]] = {"drop": (0.0, 0.2), "roll": (0.0, 0.2), "hide": (0.8, 1.0)}
"""Ranges in varied scenes; tasks that are not named keep theirs."""


def law_of(scene: Scene) -> Law:
    """Return the physical constants of a scene: those of its task, and its own gravity and restitution."""
    law = LAWS[scene.task]
    falls_off_ledge = scene.is_varied and scene.task == "hide"  # there only posts send a ball back
    return replace(
        law,
        gravity=law.gravity if scene.gravity is None else scene.gravity,
        restitution=law.restitution if scene.restitution is None else scene.restitution,
        bouncy_floor=not falls_off_ledge,
    )


def unseen_variants(scene: Scene) -> tuple[Scene, ...]:
    """Return scenes that differ in what no picture shows, the restitution, at both ends of its range."""
    if not scene.is_varied or scene.task not in RESTITUTIONS:
        return ()
    return tuple(replace(scene, restitution=restitution) for restitution in RESTITUTIONS[scene.task])


@dataclass(frozen=True)
class Motion:
    """Poses of the balls and blocks of a scene in each frame, and their speeds in the last."""

    poses: Float[np.ndarray, "17 num_bodies 3"]
    """Centre (x, y) in unit lengths and angle in rad (clockwise as drawn); balls first, then blocks."""
    final_speeds: Float[np.ndarray, " num_bodies"]
    """Unit lengths / s."""

    @property
    def has_come_to_rest(self) -> bool:
        """Return True if every body is at rest: slow in the last frame, and not at the turn of a bounce."""
        moved = np.linalg.norm(self.poses[-1, :, :2] - self.poses[-2, :, :2], axis=-1)
        return bool((self.final_speeds < REST_SPEED).all() and (moved * FRAME_RATE_HZ < REST_SPEED).all())


class Simulation:
    """A scene in a pymunk space, advanced frame by frame.

    Args:
        scene: the scene to simulate.
        law: its physical constants; None: those of `law_of`.
    """

    def __init__(self, scene: Scene, law: Law | None = None) -> None:
        self._law = law or law_of(scene)
        self._space = pymunk.Space()
        self._space.gravity = (0.0, self._law.gravity)
        self._space.collision_slop = _CONTACT_DEPTH
        self._space.iterations = _SOLVER_ITERATIONS if scene.blocks else 10
        self._stuck = False
        for plank in scene.planks:
            bounces = self._law.bouncy_floor or plank.x0 == plank.x1
            self._fix((plank.x0, plank.y0), (plank.x1, plank.y1), scene.plank_radius, bounces)
        near, far = WALL_WIDTH - _BLOCK_RADIUS, 1 - WALL_WIDTH + _BLOCK_RADIUS
        for x in (near, far):
            self._fix((x, -2.0), (x, 2.0), _BLOCK_RADIUS)
        # A scene seen from the side has a floor and no lid; a table seen from above has four rails.
        for y in (FLOOR_Y + _BLOCK_RADIUS,) if self._law.gravity else (near, far):
            self._fix((-1.0, y), (2.0, y), _BLOCK_RADIUS, self._law.bouncy_floor)
        for x in (1 / 3, 2 / 3) if scene.bins else ():
            self._fix((x, DIVIDER_TOP_Y + DIVIDER_RADIUS), (x, FLOOR_Y), DIVIDER_RADIUS)
        radius = self._ball_radius = scene.ball_radius
        self.bodies: list[pymunk.Body] = []
        """Balls of mass 1, then blocks of mass 100 per unit of area, in the order of the scene."""
        for ball in scene.balls:
            body = pymunk.Body(1.0, pymunk.moment_for_circle(1.0, 0.0, radius))
            body.velocity = (ball.vx, ball.vy)
            if self._law.deceleration:
                body.velocity_func = self._roll
            self._add(body, ball, pymunk.Circle(body, radius))
        for block in scene.blocks:
            sides = (block.width, block.height)
            mass = 100 * block.width * block.height
            body = pymunk.Body(mass, pymunk.moment_for_box(mass, sides))
            self._add(body, block, pymunk.Poly.create_box(body, sides))

    def _add(self, body: pymunk.Body, part: Ball | Block, shape: pymunk.Shape) -> None:
        body.position = (part.x, part.y)
        self._coat(shape)
        self._space.add(body, shape)
        self.bodies.append(body)

    def _fix(self, start: tuple[float, float], end: tuple[float, float], radius: float, bounces: bool = True) -> None:
        segment = pymunk.Segment(self._space.static_body, start, end, radius)
        self._coat(segment)
        if not bounces:
            segment.elasticity = 0.0
        self._space.add(segment)

    def _coat(self, shape: pymunk.Shape) -> None:
        # Chipmunk multiplies the values of the two shapes that meet.
        shape.elasticity = math.sqrt(self._law.restitution)
        shape.friction = math.sqrt(self._law.friction)

    def _roll(self, body: pymunk.Body, gravity: tuple[float, float], damping: float, step_s: float) -> None:
        pymunk.Body.update_velocity(body, gravity, damping, step_s)
        speed = abs(body.velocity.x)
        slower = max(speed - self._law.deceleration * step_s, 0.0)
        body.velocity = (math.copysign(slower, body.velocity.x), body.velocity.y)

    def advance(self) -> None:
        """Advance by one frame, 1/6 s."""
        for _ in range(STEPS_PER_FRAME):
            self._space.step(TIME_STEP_S)
            if self._law.sticky and not self._stuck:
                self._stick()

    def _stick(self) -> None:
        first, second = self.bodies
        if first.position.get_distance(second.position) > 2 * self._ball_radius + _CONTACT_DEPTH:
            return
        pin = pymunk.constraints.PivotJoint(first, second, (first.position + second.position) / 2)
        pin.collide_bodies = False
        self._space.add(pin, pymunk.constraints.GearJoint(first, second, second.angle - first.angle, 1.0))
        self._stuck = True

    @property
    def poses(self) -> list[tuple[float, float, float]]:
        """Return centre (x, y) and angle of every body at the current time."""
        return [(body.position.x, body.position.y, body.angle) for body in self.bodies]


def simulate(scene: Scene, law: Law | None = None) -> Motion:
    """Return the motion of a scene over its 17 frames."""
    simulation = Simulation(scene, law)
    poses = [simulation.poses]
    for _ in range(NUM_FRAMES - 1):
        simulation.advance()
        poses.append(simulation.poses)
    speeds = [body.velocity.length for body in simulation.bodies]
    return Motion(np.array(poses), np.array(speeds))
