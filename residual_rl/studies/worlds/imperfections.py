"""What is done to a controller so that it leaves something to learn: one thing each, around a function of one observation."""

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

Law = Callable[[Any], np.ndarray]
"""One observation -> `[A]`, in the environment's units."""


class Weak:
    """Its actions are multiplied by a gain."""

    def __init__(self, law: Law, gain: np.ndarray | float):
        self.law, self.gain = law, gain

    def __call__(self, observation: Any) -> np.ndarray:
        """`[A]`."""
        return self.gain * self.law(observation)


class Biased:
    """Something constant is added to its actions."""

    def __init__(self, law: Law, bias: np.ndarray):
        self.law, self.bias = law, bias

    def __call__(self, observation: Any) -> np.ndarray:
        """`[A]`."""
        return self.law(observation) + self.bias


class Miscalibrated:
    """It sees some entries of the observation shifted by a constant."""

    def __init__(self, law: Law, shift: np.ndarray):
        self.law, self.shift = law, shift

    def __call__(self, observation: Any) -> np.ndarray:
        """`[A]`."""
        return self.law(observation + self.shift)


class Delayed:
    """Its actions arrive some steps late. It remembers: `residual_rl.per_lane` gives each episode one of its own."""

    def __init__(self, law: Law, steps: int):
        self.law, self.steps = law, steps
        self.reset()

    def reset(self) -> None:
        """An episode begins; until the first action arrives, it is what arrives."""
        self._waiting: deque[np.ndarray] = deque()

    def __call__(self, observation: Any) -> np.ndarray:
        """`[A]`."""
        self._waiting.append(self.law(observation))
        return self._waiting.popleft() if len(self._waiting) > self.steps else self._waiting[0]


class Noisy:
    """Gaussian noise is added to its actions."""

    is_random = True

    def __init__(self, law: Law, deviation: float, seed: int = 0):
        self.law, self.deviation = law, deviation
        self._rng = np.random.default_rng(seed)

    def __call__(self, observation: Any) -> np.ndarray:
        """`[A]`."""
        action = self.law(observation)
        return action + self.deviation * self._rng.standard_normal(action.shape)
