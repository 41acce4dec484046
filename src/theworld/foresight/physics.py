"""The physics of a scene: a pymunk space in unit lengths, and the motion of its balls."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pymunk
from jaxtyping import Float

from theworld.foresight.scene import (
    BALL_RADIUS,
    DIVIDER_RADIUS,
    DIVIDER_TOP_Y,
    FLOOR_Y,
    FRAME_RATE_HZ,
    NUM_FRAMES,
    PLANK_RADIUS,
    WALL_WIDTH,
    Scene,
)

GRAVITY: Final = 2.0
"""Downwards, unit lengths / s^2: a free fall over the whole picture takes one second."""
RESTITUTION: Final = 0.1
"""Speed after over speed before a head-on impact of a ball on anything fixed."""
FRICTION: Final = 0.25
"""Coulomb's coefficient between a ball and anything fixed."""
STEPS_PER_FRAME: Final = 30
TIME_STEP_S: Final = 1 / (FRAME_RATE_HZ * STEPS_PER_FRAME)
REST_SPEED: Final = 0.02
"""Unit lengths / s below which a ball is at rest: a fifth of a pixel per frame at 64 px."""

_CONTACT_DEPTH = 1e-4  # Chipmunk lets contacts sink by 0.1 units otherwise: it counts in pixels
_BLOCK_RADIUS = 0.5  # floor and walls reach far beyond the picture, so that nothing tunnels through


@dataclass(frozen=True)
class Motion:
    """Where the balls of a scene are in each frame, and how fast they are in the last."""

    positions: Float[np.ndarray, "17 num_balls 2"]
    """Centres (x, y) in unit lengths."""
    final_speeds: Float[np.ndarray, " num_balls"]
    """Unit lengths / s."""

    @property
    def has_come_to_rest(self) -> bool:
        """Whether every ball is at rest: slow in the last frame, and not just at the turn of a bounce."""
        moved = np.linalg.norm(self.positions[-1] - self.positions[-2], axis=-1)
        return bool((self.final_speeds < REST_SPEED).all() and (moved * FRAME_RATE_HZ < REST_SPEED).all())


class Simulation:
    """A scene in a pymunk space, moved on frame by frame.

    Args:
        scene: what to simulate.
        shift: added to the start (x, y) of every ball, unit lengths.
    """

    def __init__(self, scene: Scene, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        self._space = pymunk.Space()
        self._space.gravity = (0.0, GRAVITY)
        self._space.collision_slop = _CONTACT_DEPTH
        for plank in scene.planks:
            self._fix((plank.x0, plank.y0), (plank.x1, plank.y1), PLANK_RADIUS)
        self._fix((-1.0, FLOOR_Y + _BLOCK_RADIUS), (2.0, FLOOR_Y + _BLOCK_RADIUS), _BLOCK_RADIUS)
        for x in (WALL_WIDTH - _BLOCK_RADIUS, 1 - WALL_WIDTH + _BLOCK_RADIUS):
            self._fix((x, -2.0), (x, 2.0), _BLOCK_RADIUS)
        for x in (1 / 3, 2 / 3):
            self._fix((x, DIVIDER_TOP_Y + DIVIDER_RADIUS), (x, FLOOR_Y), DIVIDER_RADIUS)
        self.bodies: list[pymunk.Body] = []
        """One per ball, mass 1."""
        for ball in scene.balls:
            body = pymunk.Body(1.0, pymunk.moment_for_circle(1.0, 0.0, BALL_RADIUS))
            body.position = (ball.x + shift[0], ball.y + shift[1])
            circle = pymunk.Circle(body, BALL_RADIUS)
            # Chipmunk multiplies the two shapes' values: what is fixed carries the coefficients.
            circle.elasticity = circle.friction = 1.0
            self._space.add(body, circle)
            self.bodies.append(body)

    def _fix(self, start: tuple[float, float], end: tuple[float, float], radius: float) -> None:
        segment = pymunk.Segment(self._space.static_body, start, end, radius)
        segment.elasticity = RESTITUTION
        segment.friction = FRICTION
        self._space.add(segment)

    def advance(self) -> None:
        """Move on by one frame, 1/6 s."""
        for _ in range(STEPS_PER_FRAME):
            self._space.step(TIME_STEP_S)


def simulate(scene: Scene) -> Motion:
    """The motion of a scene over its 17 frames."""
    simulation = Simulation(scene)
    positions = [[body.position for body in simulation.bodies]]
    for _ in range(NUM_FRAMES - 1):
        simulation.advance()
        positions.append([body.position for body in simulation.bodies])
    speeds = [body.velocity.length for body in simulation.bodies]
    return Motion(np.array(positions), np.array(speeds))
