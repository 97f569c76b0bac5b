"""Pen: the hand turns a pen on its palm until it points like another one.

Observation (45): joints (24), pen (3), its joint velocities (6), its direction (3), the direction to have (3), pen minus where
it is to be (3), direction minus the direction to have (3). Lengths in m, angles in rad, velocities in m/s and rad/s.
"""

import numpy as np

from residual_rl.tasks.adroit.hand import TOUCH, AdroitWorld, State, distance
from residual_rl.tasks.adroit.task import SPECS

NEAR = 0.075
"""m from where the pen is to be, within which the goal can be reached."""
LIKE = 0.95
"""Cosine of the angle between the directions, beyond which the goal is reached."""
DROPPED = 0.075
"""m, the height of the pen's centre below which it counts as dropped."""
PEN_LENGTH = 0.13
"""m between the two sites that mark its direction."""
MOST_TURNED = 1.0
"""rad, of each of the two Euler angles of the direction to have."""


class PenWorld(AdroitWorld):
    """The pen, to be turned into a new direction in each episode. An episode ends without success if the pen is dropped."""

    task = "pen"
    spec = SPECS["pen"]
    steps_needed = 20

    def place(self, rng: np.random.Generator, place: np.ndarray, qpos: np.ndarray) -> None:
        """Draw the direction to have."""
        about_x, about_y = rng.uniform(-MOST_TURNED, MOST_TURNED) / 2, rng.uniform(-MOST_TURNED, MOST_TURNED) / 2
        cos_x, sin_x, cos_y, sin_y = np.cos(about_x), np.sin(about_x), np.cos(about_y), np.sin(about_y)
        place[3:] = cos_x * cos_y, sin_x * cos_y, cos_x * sin_y, sin_x * sin_y

    def observe_state(self, state: State) -> np.ndarray:
        """Return the 45 entries `[E, 45]`."""
        pen, direction, wanted = self._pen(state.sensors)
        away = pen - self.read(state.sensors, "eps_ball")
        speed = self.velocities(state)[:, -6:]
        return np.concatenate([self.joints(state)[:, :-6], pen, speed, direction, wanted, away, direction - wanted], axis=1)

    def proprioception(self, state: State) -> np.ndarray:
        """Return joints (24), their velocities (24), palm (3), touch (21): `[E, 72]`."""
        palm, joints, velocities = self.read(state.sensors, "S_grasp"), self.joints(state), self.velocities(state)
        return np.concatenate([joints[:, :-6], velocities[:, :-6], palm, state.sensors[:, TOUCH]], axis=1)

    def is_reached(self, physics: np.ndarray, sensors: np.ndarray) -> np.ndarray:
        """Return whether the pen is in place and points as wanted: `[E]` bool."""
        away, cosine = self._apart(sensors)
        return (away < NEAR) & (cosine > LIKE)

    def has_failed(self, state: State) -> np.ndarray:
        """Return whether the pen is dropped: `[E]` bool."""
        return self.read(state.sensors, "Object")[:, 2] < DROPPED

    def dense_reward(self, state: State) -> np.ndarray:
        """Return the published dense reward `[E]`."""
        away, cosine = self._apart(state.sensors)
        near = away < NEAR
        return cosine - away + 10.0 * (near & (cosine > 0.9)) + 50.0 * (near & (cosine > LIKE)) - 5.0 * self.has_failed(state)

    def _pen(self, sensors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the pen's position, its direction, and the direction to have: `[E, 3]` each."""
        direction = self.read(sensors, "object_top") - self.read(sensors, "object_bottom")
        wanted = self.read(sensors, "target_top") - self.read(sensors, "target_bottom")
        return self.read(sensors, "Object"), direction / PEN_LENGTH, wanted / PEN_LENGTH

    def _apart(self, sensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pen's distance from where it is to be, and the cosine between the directions: `[E]` each."""
        pen, direction, wanted = self._pen(sensors)
        return distance(pen, self.read(sensors, "eps_ball")), (direction * wanted).sum(axis=1)
