"""Lanes of a user-supplied vector environment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from residual_rl.custom.row_env import SUCCESS_KEYS, flag
from residual_rl.custom.success import LAST, Judge
from residual_rl.encoders.encoder import Encoder
from residual_rl.encoders.perception import Perception
from residual_rl.errors import WorldError
from residual_rl.seeds import seed_32
from residual_rl.spaces import Layout
from residual_rl.tasks.lanes import Stepped
from residual_rl.types import Observation, Spec


class VectorLanes:
    """Adapt a user-supplied `VectorEnv`. Steps after an episode's first end are ignored in every autoreset mode."""

    def __init__(self, envs: VectorEnv, layout: Layout, spec: Spec, success: str = LAST, encoder: Encoder | None = None):
        self.envs = envs
        self._perceive = Perception(layout, encoder)
        self.layout = layout
        self.task_spec = spec
        self.horizon = spec.horizon
        self.num_envs = envs.num_envs
        self.tells_success = False
        """Whether it has ever reported success or failure."""
        self.judge = Judge(success, self.num_envs)
        self._mode = AutoresetMode(envs.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._elapsed = 0
        self._last: Any = None
        """Rows of what each lane shows, and its flags."""
        self._ended = np.zeros(self.num_envs, dtype=bool)
        """Lanes that the vector environment itself has just ended."""

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode in each lane. Seeds count up from the first: only padding lanes could have other seeds."""
        shown, _ = self.envs.reset(seed=None if seed is None else seed_32(int(seed[0])))
        self.judge.reset()
        rows = self.layout.rows(shown, (self.num_envs,))
        self._elapsed = 0
        none = np.zeros(self.num_envs, dtype=bool)
        self._last = rows, none, none
        self._ended = none
        return self._perceive(rows), {}

    def step(self, actions: np.ndarray) -> Stepped:
        """Apply one action `[E, A]` in [-1, 1] in every lane."""
        before, *flags = self._last
        over = flags[0] | flags[1]
        if self._ended.any() and self._mode == AutoresetMode.DISABLED:
            self.envs.reset(options={"reset_mask": self._ended})
        shown, reward, terminated, truncated, info = self.envs.step(self.layout.to_world(actions))
        self._ended = terminated | truncated
        self._elapsed += 1
        now = self.layout.rows(shown, (self.num_envs,))
        success = self._success(info)
        # One that does not tell its mode may tell of the end all the same.
        if (self._mode == AutoresetMode.SAME_STEP or "final_obs" in info) and self._ended.any():
            final = self._final_obs(info)
            for lane in np.flatnonzero(self._ended & ~over).tolist():
                self.layout.write(final[lane], now[lane])
            success = np.where(self._ended, self._success(info.get("final_info", {})), success)
        truncated = truncated | ((self._elapsed >= self.horizon) & ~terminated)
        rows = np.where(over[:, None], before, now)
        flags = [np.where(over, old, new) for old, new in zip(flags, (terminated, truncated), strict=True)]
        self._last = (rows, *flags)
        success = self.judge.after(success, over)
        return self._perceive(rows), np.where(over, 0.0, reward), flags[0], flags[1], {"is_success": success}

    def _final_obs(self, info: dict[str, Any]) -> Any:
        """Return the last observations of the episodes that have just ended, by lane.

        Raises:
            WorldError: the environment does not report them.
        """
        known = info.get("_final_obs", self._ended) if "final_obs" in info else np.zeros(self.num_envs, dtype=bool)
        if not np.all(known | ~self._ended):
            raise WorldError(
                "its autoreset mode is SAME_STEP, but info holds no 'final_obs' of an episode that ended: what step shows then "
                "is the start of the next episode, which must not be taken for the end of this one. Report final_obs, or use "
                "AutoresetMode.NEXT_STEP or DISABLED"
            )
        return info["final_obs"]

    def _success(self, info: dict[str, Any]) -> np.ndarray:
        for key in SUCCESS_KEYS:
            if key in info:
                self.tells_success = True
                return np.array([flag(key, one) for one in info[key]]) & info.get(f"_{key}", True)
        return np.zeros(self.num_envs, dtype=bool)

    def close(self) -> None:
        """Does nothing: they are lent, and used again."""
