"""The reward function that a planner needs: check it, and make it fit for compiled code."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from residual_rl.controllers.controller import name_of
from residual_rl.errors import ControllerError
from residual_rl.pets.sampling import Reward
from residual_rl.tasks.variants import PUSHER_AS_DESCRIBED, PUSHER_AS_RUN
from residual_rl.types import Array

RewardOfStep = Callable[[Any, Any, Any], Any]
"""`observation, action, next_observation -> [B]`: batched, in the environment's form and units, with JAX or NumPy."""

REWARDS: dict[str, RewardOfStep] = {
    "mbrl-pusher": PUSHER_AS_RUN.reward_of_step,
    "mbrl-pusher-as-described": PUSHER_AS_DESCRIBED.reward_of_step,
}
"""The rewards of the library's tasks, by the task's name: a planner in one of them can be loaded without passing anything."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Form:
    """The form in which an environment shows observations and takes actions."""

    entries: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...] = ()
    """Path and shape of each array of an observation. A `Box` has one, with an empty path; none: one vector."""
    action_shape: tuple[int, ...] = ()
    """Empty for a vector."""
    low: tuple[float, ...] = ()
    """Bounds of an action in the environment's units; empty if they are -1 and 1."""
    high: tuple[float, ...] = ()

    def shown(self, rows: Array) -> Any:
        """Return rows `[B, O]` as the environment shows them."""
        if not self.entries:
            return rows
        parts, start = {}, 0
        for path, shape in self.entries:
            size = int(np.prod(shape, dtype=int))
            parts[path] = rows[:, start : start + size].reshape(-1, *shape)
            start += size
        return parts[()] if () in parts else _nested(parts)

    def own(self, action: Array) -> Array:
        """Return actions `[B, A]` with bounds -1 and 1 in the environment's form and units."""
        if self.low:
            low, high = np.array(self.low, np.float32), np.array(self.high, np.float32)
            action = low + (action + 1.0) * (0.5 * (high - low))
        return action.reshape(-1, *self.action_shape) if self.action_shape else action

    def __str__(self) -> str:
        """Return what an observation holds."""
        if not self.entries:
            return "one vector"
        return ", ".join(f"{'/'.join(path) or 'one array'} of shape {shape}" for path, shape in self.entries)


def _nested(parts: Mapping[tuple[str, ...], Array]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, array in parts.items():
        place = tree
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = array
    return tree


def rewards_of(function: RewardOfStep, form: Form, observation: Array, action: Array, after: Array) -> np.ndarray:
    """Return a reward function's answer for steps that were taken: `[B, O], [B, A], [B, O] -> [B]`.

    Raises:
        ControllerError: it raised, or its answer has a wrong shape or is not finite.
    """
    size, name = len(action), name_of(function)
    single = [np.asarray(rows, np.float32) for rows in (observation, action, after)]
    try:
        answer = np.asarray(function(form.shown(single[0]), form.own(single[1]), form.shown(single[2])))
    except Exception as error:
        raise ControllerError(
            f"reward {name!r} raised {type(error).__name__}: {error}. It is called with a batch; an observation holds {form}"
        ) from error
    if answer.shape != (size,) or answer.dtype.kind not in "fiub":
        raise ControllerError(
            f"reward {name!r} returned {answer.dtype} of shape {answer.shape} for {size} steps: one number for each, "
            f"({size},), is needed"
        )
    if not np.isfinite(answer).all():
        row = int(np.flatnonzero(~np.isfinite(answer))[0])
        raise ControllerError(f"reward {name!r} is {answer[row]} in step {row} of an episode: it must be finite")
    return answer.astype(np.float64)


@lru_cache(maxsize=64)
def compiled(function: RewardOfStep, form: Form, observation_size: int, action_size: int) -> Reward:
    """Return the reward for compiled code. A function that JAX cannot trace is called in NumPy, at every imagined step."""

    def traced(observation: Array, action: Array, after: Array) -> Array:
        return jnp.asarray(function(form.shown(observation), form.own(action), form.shown(after)), jnp.float32)

    def called(observation: Array, action: Array, after: Array) -> Array:
        result = jax.ShapeDtypeStruct(action.shape[:1], jnp.float32)
        return jax.pure_callback(in_numpy, result, observation, action, after)

    def in_numpy(observation: Array, action: Array, after: Array) -> np.ndarray:
        shown = [np.asarray(rows) for rows in (observation, action, after)]
        return np.asarray(function(form.shown(shown[0]), form.own(shown[1]), form.shown(shown[2])), np.float32)

    sizes = ((2, observation_size), (2, action_size), (2, observation_size))
    try:
        jax.eval_shape(traced, *(jax.ShapeDtypeStruct(size, jnp.float32) for size in sizes))
    except Exception:  # whatever NumPy says of arrays that are not there yet
        return called
    return traced
