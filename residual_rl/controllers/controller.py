"""The `Controller` interface, its traits, and the checked call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any, Protocol

import numpy as np

from residual_rl.controllers.answers import ask_each, not_finite, numbers_in, reason_of, shaped, strictly, tolerated
from residual_rl.errors import ControllerError
from residual_rl.types import Observation, map_observation, row_of, select, size_of

DECLARED = ("reads_goal", "reads_state", "can_be_requeried", "is_random", "is_stateful", "sees_more")
FEW = 64  # failing rows after which the rest of a batch is not tried row by row


class Controller(Protocol):
    """A base policy: batched, `Observation[B] -> base_action [B, A]`.

    Any callable of this form is one. Its proposals may lie beyond [-1, 1]. In a user-supplied environment, a controller takes
    that environment's observations, answers in its units, and may take single observations: see `adapted` and `probe`.

    A controller may declare its traits by attributes:

    - `reads_goal = False`: the proposal does not depend on the desired goal, so hindsight need not re-query it at relabelled
      goals; without the attribute it is re-queried.
    - `can_be_requeried = False`: the controller is too slow for that; hindsight then keeps the recorded base actions, although
      the controller would propose others at the new goals.
    - `reads_state = True`: it plans, and needs `observation["state"]`. States are not stored, so it is not re-queried either.
    - `sees_more = True`: the proposal depends on what the learner is not shown, such as a map; so it is an input of the
      residual.
    - `is_random = True`: it is stochastic, and can give different actions for the same observation.
    - `is_stateful`: whether its proposals depend on earlier observations; only in a user-supplied environment, where a probe
      finds it out otherwise. If it has no `reset(mask)`, each episode gets a copy.
    - `takes_batch`: whether it is batched; only in a user-supplied environment, where a probe finds it out otherwise.
    - a method `reset(mask)`: it is stateful. The method is called with the lanes `[E]` bool in which an episode starts (E may
      change between calls). Then the controller is called exactly once for each observation of the episode, in order, always
      with all lanes. A lane whose episode ends before the others keeps its last observation.

    A stochastic or stateful controller is not re-queried, and its proposal is an input of the residual. With a stochastic one,
    base and policy share only the initial states in a verdict, not the randomness: the test stays valid, but has less power. A
    stopped run over it resumes, but not with the same numbers.
    """

    def __call__(self, observation: Observation) -> np.ndarray:
        """Return a base action for each row of the observation."""
        ...


class Zero:
    """The zero action: learning from scratch is learning a residual over Zero."""

    reads_goal = False

    def __init__(self, action_size: int):
        self.action_size = action_size

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> zeros [B, A]`."""
        return np.zeros((len(observation["observation"]), self.action_size))


def batched(function: Callable[[Any], Any]) -> Controller:
    """Lift a function of a single observation, `{"observation": [O], ...} -> [A]`, to a batched controller.

    Raises:
        ControllerError: the function is stateful.
    """
    if is_stateful(function):
        raise ControllerError(f"{name_of(function)!r} is stateful: residual_rl.per_lane(make) makes one for each episode")

    one_by_one = each(function)

    def controller(observation: Any) -> np.ndarray:
        return one_by_one(observation)

    for name, value in (declared_traits(function) | {"takes_batch": True}).items():  # a probe finds undeclared traits
        setattr(controller, name, value)
    controller.__name__ = name_of(function)
    controller.__module__ = getattr(function, "__module__", controller.__module__)
    return controller


def each(function: Callable[[Any], Any]) -> Callable[[Any], np.ndarray]:
    """Return a function of a batch that calls a function of a single observation for each row."""

    def ask(shown: Any) -> np.ndarray:
        size = size_of(shown)
        return ask_each([function] * size, [row_of(shown, row) for row in range(size)], [name_of(function)] * size)

    return ask


def name_of(controller: Any) -> str:
    """Return a controller's name for messages and for a run's configuration."""
    return getattr(controller, "__name__", type(controller).__name__)


def declared_traits(controller: Any) -> dict[str, Any]:
    """Return the declared traits that wrappers copy from the controller they wrap."""
    return {name: getattr(controller, name) for name in DECLARED if hasattr(controller, name)}


def reads_goal(controller: Any) -> bool:
    """Return whether the proposal may depend on the desired goal."""
    return getattr(controller, "reads_goal", True)


