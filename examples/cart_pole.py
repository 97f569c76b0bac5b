"""Swing up a pole that hangs from a cart: `CartPoleSwingUp-v0`, an environment for the example of learned models."""

from typing import Any

import gymnasium
import numpy as np

STEP, SUBSTEPS = 0.05, 5  # s, and the steps of the integration in it
HORIZON = 100
FORCE = 10.0  # N, at an action of 1
CART, POLE, LENGTH, GRAVITY = 1.0, 0.2, 0.6, 9.81  # kg, kg, m from the pivot to the mass, m/s^2
FRICTION = 0.5  # N s/m, of the cart


class CartPoleSwingUp(gymnasium.Env):
    """The pole begins hanging. Observation: position in m, velocity in m/s, cosine and sine of the angle from upright, rad/s.

    The reward of a step lies between -0.5 and 1: the height of the mass, from 0 hanging to 1 upright,
    less the cost of being away from the middle and of the force.
    """

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Hang the pole, nearly at rest."""
        super().reset(seed=seed)
        self.state = np.array([0.0, 0.0, np.pi, 0.0]) + self.np_random.normal(0.0, 0.05, 4)
        return self._show(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Push the cart for one step."""
        force = FORCE * float(np.clip(action[0], -1.0, 1.0))
        before = self._show()
        for _ in range(SUBSTEPS):
            _, velocity, angle, spin = self.state
            sine, cosine = np.sin(angle), np.cos(angle)
            pull = force - FRICTION * velocity + POLE * sine * (LENGTH * spin**2 - GRAVITY * cosine)
            acceleration = pull / (CART + POLE * sine**2)
            turn = (GRAVITY * sine - acceleration * cosine) / LENGTH
            self.state = self.state + STEP / SUBSTEPS * np.array([velocity, acceleration, spin, turn])
        shown = self._show()
        return shown, float(reward(before[None], np.asarray(action)[None], shown[None])[0]), False, False, {}

    def _show(self) -> np.ndarray:
        position, velocity, angle, spin = self.state
        return np.array([position, velocity, np.cos(angle), np.sin(angle), spin], np.float32)


# --8<-- [start:reward]
def reward(observation: Any, action: Any, after: Any) -> Any:
    """Return the reward of each step `[B]`, with NumPy or JAX: no function of either is called."""
    upright = (after[:, 2] + 1.0) / 2.0
    aside = after[:, 0] ** 2
    return upright - 0.5 * aside / (1.0 + aside) - 0.01 * action[:, 0] ** 2
    # --8<-- [end:reward]


gymnasium.register("CartPoleSwingUp-v0", CartPoleSwingUp, max_episode_steps=HORIZON)
