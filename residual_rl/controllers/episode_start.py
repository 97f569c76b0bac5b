"""How a controller learns that an episode starts: by a mask of lanes, without arguments, or with the first observation."""

import inspect
from collections.abc import Callable
from typing import Any

from residual_rl.controllers.controller import declared_traits, is_stateful, name_of

OBSERVED = frozenset({"observation", "observations", "obs", "ob"})
"""Words in the name of a parameter of `reset` that takes an observation."""
MAY_BE_OBSERVED = OBSERVED | {"state", "states", "measurement", "measurements", "measured", "o", "s", "x", "y"}
CAN_BE_GIVEN = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


class WithItsStart:
    """A controller of single episodes whose `reset` wants the first observation: it is called with that, before the answer."""

    def __init__(self, call: Any):
        self.call = call
        self.__name__ = name_of(call)
        for name, value in declared_traits(call).items():
            setattr(self, name, value)
        self._starts = True

    def reset(self) -> None:
        """Start an episode with the next observation."""
        self._starts = True

    def __call__(self, shown: Any) -> Any:
        """Return its answer."""
        if self._starts:
            self.call.reset(shown)
            self._starts = False
        return self.call(shown)


def of_one_episode(call: Any) -> Any:
    """Return a controller whose `reset`, if it has one, takes no argument."""
    return WithItsStart(call) if is_stateful(call) and _wants_its_start(call) else call


def takes_no_mask(call: Any) -> bool:
    """Return whether its `reset` is for a single episode: it takes no argument, or the first observation."""
    return _wants_its_start(call) or _can_be_called(call.reset)


def _wants_its_start(call: Any) -> bool:
    """Return whether its `reset` takes one argument, by its name an observation; what may be left out can also be a memory."""
    try:
        parameters = list(inspect.signature(call.reset).parameters.values())
    except (TypeError, ValueError):
        return False
    needed = [one for one in parameters if one.default is one.empty and one.kind in CAN_BE_GIVEN]
    if needed:
        return len(needed) == 1 and _can_be_called(call.reset, None) and _is_an_observation(needed[0].name, MAY_BE_OBSERVED)
    return bool(parameters) and parameters[0].kind in CAN_BE_GIVEN and _is_an_observation(parameters[0].name, OBSERVED)


def _is_an_observation(name: str, known: frozenset[str]) -> bool:
    return any(word.rstrip("0123456789") in known for word in name.lower().split("_"))


def _can_be_called(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except (TypeError, ValueError):
        return False
    return True


def keeps_lanes(call: Any) -> bool:
    """Return whether it keeps the state of parallel episodes apart."""
    return is_stateful(call) and not takes_no_mask(call)
