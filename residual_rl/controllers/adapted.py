"""A callable of anybody's as a controller: shown what its environment shows, answering in its environment's units."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from residual_rl.controllers.controller import as_array, name_of, remembers
from residual_rl.errors import ControllerError
from residual_rl.spaces import Layout
from residual_rl.types import Observation, row_of, size_of


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Character:
    """What a controller was found to be, or says that it is."""

    takes_batch: bool
    """Whether it is shown a batch of observations, or one at a time."""
    is_random: bool
    remembers: bool
    reads_goal: bool
    asked_again: bool
    """Whether hindsight may ask it about observations that were stored."""
    milliseconds: float
    """Of a call."""

    def __str__(self) -> str:
        parts = [
            "asked about a batch" if self.takes_batch else "asked about one observation at a time",
            "random" if self.is_random else "deterministic",
            "with memory" if self.remembers else "without memory",
        ]
        parts += ["reads the goal"] if self.reads_goal else []
        return f"{', '.join(parts)}, {self.milliseconds:.2g} ms a call"


class Adapted:
    """A controller that speaks the library's language, around one that speaks its environment's."""

    def __init__(self, call: Callable[[Any], Any], layout: Layout, character: Character):
        self.call: Any = call
        self.layout = layout
        self.character = character
        self.__name__ = name_of(call)
        self.reads_goal = character.reads_goal
        self.asked_again = character.asked_again
        self.is_random = character.is_random
        if character.remembers:
            self.reset = self._reset

    def __call__(self, observation: Observation) -> np.ndarray:
        """`Observation[B] -> base_action [B, A]` in units where the bounds are -1 and 1.

        Raises:
            ControllerError: its answer has the wrong shape.
        """
        shown, size = self.layout.unflatten(observation), len(observation["observation"])
        if self.character.takes_batch:
            own = as_array(self.call(shown))
            return self.layout.to_unit(self._checked(own, (size, *self.layout.action_shape)).reshape(size, -1))
        rows = [self._one(row_of(shown, row)) for row in range(size)]
        return self.layout.to_unit(np.stack(rows) if rows else np.zeros((0, self.layout.action_size)))

    def _one(self, shown: Any) -> np.ndarray:
        own = as_array(self.call(shown))
        if own.shape == () and self.layout.action_size == 1:
            return own.reshape(1)
        return self._checked(own, self.layout.action_shape).ravel()

    def _checked(self, own: np.ndarray, expected: tuple[int, ...]) -> np.ndarray:
        if own.shape != expected:
            raise ControllerError(f"controller {self.__name__!r} returned shape {own.shape}, {expected} is needed")
        return own

    def _reset(self, mask: np.ndarray) -> None:
        """Forgets, in the lanes `[E]` of the mask."""
        if takes_no_mask(self.call):
            self.call.reset()
        else:
            self.call.reset(mask)


class PerLane:
    """Controllers of single observations, one in each lane, so that each remembers its own episode."""

    takes_batch = True

    def __init__(self, make: Callable[[], Callable[[Any], Any]]):
        self.make = make
        self.__name__ = name_of(make)
        self._each: list[Any] = []

    def reset(self, mask: np.ndarray) -> None:
        """Begins anew in the lanes `[E]` of the mask."""
        if len(mask) != len(self._each):
            self._each = [self._made() for _ in mask]
            return
        for lane in np.flatnonzero(mask).tolist():
            if remembers(self._each[lane]):
                self._each[lane].reset()
            else:
                self._each[lane] = self.make()

    def _made(self) -> Any:
        call: Any = self.make()
        if remembers(call):
            call.reset()
        return call

    def __call__(self, shown: Any) -> np.ndarray:
        """One action for each lane."""
        size = size_of(shown)
        if size != len(self._each):
            self.reset(np.ones(size, dtype=bool))
        return np.stack([as_array(call(row_of(shown, lane))) for lane, call in enumerate(self._each)])


def per_lane(make: Callable[[], Callable[[Any], Any]]) -> PerLane:
    """A controller with memory, from what makes one for a single episode.

    `make()` gives a callable of one observation. Each of the episodes that run side by side has its own; where an episode
    starts, its `reset()` is called, or, without one, a new one is made.
    """
    return PerLane(make)


def takes_no_mask(call: Any) -> bool:
    """Whether its `reset` is for a single episode."""
    try:
        return not inspect.signature(call.reset).parameters
    except (TypeError, ValueError):
        return False
