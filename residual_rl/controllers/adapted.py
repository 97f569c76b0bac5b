"""Adapt a user-supplied callable, with its environment's observations and units, to the library's `Controller` interface."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from residual_rl.controllers.answers import ask_each, numbers_in, shaped, shaped_rows
from residual_rl.controllers.controller import declared_traits, is_stateful, name_of
from residual_rl.controllers.copying import CannotCopy, copy_of
from residual_rl.controllers.episode_start import keeps_lanes, of_one_episode
from residual_rl.errors import ControllerError
from residual_rl.spaces import Layout
from residual_rl.types import Observation, row_of, size_of

Lanes = Literal["mask", "made", "copied"]
"""How parallel episodes keep separate state: by `reset(mask)`, by one instance per lane, or by one copy per lane."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Character:
    """The traits of a controller, as declared or as measured."""

    takes_batch: bool
    """Whether it takes a batch of observations, or one at a time."""
    is_random: bool
    is_stateful: bool
    reads_goal: bool
    can_be_requeried: bool
    """Whether hindsight may re-query it at stored observations."""
    milliseconds: float
    """Duration of a call."""
    lanes: Lanes = "mask"
    """How a stateful one keeps its lanes apart."""

    def __str__(self) -> str:
        stateful = "stateful, a copy for each episode" if self.lanes == "copied" else "stateful"
        parts = [
            "batched" if self.takes_batch else "called with one observation at a time",
            "stochastic" if self.is_random else "deterministic",
            stateful if self.is_stateful else "stateless",
        ]
        parts += ["goal-conditioned"] if self.reads_goal else []
        return f"{', '.join(parts)}, {self.milliseconds:.2g} ms a call"


class Adapted:
    """A `Controller` around a callable that uses its environment's observations and units."""

    def __init__(self, call: Callable[[Any], Any], layout: Layout, character: Character):
        self.__name__ = name_of(call)
        self.layout = layout
        self.character = character
        self._takes_batch = character.takes_batch
        if character.is_stateful and not keeps_lanes(call):
            # An instance for a lane takes one observation, also if a user passes one in place of `per_lane`.
            call = EpisodeCopies(call, character.takes_batch and character.lanes != "made")
        if isinstance(call, PerLane):
            self._takes_batch = True
        self.call: Any = call
        self.reads_goal = character.reads_goal
        self.can_be_requeried = character.can_be_requeried
        self.is_random = character.is_random
        if character.is_stateful:
            self.reset = self._reset

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, A]` in units where the bounds are -1 and 1.

        Raises:
            ControllerError: it returned an invalid action.
        """
        shown, size = self.layout.unflatten(observation), len(observation["observation"])
        wanted = (size, *self.layout.action_shape)
        if self._takes_batch:
            own = shaped_rows(numbers_in(self.call(shown), self.__name__), wanted, self.__name__)
        elif size:
            own = shaped_rows(
                ask_each([self._one] * size, self._rows(shown, size), [self.__name__] * size), wanted, self.__name__
            )
        else:
            own = np.zeros(wanted)
        return self.layout.to_unit(own.reshape(size, -1))

    def _one(self, shown: Any) -> np.ndarray:
        return shaped(numbers_in(self.call(shown), self.__name__), self.layout.action_shape, self.__name__)

    @staticmethod
    def _rows(shown: Any, size: int) -> list[Any]:
        return [row_of(shown, row) for row in range(size)]

    def _reset(self, mask: np.ndarray) -> None:
        """Reset the lanes `[E]` of the mask."""
        self.call.reset(mask)


class PerLane:
    """Controllers of single observations, one in each lane, so that each has the state of its own episode."""

    takes_batch = True
    makes_each = True
    """One controller for each lane, each a function of one observation."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]]):
        self.make = make
        self.__name__ = _name_of_made(make)
        self._each: list[Any] = []

    def reset(self, mask: np.ndarray) -> None:
        """Reset or replace the controllers in the lanes `[E]` of the mask."""
        if len(mask) != len(self._each):
            self._each = []  # frees their resources before others are made
            self._each = [self._controller_of(lane) for lane in range(len(mask))]
            return
        for lane in np.flatnonzero(mask).tolist():
            if is_stateful(self._each[lane]):
                self._each[lane].reset()
            else:
                self._each[lane] = self._controller_of(lane)

    def _controller_of(self, lane: int) -> Any:
        call: Any = of_one_episode(self._new(lane))
        if is_stateful(call):
            call.reset()
        return call

    def _new(self, lane: int) -> Any:
        return self.make()

    def __call__(self, shown: Any) -> np.ndarray:
        """Return one action for each lane."""
        size = size_of(shown)
        if size != len(self._each):
            self.reset(np.ones(size, dtype=bool))
        return ask_each(self._each, self._shown(shown, size), [self.__name__] * size)

    def _shown(self, shown: Any, size: int) -> list[Any]:
        """Return the observation of each lane's controller."""
        return [row_of(shown, lane) for lane in range(size)]


class EpisodeCopies(PerLane):
    """Copies of a stateful controller for single episodes, one in each lane.

    When an episode starts, its copy is reset, or, if it has no `reset()`, replaced by a new one.

    Args:
        call: the controller; it is not called itself, unless it cannot be copied and there is one lane.
        takes_batch: whether a copy takes a batch, which then holds a single observation.
    """

    def __init__(self, call: Any, takes_batch: bool):
        self.__name__ = name_of(call)
        self._takes_batch = takes_batch
        self._call = call
        self._each = []
        self._why = ""
        self._copies = 0
        try:
            self._call = copy_of(call)  # it may be used elsewhere from now on
        except CannotCopy as error:
            self._why = str(error)
        for name, value in declared_traits(call).items():
            setattr(self, name, value)

    def _new(self, lane: int) -> Any:
        if not self._why:
            self._copies += 1
            return copy_of(self._call, chance=self._copies)
        if lane == 0 and is_stateful(self._call):
            return self._call
        raise ControllerError(
            f"the memory of {self.__name__!r} is that of one episode, several run side by side, and it cannot be copied "
            f"({self._why}): pass residual_rl.per_lane(make), where make() gives a fresh one"
        )

    def _shown(self, shown: Any, size: int) -> list[Any]:
        return [row_of(shown, slice(lane, lane + 1) if self._takes_batch else lane) for lane in range(size)]


def per_lane(make: Callable[[], Callable[[Any], Any]]) -> PerLane:
    """Return a stateful controller from a function that makes one for a single episode.

    `make()` returns a callable of one observation. Each parallel episode has its own; when an episode starts, its `reset()` is
    called, or, if it has none, a new one is made.
    """
    return PerLane(make)


def _name_of_made(make: Any) -> str:
    """Return the name of one instance, so that `per_lane(make)` has the name of `make()`, as used on a robot for example."""
    if isinstance(make, type):
        return make.__name__
    try:
        return name_of(make())
    except Exception as error:
        raise ControllerError(f"controller {name_of(make)!r} raised {type(error).__name__}: {error}") from error
