"""Door: the hand turns the latch and pulls the door open.

Observation (39): joints of arm and hand without the first (27), latch, hinge, palm (3), handle (3), palm minus handle (3), and
1 if the door is open by more than 1 rad, else -1. Lengths in m, angles in rad.
"""

import numpy as np

from residual_rl.tasks.adroit.hand import LARGEST_FORCE, TOUCH, AdroitWorld, State, distance
from residual_rl.tasks.adroit.task import SPECS

OPEN = 1.35
"""rad, the hinge at which the goal is reached."""
WIDEST = 1.57
HINGE, LATCH = -2, -1
"""Columns of the joints."""
FRAME = ((-0.3, -0.2), (0.25, 0.35), (0.252, 0.35))
"""m, the range of each coordinate of the door's frame."""


class DoorWorld(AdroitWorld):
    """The door, at a new place in each episode."""

    task = "door"
    spec = SPECS["door"]

    def place(self, rng: np.random.Generator, place: np.ndarray, qpos: np.ndarray) -> None:
        """Draw where the door's frame stands."""
        place[:3] = [rng.uniform(low, high) for low, high in FRAME]

    def observe_state(self, state: State) -> np.ndarray:
        """Return the 39 entries `[E, 39]`."""
        joints = self.joints(state)
        palm, handle = self.read(state.sensors, "S_grasp"), self.read(state.sensors, "S_handle")
        hinge = joints[:, [HINGE]]
        is_open = np.where(hinge > 1.0, 1.0, -1.0)
        return np.concatenate([joints[:, 1:-2], joints[:, [LATCH]], hinge, palm, handle, palm - handle, is_open], axis=1)

    def proprioception(self, state: State) -> np.ndarray:
        """Return joints (28), their velocities (28), palm (3), forces and touch (41): `[E, 100]`."""
        palm, felt = self.read(state.sensors, "S_grasp"), state.sensors[:, : TOUCH.stop].clip(-LARGEST_FORCE, LARGEST_FORCE)
        return np.concatenate([self.joints(state)[:, :-2], self.velocities(state)[:, :-2], palm, felt], axis=1)

    def is_reached(self, physics: np.ndarray, sensors: np.ndarray) -> np.ndarray:
        """Return whether the door is open: `[E]` bool."""
        return physics[:, 1 + self.nq + HINGE] >= OPEN

    def dense_reward(self, state: State) -> np.ndarray:
        """Return the published dense reward `[E]`, with which the palm is drawn to the handle."""
        hinge = self.joints(state)[:, HINGE]
        palm, handle = self.read(state.sensors, "S_grasp"), self.read(state.sensors, "S_handle")
        costs = 0.1 * distance(palm, handle) + 0.1 * (hinge - WIDEST) ** 2 + 1e-5 * (self.velocities(state) ** 2).sum(axis=1)
        return 2.0 * (hinge > 0.2) + 8.0 * (hinge > 1.0) + 10.0 * (hinge > OPEN) - costs
