"""Small environments of the kind that users bring, whose answers are known."""

from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from probes import SMALL

from residual_rl.learning.burn_in import FixedBurnIn

QUICK = replace(SMALL["gated-ddpg"], burn_in=FixedBurnIn(cycles=10, updates=30), average_rate=0.05)
BUDGET: dict[str, Any] = {
    "algorithm": QUICK,
    "horizon": 20,
    "episodes_per_cycle": 16,
    "updates_per_cycle": 30,
    "batch_size": 64,
    "evaluation_interval": 1000,
    "evaluation_episodes": 64,
    "verdict_episodes": 128,
    "tell": lambda line: None,
}
"""Of `improve` in one of them: seconds, and enough to learn it."""


class Aim(gymnasium.Env):
    """Each step shows a number in [-1, 1]; the right action is 1 + 2 times it, in [-2, 6]. Ends after 3 to 8 steps, by chance.

    Half of the episodes end by the world, half are cut. Success: the last action was off by less than 0.3.
    """

    observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = spaces.Box(np.array([-2.0], np.float32), np.array([6.0], np.float32))

    def __init__(self, tells_success: bool = False, fails_at: int | None = None):
        self.tells_success = tells_success
        self.fails_at = fails_at
        self.steps = 0
        """Of all episodes."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(3, 9))
        self.cut = bool(self.np_random.integers(2))
        return self._show(), {}

    def _show(self) -> np.ndarray:
        self.shown = self.np_random.uniform(-1.0, 1.0, 1).astype(np.float32)
        return self.shown

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        assert self.left > 0, "stepped after the end"
        assert self.action_space.contains(action), action
        if self.steps == self.fails_at:
            self.fails_at = None
            raise RuntimeError("cable")
        self.steps += 1
        self.left -= 1
        error = float(action[0] - (1.0 + 2.0 * self.shown[0]))
        over = self.left == 0
        info = {"is_success": abs(error) < 0.3} if self.tells_success else {}
        return self._show(), -30.0 * error**2, over and not self.cut, over and self.cut, info

    @staticmethod
    def off_by(bias: float) -> Any:
        """A controller of one observation or many whose actions are off by so much."""

        def biased(observation: np.ndarray) -> np.ndarray:
            return 1.0 + 2.0 * observation + bias

        return biased


class Reach(gymnasium.Env):
    """A point on a plane goes to a goal; the observation is nested, and in other units than the goals."""

    observation_space = spaces.Dict(
        {
            "observation": spaces.Dict(
                {
                    "tip": spaces.Box(-np.inf, np.inf, (2,), np.float32),
                    "arm": spaces.Dict({"joints": spaces.Box(-np.inf, np.inf, (1, 2), np.float64)}),
                }
            ),
            "achieved_goal": spaces.Box(-np.inf, np.inf, (2,), np.float64),
            "desired_goal": spaces.Box(-np.inf, np.inf, (2,), np.float64),
        }
    )
    action_space = spaces.Box(np.array([0.0, -3.0], np.float32), np.array([1.0, 3.0], np.float32))

    def __init__(self, in_batches: bool = True, honest: bool = True):
        self.in_batches = in_batches
        self.honest = honest

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position = np.zeros(2)
        self.goal = self.np_random.uniform(-0.5, 0.5, 2)
        return self._show(), {}

    def _show(self) -> dict[str, Any]:
        observation = {"tip": (10 * self.position).astype(np.float32), "arm": {"joints": -self.position[None]}}
        return {"observation": observation, "achieved_goal": self.position.copy(), "desired_goal": self.goal.copy()}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        low, high = self.action_space.low, self.action_space.high
        self.position = self.position + 0.2 * (action - (low + high) / 2) / ((high - low) / 2)
        shown = self._show()
        reward = float(self._distance_reward(shown["achieved_goal"], shown["desired_goal"]))
        return shown, reward if self.honest else reward - 0.5, False, False, {"is_success": reward == 0.0}

    @staticmethod
    def _distance_reward(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        return (np.linalg.norm(achieved - desired, axis=-1) < 0.15) - 1.0

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, info: Any) -> Any:
        if not self.in_batches:
            assert achieved.shape == (2,)
            return float(self._distance_reward(achieved, desired))
        return self._distance_reward(achieved, desired)

    def _is_success(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        return self._distance_reward(achieved, desired) == 0.0


def straight(observation: dict[str, Any]) -> np.ndarray:
    """Goes straight to the goal of `Reach`, in one observation."""
    way = observation["desired_goal"] - 0.1 * observation["observation"]["tip"]
    assert way.shape == (2,)
    unit = (way / 0.2).clip(-1.0, 1.0)
    return np.array([0.5 + 0.5 * unit[0], 3.0 * unit[1]])
