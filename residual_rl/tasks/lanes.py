"""The interface of parallel environments: one episode in each lane."""

from typing import Any, Protocol

import numpy as np

from residual_rl.types import STEPS, Observation, Spec, Timing

Stepped = tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


class Lanes(Protocol):
    """Parallel environments: one episode in each lane, all started at once.

    The `info` of a step holds `is_success` `[E]` bool, and may hold `errors`, `{lane: message}`, and what `timing_of` names.
    A lane whose episode has ended repeats its last observation, flags, success and info, with reward 0.
    """

    @property
    def num_envs(self) -> int:
        """Number of lanes."""
        ...

    @property
    def horizon(self) -> int:
        """Steps after which all have ended."""
        ...

    @property
    def task_spec(self) -> Spec:
        """The spec of the task."""
        ...

    def reset(self, *, seed: Any = None) -> tuple[Observation, dict[str, Any]]:
        """Start an episode in each lane, from seeds `[E]`."""
        ...

    def step(self, actions: np.ndarray) -> Stepped:
        """Apply one action `[E, A]` in [-1, 1] in every lane."""
        ...

    def close(self) -> Any:
        """Free all resources."""
        ...


def timing_of(envs: Lanes) -> Timing:
    """Return how these environments measure the time of an episode: in steps, unless they have a `timing` of their own."""
    return getattr(envs, "timing", STEPS)
