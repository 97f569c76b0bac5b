"""Hammer: the hand takes a hammer and drives a nail into a board.

Observation (46): joints of arm and hand (26), the nail's slide, the hammer's joint velocities clipped to 1 (6), palm (3),
hammer (3), its Euler angles (3), nail (3), and the force on the nail, clipped to 1. Lengths in m, angles in rad, velocities in
m/s and rad/s.
"""

import numpy as np

from residual_rl.tasks.adroit.hand import LARGEST_FORCE, TOUCH, AdroitWorld, State, distance
from residual_rl.tasks.adroit.task import SPECS
from residual_rl.tasks.fetch import euler_angles

DRIVEN_IN = 0.01
"""m between nail and goal, within which the goal is reached."""
LIFTED = 0.04
"""m above the table."""
BOARD_HEIGHTS = (0.1, 0.25)
"""m"""
HAMMER = slice(-6, None)
"""Columns of its joints."""


class HammerWorld(AdroitWorld):
    """The board, at a new height in each episode."""

    task = "hammer"
    spec = SPECS["hammer"]

    def place(self, rng: np.random.Generator, place: np.ndarray, qpos: np.ndarray) -> None:
        """Draw the board's height."""
        place[2] = rng.uniform(*BOARD_HEIGHTS)

    def observe_state(self, state: State) -> np.ndarray:
        """Return the 46 entries `[E, 46]`."""
        felt = state.sensors
        return np.concatenate(
            [
                self.joints(state)[:, :-6],
                self.velocities(state)[:, HAMMER].clip(-1.0, 1.0),
                self.read(felt, "S_grasp"),
                self.read(felt, "Object"),
                euler_angles(self.read(felt, "Object_quaternion")),
                self.read(felt, "S_target"),
                self.read(felt, "S_nail").clip(-1.0, 1.0),
            ],
            axis=1,
        )

    def proprioception(self, state: State) -> np.ndarray:
        """Return joints (27) and their velocities within 1 (27), palm (3), forces and touch (41): `[E, 98]`."""
        palm, felt = self.read(state.sensors, "S_grasp"), state.sensors[:, : TOUCH.stop].clip(-LARGEST_FORCE, LARGEST_FORCE)
        velocities = self.velocities(state)[:, :-6].clip(-1.0, 1.0)
        return np.concatenate([self.joints(state)[:, :-6], velocities, palm, felt], axis=1)

    def is_reached(self, physics: np.ndarray, sensors: np.ndarray) -> np.ndarray:
        """Return whether the nail is driven in: `[E]` bool."""
        return self._left_to_drive(sensors) < DRIVEN_IN

    def dense_reward(self, state: State) -> np.ndarray:
        """Return the published dense reward `[E]`, with which the palm is drawn to the hammer."""
        palm, hammer, head = (self.read(state.sensors, name) for name in ("S_grasp", "Object", "tool"))
        left = self._left_to_drive(state.sensors)
        speed = np.linalg.norm(self.velocities(state), axis=1)
        costs = 0.1 * distance(palm, hammer) + distance(head, self.read(state.sensors, "S_target")) + 10.0 * left + 0.01 * speed
        lifted = (hammer[:, 2] > LIFTED) & (head[:, 2] > LIFTED)
        return 2.0 * lifted + 25.0 * (left < 2 * DRIVEN_IN) + 75.0 * (left < DRIVEN_IN) - costs

    def _left_to_drive(self, sensors: np.ndarray) -> np.ndarray:
        """Return the distance of the nail from its goal: `[E]` m."""
        return distance(self.read(sensors, "S_target"), self.read(sensors, "nail_goal"))
