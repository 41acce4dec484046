"""The physics agrees with closed forms, in unit lengths and seconds."""

import math

import numpy as np
import pytest

from theworld.datasets.foresight.physics import GRAVITY, LAWS, TIME_STEP_S, Law, Motion, simulate
from theworld.datasets.foresight.scene import (
    BALL_RADIUS,
    COLOURS,
    FLOOR_Y,
    FRAME_RATE_HZ,
    PLANK_RADIUS,
    WALL_WIDTH,
    Ball,
    Block,
    Plank,
    Scene,
)

HALF_PIXEL = 0.5 / 64
TABLE = Law(gravity=0.0, restitution=1.0, friction=0.0)
TIMES_S = np.arange(17) / FRAME_RATE_HZ


def ball(x: float, y: float, vx: float = 0.0, vy: float = 0.0, colour: str = "red") -> Ball:
    return Ball(x=x, y=y, vx=vx, vy=vy, colour=colour)  # pyright: ignore[reportArgumentType]


def path_of(scene: Scene, law: Law | None = None) -> np.ndarray:
    """Centres of the first body, (17, 2)."""
    return simulate(scene, law).poses[:, 0, :2]


def velocities(poses: np.ndarray, frame: int) -> np.ndarray:
    """Mean velocities of all bodies between a frame and the next, (num_bodies, 2)."""
    return (poses[frame + 1, :, :2] - poses[frame, :, :2]) * FRAME_RATE_HZ


def test_a_free_fall_follows_half_g_t_squared():
    heights = path_of(Scene(task="drop", balls=(ball(0.5, 0.1),)))[:5, 1]
    # Chipmunk moves first and accelerates then: it lags by half a step's worth of the speed, and by no more.
    expected = 0.1 + GRAVITY * TIMES_S[:5] ** 2 / 2 - GRAVITY * TIMES_S[:5] * TIME_STEP_S / 2
    np.testing.assert_allclose(heights, expected, atol=1e-9)


@pytest.mark.parametrize("y", [0.05, 0.1, 0.3, 0.6])
def test_a_free_fall_takes_the_root_of_two_heights_over_g(y):
    fall_s = math.sqrt(2 * (FLOOR_Y - BALL_RADIUS - y) / GRAVITY)
    heights = path_of(Scene(task="drop", balls=(ball(0.5, y),)), Law(restitution=0.0))[:, 1]
    landed = np.abs(heights - (FLOOR_Y - BALL_RADIUS)) < 0.012  # an impact sinks in by a step's way at most
    assert landed.argmax() == math.ceil((fall_s + TIME_STEP_S) * FRAME_RATE_HZ)
    assert landed[landed.argmax() :].all()
    assert heights[-1] == pytest.approx(FLOOR_Y - BALL_RADIUS, abs=2e-4)


def test_a_throw_comes_back_to_its_height_after_two_vx_vy_over_g():
    path = path_of(Scene(task="drop", balls=(ball(0.2, 0.6, vx=0.6, vy=-1.0),)))
    frames = round(2 * 1.0 / GRAVITY * FRAME_RATE_HZ)
    assert path[frames, 0] - 0.2 == pytest.approx(2 * 0.6 * 1.0 / GRAVITY, abs=1e-9)
    assert path[frames, 1] == pytest.approx(0.6, abs=0.006)  # half a step's worth of gravity over one second
    assert path[:, 1].min() == pytest.approx(0.6 - 1.0**2 / (2 * GRAVITY), abs=0.006)


def test_a_ball_comes_back_from_a_post_with_nine_tenths_of_its_speed():
    post = Plank(x0=0.7, y0=0.2, x1=0.7, y1=0.9)
    scene = Scene(task="hide", balls=(ball(0.2, 0.5, vx=0.5),), planks=(post,))
    path = path_of(scene, Law(gravity=0.0, restitution=0.9, friction=0.0))
    touch_x = 0.7 - PLANK_RADIUS - BALL_RADIUS
    after_s = TIMES_S - (touch_x - 0.2) / 0.5
    expected = np.where(after_s < 0, touch_x + 0.5 * after_s, touch_x - 0.45 * after_s)
    np.testing.assert_allclose(path[:12, 0], expected[:12], atol=2 * 0.5 * TIME_STEP_S)  # the impact takes one step
    assert (path[11, 0] - path[10, 0]) * FRAME_RATE_HZ == pytest.approx(-0.45, abs=1e-6)


