"""The hand-written drivers of racing, batched and memoryless. Two know the map, two see no more than the scan.

All answer with a steering angle and a speed as `tasks/racing/world.py` takes them.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from residual_rl.errors import ControllerError
from residual_rl.tasks.racing.car import CAR, GRAVITY, SPEED_GAIN
from residual_rl.tasks.racing.scan import BEAM_ANGLE, DIRECTIONS
from residual_rl.tasks.racing.world import PREVIEW, PREVIEW_SPACING, RANGES, SEEN_SPEED
from residual_rl.types import Observation


@dataclass(frozen=True)
class PurePursuit:
    """Steers along the circle to a point of a line ahead, and is as fast as the bends ahead and the way to brake let it be.

    The steering angle is that of the circle, and what a bend takes besides at this speed, in a steady state of the car's model.

    Source: Coulter 1992 (CMU-RI-TR-92-01) for the circle; the speed profile is the usual pass against the driving direction,
    from the speed that each bend allows, with what a bend leaves of the friction for braking.
    """

    line: Literal["centre", "fast"] = "centre"
    """The centre line, or the line of least curvature between the walls."""
    side_acceleration: float = 5.0
    """m/s^2 in bends; the car's friction gives 7.8."""
    braking: float = 3.5
    """m/s^2"""
    look_ahead: float = 0.4
    """m to the point that is steered to, at standstill."""
    look_ahead_time: float = 0.2
    """s of driving that are added to it."""

    speeding_up: float = 4.0
    """m/s^2: more would take the load off the steered wheels."""
    grip: float = 6.5
    """m/s^2: no sharper a bend is steered than takes this at the present speed, or the car would spin."""
    delay: float = 0.12
    """s that the car takes to reach a commanded speed, so the command is the speed for this far ahead."""

    reads_goal = False
    reads_state = True
    sees_more = True

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, 2]`.

        Raises:
            ControllerError: the observation has no state.
        """
        if "state" not in observation:
            raise ControllerError(f"{type(self).__name__} drives by a map: make the environment with_state=True")
        first = 10 if self.line == "centre" else 10 + 3 * PREVIEW
        state = observation["state"][:, first : first + 3 * PREVIEW].reshape(-1, 3, PREVIEW)
        ahead, aside, curvature = state[:, 0], state[:, 1], state[:, 2]
        speed = np.sqrt(self.side_acceleration / np.maximum(np.abs(curvature), 1e-3))
        gaps = np.hypot(np.diff(ahead), np.diff(aside))
        for point in range(PREVIEW - 2, -1, -1):
            square = speed[:, point + 1] ** 2
            left = 1.0 - (square * curvature[:, point + 1] / self.side_acceleration) ** 2  # of the friction ellipse
            in_time = np.sqrt(square + 2 * self.braking * np.sqrt(np.maximum(left, 0.0)) * gaps[:, point])
            speed[:, point] = np.minimum(speed[:, point], in_time)
        now = observation["observation"][:, SEEN_SPEED]
        row, soon = np.arange(len(now)), 1 + np.rint(self.delay * now / PREVIEW_SPACING).astype(int)
        wanted = np.minimum(speed[row, soon], now + self.speeding_up / SPEED_GAIN)
        far = np.hypot(ahead, aside) >= (self.look_ahead + self.look_ahead_time * now)[:, None]
        far[:, -1] = True
        point = np.argmax(far, axis=1)
        x, y = ahead[row, point], aside[row, point]
        front, rear = _slip_angles(SPEED_GAIN * (wanted - now))  # for each m/s^2 to the side
        sharpest = self.grip / np.maximum(now, 0.1) ** 2
        bend = curvature[row, 1].clip(-sharpest, sharpest)
        slip = bend * (CAR.rear - rear * now**2)  # a car in a bend does not go where it points
        bend = (2 * (np.cos(slip) * y - np.sin(slip) * x) / (x**2 + y**2)).clip(-sharpest, sharpest)
        return command(np.arctan(CAR.wheelbase * bend) + bend * now**2 * (front - rear), wanted)


def _slip_angles(acceleration: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the front and rear slip angles in a bend, `[B]` rad per m/s^2 to the side, at an acceleration `[B]` m/s^2."""
    shift = (CAR.height / GRAVITY) * acceleration.clip(-CAR.largest_acceleration, CAR.largest_acceleration)
    front = CAR.rear / ((CAR.rear - shift) * CAR.front_stiffness)
    rear = CAR.front / ((CAR.front + shift) * CAR.rear_stiffness)
    return front / (CAR.friction * GRAVITY), rear / (CAR.friction * GRAVITY)


@dataclass(frozen=True)
class FollowTheGap:
    """Steers into the widest opening that the scan shows, away from the nearest wall, and is as fast as it can still brake.

    Source: Sezer and Gokasan 2012 (Robotics and Autonomous Systems 60), as it is driven in the 1:10 races: the beams about the
    nearest point are closed, and the middle of what is left open is steered to.
    """

    sight: float = 3.5
    """m, beyond which everything is as good as far."""
    bubble: float = 0.35
    """m about the nearest point that are closed."""
    open_from: float = 0.6
    """Share of the farthest range ahead that a beam of the opening must have."""
    widest: float = 1.4
    """rad to either side that are looked at."""
    gain: float = 0.9
    """rad of steering for each rad to the middle of the opening."""
    side_acceleration: float = 4.5
    """m/s^2"""
    braking: float = 3.0
    """m/s^2 for the way that the scan shows free."""

    reads_goal = False

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, 2]`."""
        scan = observation["observation"][:, RANGES]
        looked_at = np.abs(DIRECTIONS) <= self.widest
        angles, ranges = DIRECTIONS[looked_at], scan[:, looked_at]
        nearest = np.argmin(ranges, axis=1)
        closed = np.arctan2(self.bubble, np.maximum(ranges.min(axis=1), 0.05))
        capped = np.minimum(ranges, self.sight)
        is_open = capped >= self.open_from * capped.max(axis=1, keepdims=True)
        is_open &= np.abs(angles - angles[nearest][:, None]) > closed[:, None]
        run, best, end = (np.zeros(len(scan)) for _ in range(3))
        for beam in range(len(angles)):
            run = (run + capped[:, beam]) * is_open[:, beam]
            best, end = np.where(run > best, (run, np.full_like(end, beam)), (best, end))
        start = end.copy()
        for _ in range(len(angles)):
            inside = is_open[np.arange(len(scan)), np.maximum(start - 1, 0).astype(int)] & (start > 0)
            start = start - inside
        towards = angles[0] + BEAM_ANGLE * (start + end) / 2
        return _within_sight(scan, self.gain * towards, self.side_acceleration, self.braking)


@dataclass(frozen=True)
class PotentialField:
    """Is repelled by every wall in the scan and attracted by free space, and is as fast as it can still brake.

    Source: Khatib 1986 (International Journal of Robotics Research 5). That a range pulls along its beam is what becomes of the
    goal's attraction if there is no goal, but a track to go on along.
    """

    pull_power: float = 2.0
    """Power of a range that its beam is pulled with."""
    push: float = 0.25
    """Weight of the walls beside the car against the pull."""
    ahead: float = 1.6
    """rad to either side whose beams pull."""
    gain: float = 0.9
    """rad of steering for each rad of the force's direction."""
    side_acceleration: float = 4.5
    """m/s^2"""
    braking: float = 3.0
    """m/s^2 for the way that the scan shows free."""

    reads_goal = False

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, 2]`."""
        scan = np.maximum(observation["observation"][:, RANGES], 0.05)
        pull = np.where(np.abs(DIRECTIONS) < self.ahead, scan**self.pull_power, 0.0)
        pull /= pull.sum(axis=1, keepdims=True)
        push = self.push / scan**2 * BEAM_ANGLE
        along = ((pull - push) * np.cos(DIRECTIONS)).sum(axis=1)
        across = ((pull - push) * np.sin(DIRECTIONS)).sum(axis=1)
        return _within_sight(scan, self.gain * np.arctan2(across, np.maximum(along, 0.1)), self.side_acceleration, self.braking)


def command(steering: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Return the action `[B, 2]` for a steering angle `[B]` rad and a speed `[B]` m/s."""
    return np.column_stack([(steering / CAR.largest_steering).clip(-1.0, 1.0), (2 * speed / CAR.top_speed - 1).clip(-1.0, 1.0)])


def _within_sight(scan: np.ndarray, steering: np.ndarray, side_acceleration: float, braking: float) -> np.ndarray:
    """Return the action `[B, 2]` for a steering angle `[B]` rad: as fast as bend and free way `scan` `[B, 60]` m allow."""
    steering = steering.clip(-CAR.largest_steering, CAR.largest_steering)
    beam = np.rint(steering / BEAM_ANGLE + (len(DIRECTIONS) - 1) / 2).astype(int)
    row = np.arange(len(scan))
    free = np.minimum(np.minimum(scan[row, beam - 1], scan[row, beam + 1]), scan[row, beam]) - CAR.length
    curvature = np.tan(steering) / CAR.wheelbase
    fast = np.minimum(
        np.sqrt(2 * braking * np.maximum(free, 0.02)), np.sqrt(side_acceleration / np.maximum(np.abs(curvature), 1e-3))
    )
    return command(steering, fast)