def reads_state(controller: Any) -> bool:
    """Return whether its observations must hold the simulator's state."""
    return getattr(controller, "reads_state", False)


def sees_more(controller: Any) -> bool:
    """Return whether its proposal depends on what the learner is not shown."""
    return getattr(controller, "sees_more", False)


def can_be_requeried(controller: Any) -> bool:
    """Return whether it can be re-queried at a stored observation."""
    repeats = not (reads_state(controller) or is_stateful(controller) or is_random(controller))
    return repeats and getattr(controller, "can_be_requeried", True)


def is_random(controller: Any) -> bool:
    """Return whether it declares itself stochastic."""
    return getattr(controller, "is_random", False)


def is_stateful(controller: Any) -> bool:
    """Return whether its proposals depend on earlier observations."""
    return callable(getattr(controller, "reset", None))


def start_episodes(controller: Any, lanes: int) -> None:
    """Reset a stateful controller: an episode starts in each lane."""
    if is_stateful(controller):
        restart(controller, np.ones(lanes, dtype=bool))


def restart(controller: Any, *mask: np.ndarray) -> None:
    """Call its `reset`, with a mask of lanes or without.

    Raises:
        ControllerError: it raised.
    """
    try:
        controller.reset(*mask)
    except Exception as error:
        raise ControllerError(f"reset of controller {name_of(controller)!r} raised {type(error).__name__}: {error}") from error


def propose(controller: Controller, observation: Observation, action_size: int) -> np.ndarray:
    """Call a controller and check its answer: `Observation[B] -> [B, A]` float64.

    Raises:
        ControllerError: names the controller and what is wrong, if it raised, or returned a wrong shape or a value that is
            not finite.
    """
    expected = (len(observation["observation"]), action_size)
    failed = tolerated()
    try:
        base_action = _ask(controller, observation, expected)
    except ControllerError as error:
        if failed is None:
            raise
        return _ask_in_parts(controller, observation, action_size, failed, error)
    if failed:
        base_action[list(failed)] = 0.0
    if not isfinite(np.add.reduce(base_action, axis=None)) and not np.isfinite(base_action).all():
        name = name_of(controller)
        for row in np.flatnonzero(~np.isfinite(base_action).all(axis=1)).tolist():
            reason = not_finite(base_action[row], name)
            if failed is None:
                raise ControllerError(reason)
            failed[row], base_action[row] = reason, 0.0
    return base_action


def _ask(controller: Controller, observation: Observation, expected: tuple[int, int]) -> np.ndarray:
    name = name_of(controller)
    try:
        # Copies both ways: a controller may write into its input, or reuse its output array.
        answer = controller(map_observation(np.array, observation))
    except ControllerError:
        raise
    except Exception as error:
        raise ControllerError(reason_of(error, name)) from error
    failed = tolerated()
    if failed and len(failed) == expected[0]:
        return np.zeros(expected)
    hint = f"; one action for each observation, {expected}, is needed"
    hint += " (residual_rl.batched lifts a function of a single observation)"
    return shaped(numbers_in(answer, name), expected, name, hint)


def _ask_in_parts(
    controller: Controller, observation: Observation, action_size: int, failed: dict[int, str], error: ControllerError
) -> np.ndarray:
    """Call the controller with halves of a batch that failed, and their halves, until it is known which rows fail.

    A stateful controller cannot be called twice: all rows fail.
    """
    size = len(observation["observation"])
    base_action = np.zeros((size, action_size))
    parts = [np.arange(size)]
    errors = {0: error}
    if size == 1 or is_stateful(controller):
        failed.update(dict.fromkeys(range(size), str(error)))
        return base_action
    failed.clear()
    while parts:
        part = parts.pop()
        if len(failed) >= FEW:
            failed.update(dict.fromkeys(part.tolist(), str(errors[0])))
            continue
        if len(part) == size:
            parts += np.array_split(part, 2)
            continue
        try:
            with strictly():
                base_action[part] = propose(controller, select(observation, part), action_size)
        except ControllerError as again:
            errors[0] = again
            if len(part) == 1:
                failed[int(part[0])] = str(again)
            else:
                parts += np.array_split(part, 2)
    return base_action


@contextmanager
def naming_step(step: int) -> Iterator[None]:
    """Add the episode's step to a ControllerError."""
    try:
        yield
    except ControllerError as error:
        named = ControllerError(f"{error} (step {step} of the episode)")
        named.step = step
        raise named from error
