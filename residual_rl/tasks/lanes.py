"""What rollouts step: episodes side by side, one in each lane."""

from typing import Any, Protocol

import numpy as np

from residual_rl.types import Observation, Spec

Stepped = tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class Lanes(Protocol):
    """What rollouts step: one episode in each lane, all started at once.

    The `info` of a step holds `is_success` `[E]` bool, and may hold `errors`, `{lane: what went wrong}`. A lane whose episode
    has ended shows the same again, with the same flags and success, and reward 0.
    """

    @property
    def num_envs(self) -> int:
        """How many."""
        ...

    @property
    def horizon(self) -> int:
        """Steps after which all have ended."""
        ...

    @property
    def task_spec(self) -> Spec:
        """Of the task."""
        ...

    def reset(self, *, seed: Any = None) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode in each lane, from seeds `[E]`."""
        ...

    def step(self, actions: np.ndarray) -> Stepped:
        """Return one action `[E, A]` in [-1, 1] in every lane."""
        ...

    def close(self) -> Any:
        """Frees what they hold."""
        ...
