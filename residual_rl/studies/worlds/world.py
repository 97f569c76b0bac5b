"""What a world of somebody else's is: an environment and a controller for it, each made when asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium

from residual_rl.custom.making import gymnasium_maker


@dataclass(frozen=True)
class World:
    """What goes into the five lines: `improve(make, controller(), horizon=horizon)`."""

    make: Callable[[], gymnasium.Env]
    controller: Callable[[], Any]
    base: str
    """What the controller is, and what is wrong with it, in a line."""
    needs: tuple[str, ...] = ()
    """Packages beside the library's own, by the names they are imported by."""
    horizon: int | None = None
    """Where it is not the environment's own."""


def registered(name: str) -> gymnasium.Env:
    """One environment of a Gymnasium id."""
    return gymnasium_maker(name)()
