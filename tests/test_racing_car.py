"""Racing: the car against what mechanics says, and its scan against every wall, one by one."""

import numpy as np
import pytest

from residual_rl.tasks.racing import tracks
from residual_rl.tasks.racing.car import (
    CAR,
    GRAVITY,
    SLIP,
    SPEED,
    STEERING,
    STEP_SECONDS,
    YAW,
    YAW_RATE,
    X,
    Y,
    drive,
    rolling,
)
from residual_rl.tasks.racing.circuits import Circuits
from residual_rl.tasks.racing.scan import BEAM_ANGLE, DIRECTIONS, FARTHEST, beam_of, scan

MIRROR = np.array([1, -1, -1, 1, -1, -1, -1.0])[:, None]


def started(speed, count=1):
    state = np.zeros((7, count))
    state[SPEED] = speed
    return state


def command(steering, speed):
    return np.column_stack(np.broadcast_arrays(np.divide(steering, CAR.largest_steering), 2 * np.asarray(speed) / 8.0 - 1))


def driven(state, action, steps):
    states = [state]
    for _ in range(steps):
        states.append(drive(CAR, states[-1], action))
    return np.stack(states)


def test_the_car_is_the_published_one():
    assert (CAR.mass, CAR.inertia, CAR.front, CAR.rear) == (3.47, 0.047, 0.159, 0.171)
    assert (CAR.largest_steering, CAR.steering_rate) == (0.4189, 3.2)
    assert (CAR.largest_acceleration, CAR.top_speed, CAR.friction) == (7.51, 8.0, 0.8)
    assert STEP_SECONDS == 0.02


@pytest.mark.parametrize(("speed", "side"), [(2.0, 3.0), (4.0, 4.0), (6.0, 5.0), (7.5, 3.0)])
def test_a_steady_circle_has_the_radius_of_the_linear_theory(speed, side):
    # delta = (L + K v^2) / R with the understeer gradient K of the two stiffnesses.
    gradient = (1 / CAR.front_stiffness - 1 / CAR.rear_stiffness) / (CAR.friction * GRAVITY)
    steering = np.array([(CAR.wheelbase + gradient * speed**2) * side / speed**2])
    path = driven(started(speed), command(steering, speed), 150)
    assert path[-1, YAW_RATE, 0] * speed == pytest.approx(side, rel=1e-3)
    rear_slip = side / (CAR.rear_stiffness * CAR.friction * GRAVITY)
    assert path[-1, SLIP, 0] == pytest.approx(CAR.rear * side / speed**2 - rear_slip, abs=1e-4)
    x, y = path[-80:, X, 0], path[-80:, Y, 0]
    radius = np.hypot(*(np.linalg.lstsq(np.column_stack([x, y, np.ones(80)]), x**2 + y**2)[0][:2] / 2 - [x[0], y[0]]))
    assert radius == pytest.approx(speed**2 / side, rel=1e-3)


def test_a_slow_car_does_not_slip():
    path = driven(started(0.4), command(0.3, 0.4), 400)
    yaw_rate, slip = rolling(CAR, np.array([0.3]), np.array([0.4]))
    np.testing.assert_allclose((path[-1, YAW_RATE], path[-1, SLIP]), (yaw_rate, slip))
    rear_x, rear_y = path[:, X] - CAR.rear * np.cos(path[:, YAW]), path[:, Y] - CAR.rear * np.sin(path[:, YAW])
    moved_aside = np.diff(rear_y[20:], axis=0) * np.cos(path[20:-1, YAW]) - np.diff(rear_x[20:], axis=0) * np.sin(
        path[20:-1, YAW]
    )
    half_turn = np.diff(path[20:, YAW], axis=0) / 2
    np.testing.assert_allclose(moved_aside, 0.4 * STEP_SECONDS * np.sin(half_turn), atol=1e-6)  # the rear axle rolls on


def test_rolling_goes_over_into_slipping_without_a_jump():
    path = driven(started(0.45), command(0.2, 0.6), 60)
    assert np.abs(np.diff(path[:, YAW_RATE, 0])).max() < 0.12
    assert path[-1, SPEED, 0] > 0.58


def test_without_a_command_to_change_it_the_speed_is_kept_and_no_energy_comes_from_anywhere():
    state = started(5.0)
    state[YAW_RATE], state[SLIP] = 1.5, -0.1
    path = driven(state, command(0.0, 5.0), 100)
    np.testing.assert_array_equal(path[:, SPEED], 5.0)
    turning = 0.5 * CAR.inertia * path[:, YAW_RATE, 0] ** 2
    assert turning[-1] < 1e-6  # it dies away
    assert turning.max() <= turning[0] + 1e-9


def test_side_acceleration_never_exceeds_friction():
    rng = np.random.default_rng(0)
    state = started(rng.uniform(2.0, 8.0, 200), 200)
    for _ in range(150):
        before, action = state, rng.uniform(-1, 1, (200, 2))
        state = drive(CAR, before, action)
        course = (state[YAW] + state[SLIP]) - (before[YAW] + before[SLIP])
        fast = np.minimum(before[SPEED], state[SPEED]) > 0.6
        side = np.maximum(before[SPEED], state[SPEED]) * np.abs(course) / STEP_SECONDS
        assert (side[fast] <= 1.1 * CAR.friction * GRAVITY).all()  # the load shift moves it between axles
    assert np.isfinite(state).all()


