"""A vector environment that somebody brought, as lanes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from residual_rl.custom.signals import SUCCESS_KEYS, flag
from residual_rl.spaces import Layout
from residual_rl.tasks.lanes import Stepped
from residual_rl.types import Observation, Spec, map_observation


class VectorLanes:
    """A vector environment that somebody brought. What follows a lane's first end is ignored, whatever its autoreset mode."""

    def __init__(self, envs: VectorEnv, layout: Layout, spec: Spec):
        self.envs = envs
        self.layout = layout
        self.task_spec = spec
        self.horizon = spec.horizon
        self.num_envs = envs.num_envs
        self.tells_success = False
        """Whether it has ever said if an episode is a success."""
        self._mode = AutoresetMode(envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._elapsed = 0
        self._last: Any = None
        """What is shown of each lane, and its flags."""
        self._ended = np.zeros(self.num_envs, dtype=bool)
        """Lanes that the vector environment itself has just ended."""

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode in each lane. Seeds count on from the first: only lanes that repeat an episode could differ."""
        shown, _ = self.envs.reset(seed=None if seed is None else int(seed[0]))
        observation = self.layout.flatten(shown, (self.num_envs,))
        self._elapsed = 0
        nobody = np.zeros(self.num_envs, dtype=bool)
        self._last = observation, nobody, nobody, nobody
        self._ended = nobody
        return observation, {}

    def step(self, actions: np.ndarray) -> Stepped:
        """One action `[E, A]` in [-1, 1] in every lane."""
        before, *flags = self._last
        over = flags[0] | flags[1]
        if self._ended.any() and self._mode == AutoresetMode.DISABLED:
            self.envs.reset(options={"reset_mask": self._ended})
        shown, reward, terminated, truncated, info = self.envs.step(self.layout.to_world(actions))
        self._ended = terminated | truncated
        self._elapsed += 1
        now = self.layout.flatten(shown, (self.num_envs,))
        success = self._success(info)
        if self._mode == AutoresetMode.SAME_STEP and "final_obs" in info:
            for lane in np.flatnonzero(info["_final_obs"] & ~over).tolist():
                final = self.layout.flatten(info["final_obs"][lane])
                now = _with_row(now, lane, final)
            success = np.where(info["_final_obs"], self._success(info.get("final_info", {})), success)
        truncated = truncated | ((self._elapsed >= self.horizon) & ~terminated)
        fresh = (now, terminated, truncated, success)
        observation = map_observation(lambda old, new: np.where(over[:, None], old, new), before, now)
        flags = [np.where(over, old, new) for old, new in zip(flags, fresh[1:], strict=True)]
        self._last = (observation, *flags)
        return observation, np.where(over, 0.0, reward), flags[0], flags[1], {"is_success": flags[2]}

    def _success(self, info: dict[str, Any]) -> np.ndarray:
        for key in SUCCESS_KEYS:
            if key in info:
                self.tells_success = True
                return np.array([flag(key, one) for one in info[key]]) & info.get(f"_{key}", True)
        return np.zeros(self.num_envs, dtype=bool)

    def close(self) -> None:
        """Does nothing: they are lent, and used again."""


def _with_row(observation: Observation, lane: int, row: Observation) -> Observation:
    def replaced(array: np.ndarray, values: np.ndarray) -> np.ndarray:
        array = array.copy()
        array[lane] = values
        return array

    return map_observation(replaced, observation, row)
