"""Every array that travels through the library: its letters and its shape.

Letters: B batch, E environments (lanes), T time, U updates, A action, O observation, G goal, S state, Q critics,
N samples.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import numpy as np

Array = Any  # a NumPy or a JAX array; shapes stand in the docstrings

StepInfo = Mapping[str, Any]
"""What a reward may depend on besides the two goals, and what the `info` of a step therefore holds: `"observation"` `[B, O]`
after the action, and `"action"` `[B, A]` as the world received it, in [-1, 1]. Hindsight adds `"discount"` `[B]`."""

RewardFunction = Callable[[np.ndarray, np.ndarray, StepInfo], np.ndarray]
"""`achieved_goal [B, G], desired_goal [B, G], info -> [B]`, as Gymnasium's `compute_reward`."""

SuccessFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`achieved_goal [B, G], desired_goal [B, G] -> [B]` bool."""


Measure = Literal["success", "return"]
"""What tells a good policy from a bad one: its success rate, or its mean return."""


class Observation(TypedDict):
    """What a goal environment shows: Gymnasium's own dictionary, batched.

    A world without goals has `G = 0`: both goals are then arrays of width zero.
    """

    observation: Array
    """[B, O]"""
    achieved_goal: Array
    """[B, G]"""
    desired_goal: Array
    """[B, G]"""
    state: NotRequired[Array]
    """[B, S] what only the controller sees: of a task of the library the simulator's own physics state, for controllers that
    plan, if it was asked for; of a user-supplied environment what it showed, if the `units` of its layout are others. Never
    stored in replay, never shown to the learner."""


class Transition(NamedTuple):
    """One environment step. Leading axes: `[E]` as collected, `[B]` as sampled, `[U, B]` as scanned over."""

    observation: Observation
    base_action: Array
    """[B, A] what the controller proposed, clipped where the composition says so."""
    residual: Array
    """[B, A] what the learner added, in [-1, 1], before the scale."""
    action: Array
    """[B, A] what the world received."""
    reward: Array
    """[B]"""
    terminated: Array
    """[B] bool, ended by the world: nothing follows, so nothing is bootstrapped."""
    truncated: Array
    """[B] bool, ended by time: the value of what would have followed still counts."""
    discount: Array
    """[B] what the value of `next_observation` counts for: the spec's discount, 0 where the world ended the episode."""
    next_observation: Observation
    next_base_action: Array
    """[B, A] the controller's proposal at `next_observation`."""
    extras: Mapping[str, Array] = {}
    """What the algorithm stores with a step besides, by name: `[B, ...]`, such as the log-probability of what it drew."""


class Acted(NamedTuple):
    """What a learner does in a step."""

    residual: Array
    """[B, A] in [-1, 1]."""
    extras: Mapping[str, Array]
    """What is stored with the step besides, by name: `[B, ...]`."""


class Spec(NamedTuple):
    """All that a learner knows about a task."""

    observation_size: int
    goal_size: int
    action_size: int
    horizon: int
    """Steps per episode."""
    reward_range: tuple[float, float] = (-float("inf"), float("inf"))
    """The least and the most that one step can be rewarded with, which bounds every value."""

    @property
    def discount(self) -> float:
        """`1 - 1/horizon`. Source: the code published with Silver et al. 2018."""
        return 1.0 - 1.0 / self.horizon


def map_observation(function: Callable[..., Any], *observations: Observation) -> Observation:
    """Return an observation each of whose arrays is `function` of that array in each of the given ones.

    It has the keys that all of them have.
    """
    first, *others = observations
    keys = [key for key in first if all(key in one for one in others)]
    return {key: function(*(one[key] for one in observations)) for key in keys}  # type: ignore[return-value, literal-required]


def select(observation: Observation, index: Any) -> Observation:
    """The rows `index` of a batched observation."""
    return map_observation(lambda array: array[index], observation)


def with_goal(observation: Observation, desired_goal: np.ndarray) -> Observation:
    """The same observation, asked to reach another goal `[B, G]`."""
    return Observation(**{**observation, "desired_goal": desired_goal})


def without_state(observation: Observation) -> Observation:
    """Return what a learner may see of an observation: all but the simulator's state."""
    return {key: array for key, array in observation.items() if key != "state"}  # type: ignore[return-value]


def row_of(shown: Any, row: Any) -> Any:
    """One observation of a batch, however deep its dictionaries are."""
    return {key: row_of(value, row) for key, value in shown.items()} if isinstance(shown, Mapping) else shown[row]


def size_of(shown: Any) -> int:
    """How many observations a batch has."""
    while isinstance(shown, Mapping):
        shown = next(iter(shown.values()))
    return len(shown)
