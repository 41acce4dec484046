"""The physics agrees with closed forms, in unit lengths and seconds."""

import math

import numpy as np
import pytest

from theworld.foresight.physics import FRICTION, GRAVITY, TIME_STEP_S, Motion, simulate
from theworld.foresight.scene import BALL_RADIUS, FLOOR_Y, FRAME_RATE_HZ, PLANK_RADIUS, WALL_WIDTH, Ball, Plank, Scene

HALF_PIXEL = 0.5 / 64


def scene(x: float, y: float, *planks: Plank) -> Scene:
    return Scene(task="drop", balls=(Ball(x=x, y=y, colour="red"),), planks=planks, bins=("blue", "green", "orange"))


def test_a_free_fall_follows_half_g_t_squared():
    heights = simulate(scene(0.5, 0.1)).positions[:5, 0, 1]
    for frame, height in enumerate(heights):
        time_s = frame / FRAME_RATE_HZ
        # Chipmunk moves first and accelerates then: it lags by half a step's worth of the speed, and by no more.
        lag = GRAVITY * time_s * TIME_STEP_S / 2
        assert height == pytest.approx(0.1 + GRAVITY * time_s**2 / 2 - lag, abs=1e-9)


def test_a_free_fall_is_vertical_and_ends_on_the_floor():
    motion = simulate(scene(0.5, 0.1))
    np.testing.assert_allclose(motion.positions[:, 0, 0], 0.5, atol=1e-9)
    assert motion.positions[-1, 0, 1] == pytest.approx(FLOOR_Y - BALL_RADIUS, abs=2e-4)
    assert motion.has_come_to_rest


def test_a_disc_rolls_downhill_with_two_thirds_of_the_slope_acceleration():
    tilt = 0.2
    assert math.tan(tilt) < 3 * FRICTION  # it rolls and does not slip
    plank = Plank(x0=0.1, y0=0.3, x1=0.1 + 0.6 * math.cos(tilt), y1=0.3 + 0.6 * math.sin(tilt))
    apart = BALL_RADIUS + PLANK_RADIUS
    x = 0.1 + 0.1 * math.cos(tilt) + apart * math.sin(tilt)
    y = 0.3 + 0.1 * math.sin(tilt) - apart * math.cos(tilt)
    path = simulate(scene(x, y, plank)).positions[:6, 0]
    rolled = np.hypot(*(path - path[0]).T)
    expected = GRAVITY * math.sin(tilt) * 2 / 3 * (np.arange(6) / FRAME_RATE_HZ) ** 2 / 2
    np.testing.assert_allclose(rolled[1:], expected[1:], rtol=0.05)


def test_a_ball_stays_between_the_walls_and_out_of_the_planks(items):
    for item in items:
        centres = item.positions[:, 0]
        assert centres[:, 0].min() > WALL_WIDTH + BALL_RADIUS - HALF_PIXEL
        assert centres[:, 0].max() < 1 - WALL_WIDTH - BALL_RADIUS + HALF_PIXEL
        for plank in item.scene.planks:
            start, end = np.array([plank.x0, plank.y0]), np.array([plank.x1, plank.y1])
            along = ((centres - start) @ (end - start) / ((end - start) ** 2).sum()).clip(0, 1)
            nearest = start + along[:, None] * (end - start)
            assert np.hypot(*(centres - nearest).T).min() > BALL_RADIUS + PLANK_RADIUS - HALF_PIXEL


def test_a_motion_has_seventeen_frames_and_starts_where_the_scene_says():
    motion = simulate(scene(0.5, 0.1))
    assert motion.positions.shape == (17, 1, 2)
    assert motion.positions[0, 0].tolist() == [0.5, 0.1]


@pytest.mark.parametrize(
    ("speed", "last_step", "at_rest"),
    [(0.0, 0.0, True), (0.019, 0.003, True), (0.021, 0.0, False), (0.0, 0.004, False)],
)
def test_a_ball_is_at_rest_if_it_is_slow_and_has_hardly_moved_since_the_frame_before(speed, last_step, at_rest):
    positions = np.zeros((17, 1, 2))
    positions[-1, 0, 0] = last_step
    assert Motion(positions, np.array([speed])).has_come_to_rest is at_rest


def test_the_same_scene_moves_the_same_way(items):
    np.testing.assert_array_equal(simulate(items[3].scene).positions, items[3].positions)