def test_equal_balls_exchange_their_velocities_in_an_elastic_head_on_impact():
    poses = simulate(Scene(task="collide", balls=(ball(0.2, 0.5, 0.3), ball(0.6, 0.5, -0.1, 0, "blue"))), TABLE).poses
    np.testing.assert_allclose(velocities(poses, 0), [[0.3, 0.0], [-0.1, 0.0]], atol=1e-9)
    np.testing.assert_allclose(velocities(poses, 8), [[-0.1, 0.0], [0.3, 0.0]], atol=1e-6)


def test_an_elastic_oblique_impact_keeps_momentum_and_energy_and_parts_at_a_right_angle():
    scene = Scene(task="collide", balls=(ball(0.2, 0.46, 0.3), ball(0.5, 0.5, 0, 0, "blue")))
    poses = simulate(scene, TABLE).poses
    before, after = velocities(poses, 0), velocities(poses, 8)
    assert np.abs(after[1]).min() > 0.05
    np.testing.assert_allclose(after.sum(0), before.sum(0), atol=1e-6)
    assert (after**2).sum() == pytest.approx((before**2).sum(), rel=1e-5)
    assert after[0] @ after[1] == pytest.approx(0.0, abs=1e-5)


def test_balls_that_stick_together_keep_their_momentum_and_their_distance():
    scene = Scene(task="collide", balls=(ball(0.2, 0.47, 0.3), ball(0.6, 0.5, -0.1, 0.04, "blue")))
    poses = simulate(scene).poses
    np.testing.assert_allclose(velocities(poses, 0).mean(0), [0.1, 0.02], atol=1e-9)
    for frame in range(8, 16):
        np.testing.assert_allclose(velocities(poses, frame).mean(0), [0.1, 0.02], atol=1e-4)
    distances = np.linalg.norm(poses[8:, 1, :2] - poses[8:, 0, :2], axis=-1)
    np.testing.assert_allclose(distances, 2 * BALL_RADIUS, atol=2e-3)


def test_a_disc_rolls_downhill_with_two_thirds_of_the_slope_acceleration():
    tilt = 0.2
    assert math.tan(tilt) < 3 * LAWS["roll"].friction  # it rolls and does not slip
    plank = Plank(x0=0.1, y0=0.3, x1=0.1 + 0.6 * math.cos(tilt), y1=0.3 + 0.6 * math.sin(tilt))
    apart = BALL_RADIUS + PLANK_RADIUS
    x = 0.1 + 0.1 * math.cos(tilt) + apart * math.sin(tilt)
    y = 0.3 + 0.1 * math.sin(tilt) - apart * math.cos(tilt)
    path = path_of(Scene(task="roll", balls=(ball(x, y),), planks=(plank,)))[:6]
    rolled = np.hypot(*(path - path[0]).T)
    np.testing.assert_allclose(rolled[1:], (GRAVITY * math.sin(tilt) * 2 / 3 * TIMES_S[1:6] ** 2 / 2), rtol=0.05)


@pytest.mark.parametrize("speed", [0.3, -0.5, 0.6])
def test_a_rolling_ball_stops_after_v_squared_over_two_a(speed):
    start_x = 0.1 if speed > 0 else 0.9
    path = path_of(Scene(task="hide", balls=(ball(start_x, FLOOR_Y - BALL_RADIUS, speed),)))
    way = speed**2 / (2 * LAWS["hide"].deceleration)
    assert path[-1, 0] == pytest.approx(start_x + math.copysign(way, speed), abs=0.003)  # half a step at full speed
    assert path[-1, 0] == pytest.approx(path[-2, 0], abs=1e-4)


