"""The arrays of the library, with their shapes.

Letters: B batch, E environments (lanes), T time, U updates, A action, O observation, G goal, S state, Q critics,
N samples.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import numpy as np

Array = Any  # a NumPy or a JAX array; shapes stand in the docstrings

StepInfo = Mapping[str, Any]
"""What a reward may depend on besides the two goals; the `info` of a step has it: `"observation"` `[B, O]` after the action,
and `"action"` `[B, A]` as executed, in [-1, 1]. Hindsight adds `"discount"` `[B]`."""

RewardFunction = Callable[[np.ndarray, np.ndarray, StepInfo], np.ndarray]
"""`achieved_goal [B, G], desired_goal [B, G], info -> [B]`, as Gymnasium's `compute_reward`."""

SuccessFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""`achieved_goal [B, G], desired_goal [B, G] -> [B]` bool."""


Measure = Literal["success", "return", "time"]
"""The measure of a policy: its success rate, its mean return, or the time that its episodes take until they succeed."""


class Timing(NamedTuple):
    """How a task measures the time until an episode succeeds, and in which of several scenes an episode was."""

    unit: str = "steps"
    step: float = 1.0
    """A step, in this unit."""
    entry: str | None = None
    """Entry of a step's info that has the time `[E]`, if it is known more finely than in whole steps."""
    scene: str | None = None
    """Entry of a step's info that has the number of the scene `[E]`; None if there is only one."""
    scenes: tuple[str, ...] = ()
    """The names of the scenes."""


STEPS = Timing()


class Observation(TypedDict):
    """The observation of a goal-conditioned environment: Gymnasium's dictionary, batched.

    An environment without goals has `G = 0`: both goals are then arrays of width zero.
    """

    observation: Array
    """[B, O]"""
    achieved_goal: Array
    """[B, G]"""
    desired_goal: Array
    """[B, G]"""
    state: NotRequired[Array]
    """[B, S] what only the controller sees: in a task of the library the simulator's physics state, for controllers that plan,
    on request; in a user-supplied environment the observation in its own units, if the layout has `units`. Never stored in the
    replay and never an input of the learner."""
    shown: NotRequired[Array]
    """[B, P] uint8 what a user-supplied environment showed, as `Layout.packing` keeps it, if an encoder makes the observation
    of it. For the controller alone, like `state`."""


class Transition(NamedTuple):
    """One environment step. Leading axes: `[E]` as collected, `[B]` as sampled, `[U, B]` as scanned over."""

    observation: Observation
    base_action: Array
    """[B, A] the controller's proposal, clipped if the composition says so."""
    residual: Array
    """[B, A] the learner's output, in [-1, 1], before the scale."""
    action: Array
    """[B, A] the executed action."""
    reward: Array
    """[B]"""
    terminated: Array
    """[B] bool, ended by the environment: no bootstrapping."""
    truncated: Array
    """[B] bool, cut by the time limit: bootstrapping continues."""
    discount: Array
    """[B] factor of the value of `next_observation`: the spec's discount, or 0 if the environment ended the episode."""
    next_observation: Observation
    next_base_action: Array
    """[B, A] the controller's proposal at `next_observation`."""
    extras: Mapping[str, Array] = {}
    """Extra arrays that the algorithm stores with a step, by name: `[B, ...]`, such as the log-probability of its action."""


class Acted(NamedTuple):
    """The output of a learner in a step."""

    residual: Array
    """[B, A] in [-1, 1]."""
    extras: Mapping[str, Array]
    """Extra arrays to store with the step, by name: `[B, ...]`."""


class Spec(NamedTuple):
    """The properties of a task that a learner uses."""

    observation_size: int
    goal_size: int
    action_size: int
    horizon: int
    """Steps per episode."""
    reward_range: tuple[float, float] = (-float("inf"), float("inf"))
    """Bounds of the reward of one step; they bound every value."""
    world: str = ""
    """The name of the world whose states the environment shows, for controllers with a model of that world alone; empty if no
    controller of the library has one."""
    lookahead: int | None = None
    """Steps over which values look ahead, if that is less than the horizon: where every step is rewarded, what an action is
    worth shows within a second or two, and the sum over the rest of a long episode would only drown it."""

    @property
    def discount(self) -> float:
        """`1 - 1/lookahead`, or `1 - 1/horizon`. Source of the latter: the code published with Silver et al. 2018."""
        return 1.0 - 1.0 / (self.lookahead or self.horizon)


def map_observation(function: Callable[..., Any], *observations: Observation) -> Observation:
    """Apply `function` to each array of the given observations.

    The result has the keys that all of them have.
    """
    first, *others = observations
    keys = [key for key in first if all(key in one for one in others)]
    return {key: function(*(one[key] for one in observations)) for key in keys}  # type: ignore[return-value, literal-required]


def select(observation: Observation, index: Any) -> Observation:
    """Return the rows `index` of a batched observation."""
    return map_observation(lambda array: array[index], observation)


def with_goal(observation: Observation, desired_goal: np.ndarray) -> Observation:
    """Return the observation with another desired goal `[B, G]`."""
    return Observation(**{**observation, "desired_goal": desired_goal})


def without_state(observation: Observation) -> Observation:
    """Return the observation without the controller's parts of it, as the learner sees it."""
    return {key: array for key, array in observation.items() if key not in ("state", "shown")}  # type: ignore[return-value]


def numbers_of(observation: Observation) -> list[Array]:
    """Return the arrays of an observation that are numbers, not bytes."""
    return [array for key, array in observation.items() if key != "shown"]


def row_of(shown: Any, row: Any) -> Any:
    """Return one observation of a batch; dictionaries may be nested."""
    return {key: row_of(value, row) for key, value in shown.items()} if isinstance(shown, Mapping) else shown[row]


def size_of(shown: Any) -> int:
    """Return the number of observations in a batch."""
    while isinstance(shown, Mapping):
        shown = next(iter(shown.values()))
    return len(shown)
