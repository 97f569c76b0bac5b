"""The environment and the controller of the tutorial. `examples/` shows them as a user would write them."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from residual_rl.controllers import per_lane

STEP = 0.05  # s
HALF_LENGTH = 0.5  # m: beyond it the ball falls off the beam
LARGEST_TILT = 0.2  # rad, that the servo can be commanded
LAG = 0.15  # s: time constant of the servo
ROLLING = 5 / 7 * 9.81  # m/s^2 for each rad of tilt: a solid ball that does not slip
ASKEW = 0.04  # rad, by which the beam is not mounted level
HORIZON = 100


class BallOnBeam(gymnasium.Env[np.ndarray, np.ndarray]):
    """Bring the ball to the mark, and hold it there.

    Observation: from ball to mark (m), the ball's velocity (m/s), its position (m), the servo's angle (rad).
    Action: the commanded tilt, from -1 to 1 of the largest.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Place the mark and the ball, at rest, somewhere on the beam."""
        super().reset(seed=seed)
        self.position, self.mark = self.np_random.uniform(-0.35, 0.35, 2)
        self.velocity = self.angle = 0.0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Simulate a twentieth of a second."""
        self.angle += (LARGEST_TILT * float(action[0]) - self.angle) * STEP / LAG
        self.velocity += ROLLING * np.sin(self.angle + ASKEW) * STEP
        self.position += self.velocity * STEP
        distance = abs(self.mark - self.position)
        fallen = bool(abs(self.position) > HALF_LENGTH)
        held = bool(distance < 0.02 and abs(self.velocity) < 0.05)
        return self._observation(), -distance - 10.0 * fallen, fallen, False, {"is_success": held}

    def _observation(self) -> np.ndarray:
        return np.array([self.mark - self.position, self.velocity, self.position, self.angle])


class PID:
    """Tilt the beam so that the ball rolls to the mark."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start an episode."""
        self.error_sum = 0.0

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """`[4] -> [1]`."""
        error, velocity, _, _ = observation
        self.error_sum += error * STEP
        return np.array([8.0 * error + 2.0 * self.error_sum - 2.0 * velocity])


def ball_on_beam() -> gymnasium.Env:
    """A ball on a beam that is not mounted level, under the id of the tutorial, which is not registered here."""
    return gymnasium.make(
        EnvSpec("BallOnBeam-v0", lambda **_: BallOnBeam(), max_episode_steps=HORIZON), disable_env_checker=True
    )


def pid() -> Any:
    """Its PID controller."""
    return per_lane(PID)
