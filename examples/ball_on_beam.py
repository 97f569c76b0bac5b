"""A ball on a beam that a servo tilts: an environment that needs NumPy and Gymnasium only."""

from typing import Any

import gymnasium
import numpy as np

STEP = 0.05  # s
HALF_LENGTH = 0.5  # m: beyond it the ball falls off the beam
LARGEST_TILT = 0.2  # rad, the largest command of the servo
LAG = 0.15  # s, the servo's time constant
ROLLING = 5 / 7 * 9.81  # m/s^2 per rad of tilt, for a solid ball that rolls without slipping


class BallOnBeam(gymnasium.Env[np.ndarray, np.ndarray]):
    """Bring the ball to the mark and hold it there.

    Observation: mark minus ball position (m), the ball's velocity (m/s), its position (m), the servo's angle (rad).
    Action: the commanded tilt, from -1 to 1 of the largest.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float64)

    def __init__(self, askew: float = 0.04):
        self.askew = askew  # rad, the mounting error of the beam; the controller does not know it

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Place the mark and the ball, at rest, at random on the beam."""
        super().reset(seed=seed)
        self.position, self.mark = self.np_random.uniform(-0.35, 0.35, 2)
        self.velocity = self.angle = 0.0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Simulate one step of 0.05 s."""
        self.angle += (LARGEST_TILT * float(action[0]) - self.angle) * STEP / LAG
        self.velocity += ROLLING * np.sin(self.angle + self.askew) * STEP
        self.position += self.velocity * STEP
        distance = abs(self.mark - self.position)
        fallen = bool(abs(self.position) > HALF_LENGTH)
        held = bool(distance < 0.02 and abs(self.velocity) < 0.05)
        # A fall costs more than the rest of an episode; if it were free, falling at once would be optimal.
        reward = -distance - 10.0 * fallen
        return self._observation(), reward, fallen, False, {"is_success": held}

    def _observation(self) -> np.ndarray:
        return np.array([self.mark - self.position, self.velocity, self.position, self.angle])


gymnasium.register("BallOnBeam-v0", BallOnBeam, max_episode_steps=100)
