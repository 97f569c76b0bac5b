"""An environment whose observation is a row of numbers, and checks of reported numbers, flags and success."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from residual_rl.spaces import Layout

SUCCESS_KEYS = ("is_success", "success")
FLAGS = 3  # terminated, truncated, success; success is NaN if the environment does not report it


class RowEnv(gymnasium.Env):
    """An environment whose observation is one row of numbers: observation, both goals, terminated, truncated, success.

    If there is an encoder, it is one row of bytes. It holds an episode that has ended. Gymnasium's vector environments refuse
    to step one that has, so the flags go into the row. What raises ends the episode with a row that is not finite.
    """

    def __init__(self, env: gymnasium.Env, layout: Layout, horizon: int):
        self.env = env
        self.layout = layout
        self.horizon = horizon
        width = layout.row_size + flag_entries(layout)
        self._packed = layout.encoded is not None
        least, most = (0, 255) if self._packed else (-np.inf, np.inf)
        self.observation_space = spaces.Box(least, most, (width,), layout.row_type)  # type: ignore[arg-type]
        self.action_space = env.action_space
        self._width = width
        self._last = self._nothing()
        """What it shows of an episode that has ended."""
        self._over = True
        self._elapsed = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode."""
        self._elapsed, self._over = 0, False
        row = np.zeros_like(self._last)
        try:
            shown, _ = self.env.reset(seed=seed)
            self.layout.write(shown, row)
        except Exception as error:
            return row, self._broken(row, f"reset raised {type(error).__name__}: {error}")
        return row, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One action, as the environment takes it."""
        row = np.empty_like(self._last)  # a new one each time: environments reuse their arrays
        reward, info = self.step_into(row, action)
        return row, reward, False, False, info

    def step_into(self, row: np.ndarray, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        """Step, write the new row into `row`, and return reward and info."""
        if self._over:
            row[:] = self._last
            return 0.0, {}
        try:
            shown, reward, terminated, truncated, info = self.env.step(action)
            reward = reward if type(reward) is float else number("reward", reward)
            terminated = terminated if type(terminated) is bool else flag("terminated", terminated)
            truncated = truncated if type(truncated) is bool else flag("truncated", truncated)
            self._elapsed += 1
            self.layout.write(shown, row)
            truncated = truncated or (self._elapsed >= self.horizon and not terminated)
            flags = row if not self._packed else flags_of(row)
            flags[-3], flags[-2], flags[-1] = terminated, truncated, _success(info)
        except Exception as error:
            return np.nan, self._broken(row, f"step {self._elapsed} raised {type(error).__name__}: {error}")
        if terminated or truncated:
            self._over, self._last = True, row.copy()
        return reward, {}

    def _broken(self, row: np.ndarray, reason: str) -> dict[str, Any]:
        row[:] = self._nothing()
        flags_of(row)[:] = 0.0, 1.0, np.nan
        self._over, self._last = True, row.copy()
        return {"error": reason}

    def _nothing(self) -> np.ndarray:
        """A row of what is not there: NaN, or zeros where it is bytes."""
        return np.full(self._width, 0 if self._packed else np.nan, self.layout.row_type)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def flag_entries(layout: Layout) -> int:
    """How many entries at the end of a row hold its flags."""
    return FLAGS if layout.encoded is None else FLAGS * np.dtype(np.float64).itemsize


def flags_of(rows: np.ndarray) -> np.ndarray:
    """Return the flags `[..., 3]` at the end of rows, of numbers or of bytes, as a view."""
    return (
        rows[..., -FLAGS:] if rows.dtype == np.float64 else rows[..., -FLAGS * np.dtype(np.float64).itemsize :].view(np.float64)
    )


def _success(info: dict[str, Any]) -> float:
    for key in SUCCESS_KEYS:
        if key in info:
            return info[key] if type(info[key]) is bool else flag(key, info[key])
    return np.nan


def number(name: str, value: Any) -> float:
    """Return a number, also from an array of one.

    Raises:
        ValueError: it is not a number.
    """
    try:
        if np.ndim(value):
            (value,) = np.asarray(value).ravel()
        if isinstance(value, str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}, not one number") from None


def flag(name: str, value: Any) -> bool:
    """Return a flag; False for None and NaN."""
    return value is not None and number(name, value) > 0.0
