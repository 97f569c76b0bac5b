"""Relocate: the hand takes a ball from the table and carries it to a place in the air.

Observation (39): joints of arm and hand (30), palm minus ball (3), palm minus target (3), ball minus target (3). Lengths in m,
angles in rad.
"""

import numpy as np

from residual_rl.tasks.adroit.hand import TOUCH, AdroitWorld, State, distance
from residual_rl.tasks.adroit.task import SPECS

NEAR = 0.1
"""m between ball and target, within which the goal is reached."""
LIFTED = 0.04
"""m, the height of the ball's centre above which it counts as lifted."""
BALL = ((-0.15, 0.15), (-0.15, 0.3))
TARGET = ((-0.2, 0.2), (-0.2, 0.2), (0.15, 0.35))
"""m, the ranges of their coordinates."""


class RelocateWorld(AdroitWorld):
    """Ball and target, at new places in each episode."""

    task = "relocate"
    spec = SPECS["relocate"]

    def place(self, rng: np.random.Generator, place: np.ndarray, qpos: np.ndarray) -> None:
        """Draw where the ball lies and where it is to be. The ball's slides are along x, y and z, from the table's centre."""
        qpos[-6:-4] = [rng.uniform(low, high) for low, high in BALL]
        place[:3] = [rng.uniform(low, high) for low, high in TARGET]

    def observe_state(self, state: State) -> np.ndarray:
        """Return the 39 entries `[E, 39]`."""
        palm, ball, target = self._points(state.sensors)
        return np.concatenate([self.joints(state)[:, :-6], palm - ball, palm - target, ball - target], axis=1)

    def proprioception(self, state: State) -> np.ndarray:
        """Return joints (30), palm (3), touch (21): `[E, 54]`."""
        return np.concatenate(
            [self.joints(state)[:, :-6], self.read(state.sensors, "S_grasp"), state.sensors[:, TOUCH]], axis=1
        )

    def is_reached(self, physics: np.ndarray, sensors: np.ndarray) -> np.ndarray:
        """Return whether the ball is near its target: `[E]` bool."""
        _, ball, target = self._points(sensors)
        return distance(ball, target) < NEAR

    def dense_reward(self, state: State) -> np.ndarray:
        """Return the published dense reward `[E]`, with which the palm is drawn to the ball."""
        palm, ball, target = self._points(state.sensors)
        left = distance(ball, target)
        carried = (ball[:, 2] > LIFTED) * (1.0 - 0.5 * distance(palm, target) - 0.5 * left)
        return carried + 10.0 * (left < NEAR) + 20.0 * (left < NEAR / 2) - 0.1 * distance(palm, ball)

    def _points(self, sensors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.read(sensors, "S_grasp"), self.read(sensors, "Object"), self.read(sensors, "target")
