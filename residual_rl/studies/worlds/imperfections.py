"""Wrappers that make a controller imperfect, so that there is something to learn. Each wraps a function of one observation."""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

Law = Callable[[Any], np.ndarray]
"""One observation -> `[A]`, in the environment's units."""


class Weak:
    """Multiply the actions by a gain."""

    def __init__(self, law: Law, gain: np.ndarray | float):
        self.law, self.gain = law, gain

    def __call__(self, observation: Any) -> np.ndarray:
        """Return the action `[A]` for one observation."""
        return self.gain * self.law(observation)


class Biased:
    """Add a constant to the actions."""

    def __init__(self, law: Law, bias: np.ndarray):
        self.law, self.bias = law, bias

    def __call__(self, observation: Any) -> np.ndarray:
        """Return the action `[A]` for one observation."""
        return self.law(observation) + self.bias


class Miscalibrated:
    """Shift entries of the observation by a constant."""

    def __init__(self, law: Law, shift: np.ndarray):
        self.law, self.shift = law, shift

    def __call__(self, observation: Any) -> np.ndarray:
        """Return the action `[A]` for one observation."""
        return self.law(observation + self.shift)


class Delayed:
    """Delay the actions by some steps. This is stateful: wrap it in `residual_rl.per_lane`."""

    def __init__(self, law: Law, steps: int):
        self.law, self.steps = law, steps
        self.reset()

    def reset(self) -> None:
        """Start an episode. During the delay the first action is repeated."""
        self._waiting: deque[np.ndarray] = deque()

    def __call__(self, observation: Any) -> np.ndarray:
        """Return the action `[A]` for one observation."""
        self._waiting.append(self.law(observation))
        return self._waiting.popleft() if len(self._waiting) > self.steps else self._waiting[0]


class Noisy:
    """Add Gaussian noise to the actions."""

    is_random = True

    def __init__(self, law: Law, deviation: float, seed: int = 0):
        self.law, self.deviation = law, deviation
        self._rng = np.random.default_rng(seed)

    def __call__(self, observation: Any) -> np.ndarray:
        """Return the action `[A]` for one observation."""
        action = self.law(observation)
        return action + self.deviation * self._rng.standard_normal(action.shape)
