"""What a controller is, and how a proposal is asked of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from typing import Any, Protocol

import numpy as np

from residual_rl.controllers.answers import ask_each, not_finite, numbers_in, reason_of, shaped, strictly, tolerated
from residual_rl.errors import ControllerError
from residual_rl.types import Observation, map_observation, row_of, select, size_of

SAID = ("reads_goal", "reads_state", "asked_again", "is_random", "is_stateful")
FEW = 64  # rows that fail; with more, the others of the batch are not asked any more


class Controller(Protocol):
    """A base policy: batched, `Observation[B] -> base_action [B, A]`.

    Any callable of this form will do. Its proposals may lie beyond [-1, 1]. In an environment of one's own, a controller sees
    what that environment shows, answers in its units, and may be one of a single observation: see `adapted` and `probe`.

    What a controller may say about itself, by attributes:

    - `reads_goal = False`: the proposal does not depend on the desired goal, which saves hindsight from asking again at every
      relabelled goal; without the attribute it is asked.
    - `asked_again = False`: the controller is too slow for that; hindsight then keeps the base actions that were recorded,
      though the controller would have proposed others at the new goals.
    - `reads_state = True`: it plans, and needs `observation["state"]`. States are not stored, so it is not asked again either.
    - `is_random = True`: it answers the same question in different ways.
    - `is_stateful`: whether its proposals depend on what it was shown before; only in an environment of one's own, where it is
      found out otherwise. Of one without `reset(mask)`, each episode gets a copy.
    - `takes_batch`: whether it is a function of a batch; only in an environment of one's own, where it is found out otherwise.
    - a method `reset(mask)`: it remembers. The method is called with the lanes `[E]` bool in which an episode starts (E may
      be another from call to call); then it is asked exactly once about each observation of the episode, in their order,
      always about all lanes. A lane whose episode has ended before the others goes on being asked about the last observation.

    A random or remembering controller is not asked again, and the residual is shown what it proposed. In a verdict, the same
    initial states are all that base and policy share with a random controller, whose chance is its own: the test stays right,
    but sees less. And a run over it that was stopped goes on, but not with the same numbers.
    """

    def __call__(self, observation: Observation) -> np.ndarray:
        """Proposes a base action for each row of the observation."""
        ...


class Zero:
    """Proposes nothing: learning from scratch is learning a residual over Zero."""

    reads_goal = False

    def __init__(self, action_size: int):
        self.action_size = action_size

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> zeros [B, A]`."""
        return np.zeros((len(observation["observation"]), self.action_size))


def batched(function: Callable[[Any], Any]) -> Controller:
    """Lifts a function of a single observation, `{"observation": [O], ...} -> [A]`, to a controller of a batch.

    Raises:
        ControllerError: the function remembers.
    """
    if remembers(function):
        raise ControllerError(f"{name_of(function)!r} remembers: residual_rl.per_lane(make) gives each episode one of its own")

    one_by_one = each(function)

    def controller(observation: Any) -> np.ndarray:
        return one_by_one(observation)

    for name, value in (said_by(function) | {"takes_batch": True}).items():  # what it does not say, a probe finds out
        setattr(controller, name, value)
    controller.__name__ = name_of(function)
    controller.__module__ = getattr(function, "__module__", controller.__module__)
    return controller


def each(function: Callable[[Any], Any]) -> Callable[[Any], np.ndarray]:
    """Return a function of a batch that asks a function of a single observation about each."""

    def ask(shown: Any) -> np.ndarray:
        size = size_of(shown)
        return ask_each([function] * size, [row_of(shown, row) for row in range(size)], [name_of(function)] * size)

    return ask


def name_of(controller: Any) -> str:
    """What to call a controller in messages and in a run's configuration."""
    return getattr(controller, "__name__", type(controller).__name__)


def said_by(controller: Any) -> dict[str, Any]:
    """What a controller says about itself, of what is said on for it by what is around it."""
    return {name: getattr(controller, name) for name in SAID if hasattr(controller, name)}


def reads_goal(controller: Any) -> bool:
    """Whether the proposal may depend on the desired goal."""
    return getattr(controller, "reads_goal", True)


def reads_state(controller: Any) -> bool:
    """Whether the observations it is shown must hold the simulator's state."""
    return getattr(controller, "reads_state", False)


def asked_again(controller: Any) -> bool:
    """Whether it can be asked again about an observation that was stored."""
    repeats = not (reads_state(controller) or remembers(controller) or is_random(controller))
    return repeats and getattr(controller, "asked_again", True)


def is_random(controller: Any) -> bool:
    """Whether it says that it answers the same question in different ways."""
    return getattr(controller, "is_random", False)


def remembers(controller: Any) -> bool:
    """Whether its proposals depend on what it was shown before."""
    return callable(getattr(controller, "reset", None))


def start_episodes(controller: Any, lanes: int) -> None:
    """Tells a controller with memory that an episode starts in each lane."""
    if remembers(controller):
        restart(controller, np.ones(lanes, dtype=bool))


def restart(controller: Any, *mask: np.ndarray) -> None:
    """Calls its `reset`, with a mask of lanes or without.

    Raises:
        ControllerError: it raised.
    """
    try:
        controller.reset(*mask)
    except Exception as error:
        raise ControllerError(f"reset of controller {name_of(controller)!r} raised {type(error).__name__}: {error}") from error


def propose(controller: Controller, observation: Observation, action_size: int) -> np.ndarray:
    """Asks a controller and checks its answer: `Observation[B] -> [B, A]` float64.

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
        # Copies both ways: a controller may write into what it is shown, or reuse what it returns.
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
    """Ask about halves of a batch that could not be answered, and their halves, until it is known which rows fail.

    A controller that remembers cannot be asked twice: all rows fail.
    """
    size = len(observation["observation"])
    base_action = np.zeros((size, action_size))
    parts = [np.arange(size)]
    errors = {0: error}
    if size == 1 or remembers(controller):
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
    """Adds to a ControllerError at which step of the episode the controller was asked."""
    try:
        yield
    except ControllerError as error:
        named = ControllerError(f"{error} (step {step} of the episode)")
        named.step = step
        raise named from error