def test_a_bend_mirrored_is_driven_mirrored():
    rng = np.random.default_rng(1)
    state = started(rng.uniform(0.0, 8.0, 50), 50)
    other = state * MIRROR
    for _ in range(60):
        action = rng.uniform(-1, 1, (50, 2))
        state, other = drive(CAR, state, action), drive(CAR, other, action * (-1, 1))
        np.testing.assert_allclose(other, state * MIRROR, atol=1e-9)


def test_steering_and_speed_change_no_faster_than_the_car_can():
    path = driven(started(0.0), command(CAR.largest_steering, 8.0), 200)
    assert np.diff(path[:, STEERING, 0]).max() == pytest.approx(CAR.steering_rate * STEP_SECONDS)
    assert path[:, STEERING].max() == pytest.approx(CAR.largest_steering)
    assert np.diff(path[:, SPEED, 0]).max() == pytest.approx(CAR.largest_acceleration * STEP_SECONDS)
    assert 7.9 < path[-1, SPEED, 0] <= 8.0
    stopped = driven(path[-1], command(0.0, 0.0), 200)
    assert np.diff(stopped[:, SPEED, 0]).min() == pytest.approx(-CAR.largest_acceleration * STEP_SECONDS)
    assert 0.0 <= stopped[-1, SPEED, 0] < 1e-3


def test_each_car_moves_as_it_would_alone():
    rng = np.random.default_rng(2)
    state, action = started(rng.uniform(0, 8, 33), 33), rng.uniform(-1, 1, (33, 2))
    together = drive(CAR, drive(CAR, state, action), action)
    alone = [drive(CAR, drive(CAR, state[:, [car]], action[[car]]), action[[car]]) for car in range(33)]
    np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))


# --- the scan ---


def placed(circuits, count, seed):
    """Cars anywhere between the walls, pointing anywhere."""
    rng = np.random.default_rng(seed)
    track = rng.integers(len(circuits.tracks), size=count)
    arc = rng.uniform(0, circuits.length[track])
    row = circuits.rows(track, arc)
    aside = rng.uniform(-0.9 * circuits.right[row], 0.9 * circuits.left[row])
    x, y = circuits.x[row] - aside * circuits.along_y[row], circuits.y[row] + aside * circuits.along_x[row]
    return track, arc, x, y, rng.uniform(-np.pi, np.pi, count)


def against_every_wall(track, x, y, yaw):
    """`[60]` m, each beam against each side of both walls."""
    ranges = np.full(len(DIRECTIONS), FARTHEST)
    cosine, sine = np.cos(DIRECTIONS + yaw)[:, None], np.sin(DIRECTIONS + yaw)[:, None]
    for wall in track.walls:
        start = wall - (x, y)
        side = np.roll(start, -1, axis=0) - start
        slant = cosine * side[:, 1] - sine * side[:, 0]
        distance = (start[:, 0] * side[:, 1] - start[:, 1] * side[:, 0]) / slant
        share = (start[:, 0] * sine - start[:, 1] * cosine) / slant
        met = (distance >= 0) & (share >= 0) & (share <= 1)
        ranges = np.minimum(ranges, np.where(met, distance, FARTHEST).min(axis=1))
    return ranges


def test_the_scan_is_the_exact_distance_to_the_nearest_of_all_walls():
    circuits = Circuits(tracks.tracks_of(tracks.TRAINING | tracks.TEST))
    track, *place = placed(circuits, 400, 0)
    exact = [
        against_every_wall(circuits.tracks[number], x, y, yaw) for number, x, y, yaw in zip(track, *place[1:], strict=True)
    ]
    shown = scan(circuits, track, *place)
    assert shown.shape == (400, 60)
    wrong = np.abs(shown - exact) > 1e-3
    assert wrong.sum() <= 2  # of 24,000 beams; those that touch a corner may miss it by a rounding
    assert (shown == FARTHEST).sum() < 400
    assert np.mean(shown) > 1.0


def test_beams_are_counted_as_the_arctangent_says():
    x, y = np.random.default_rng(0).normal(size=(2, 100_000)).astype(np.float32)
    np.testing.assert_allclose((beam_of(x, y) - 29.5) * BEAM_ANGLE, np.arctan2(y, x), atol=5e-6)
    np.testing.assert_allclose(DIRECTIONS[[0, -1]], np.deg2rad([-132.75, 132.75]))


def test_each_car_scans_as_it_would_alone():
    circuits = Circuits(tracks.tracks_of(tracks.VALIDATION))
    place = placed(circuits, 40, 3)
    alone = [scan(circuits, *(value[[car]] for value in place))[0] for car in range(40)]
    np.testing.assert_array_equal(scan(circuits, *place), alone)


def test_progress_is_measured_along_the_centre_line():
    circuits = Circuits(tracks.tracks_of(tracks.TRAINING))
    track, arc, x, y, _ = placed(circuits, 200, 4)
    rng = np.random.default_rng(5)
    behind = rng.uniform(-0.3, 0.3, 200)
    ahead = circuits.follow(track, (arc - behind) % circuits.length[track], x, y)
    np.testing.assert_allclose(ahead, behind, atol=0.04)
    assert not circuits.beyond_walls(track, arc, x, y).any()
    row = circuits.rows(track, arc)
    outside = circuits.left[row] + 0.15
    x, y = circuits.x[row] - outside * circuits.along_y[row], circuits.y[row] + outside * circuits.along_x[row]
    assert circuits.beyond_walls(track, arc, x, y).mean() > 0.97