def tower(*xs: float) -> Scene:
    """Blocks 0.2 wide, from the lowest up."""
    blocks = [
        Block(x=x, y=round(FLOOR_Y - 0.1 * (level + 0.5), 4), width=0.2, height=0.1, colour=colour)
        for level, (x, colour) in enumerate(zip(xs, COLOURS, strict=False))
    ]
    return Scene(task="topple", blocks=tuple(blocks))


@pytest.mark.parametrize(("share", "falls"), [(0.9, False), (1.1, True)])
@pytest.mark.parametrize("side", [-1, 1])
def test_a_harmonic_stack_stands_up_to_its_limit_and_falls_beyond(share, falls, side):
    # From the top each block may jut out by 1/2, 1/4, 1/6 of a block's width over all that lies below.
    offsets = [0.2 * part * share * side for part in (0, 1 / 6, 1 / 4, 1 / 2)]
    poses = simulate(tower(*(0.5 + np.cumsum(offsets)))).poses
    moved = poses[-1, :, 0] - poses[0, :, 0]
    assert (moved[-1] * side > 0.1) if falls else (np.abs(moved).max() < 0.005)


def test_a_weight_on_its_back_holds_a_block_that_would_fall_alone():
    assert simulate(tower(0.5, 0.62)).poses[-1, 1, 0] > 0.7
    assert simulate(tower(0.5, 0.62, 0.53)).poses[-1, 1, 0] == pytest.approx(0.62, abs=0.005)


def test_a_table_seen_from_above_has_four_rails_and_no_gravity():
    path = path_of(Scene(task="collide", balls=(ball(0.5, 0.8, 0.0, 0.5), ball(0.1, 0.1, 0, 0, "blue"))), TABLE)
    steps = np.diff(path[:, 1]) * FRAME_RATE_HZ
    assert path[:, 1].min() > WALL_WIDTH + BALL_RADIUS - HALF_PIXEL
    assert path[:, 1].max() < 1 - WALL_WIDTH - BALL_RADIUS + HALF_PIXEL
    np.testing.assert_allclose(steps[[0, 7, 15]], [0.5, -0.5, 0.5], atol=1e-6)


def test_bodies_stay_between_the_walls_and_balls_out_of_the_planks(items):
    for item in items[:100]:
        for index in range(len(item.scene.balls)):
            centres = item.poses[:, index, :2]
            assert centres[:, 0].min() > WALL_WIDTH + BALL_RADIUS - HALF_PIXEL
            assert centres[:, 0].max() < 1 - WALL_WIDTH - BALL_RADIUS + HALF_PIXEL
            for plank in item.scene.planks:
                start, end = np.array([plank.x0, plank.y0]), np.array([plank.x1, plank.y1])
                along = ((centres - start) @ (end - start) / ((end - start) ** 2).sum()).clip(0, 1)
                nearest = start + along[:, None] * (end - start)
                assert np.hypot(*(centres - nearest).T).min() > BALL_RADIUS + PLANK_RADIUS - HALF_PIXEL
        assert item.poses[..., 0].min() > 0
        assert item.poses[..., 0].max() < 1


def test_a_motion_has_seventeen_frames_and_starts_where_the_scene_says():
    motion = simulate(tower(0.5, 0.55))
    assert motion.poses.shape == (17, 2, 3)
    assert motion.poses[0].tolist() == [[0.5, 0.88, 0.0], [0.55, 0.78, 0.0]]


@pytest.mark.parametrize(
    ("speed", "last_step", "at_rest"),
    [(0.0, 0.0, True), (0.019, 0.003, True), (0.021, 0.0, False), (0.0, 0.004, False)],
)
def test_a_ball_is_at_rest_if_it_is_slow_and_has_hardly_moved_since_the_frame_before(speed, last_step, at_rest):
    poses = np.zeros((17, 1, 3))
    poses[-1, 0, 0] = last_step
    assert Motion(poses, np.array([speed])).has_come_to_rest is at_rest


def test_the_same_scene_moves_the_same_way(items):
    scene = items[3].scene
    np.testing.assert_array_equal(simulate(scene).poses, simulate(scene).poses)
