"""A world of the study `proof`: an environment and a controller, both made on demand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium

from residual_rl.custom.making import gymnasium_maker


@dataclass(frozen=True)
class StudyWorld:
    """The arguments of `improve(make, controller(), horizon=horizon)`."""

    make: Callable[[], gymnasium.Env]
    controller: Callable[[], Any]
    base: str
    """Description of the controller and its imperfection, in a line."""
    needs: tuple[str, ...] = ()
    """Import names of additional packages."""
    horizon: int | None = None
    """Time limit in steps, if it is not the environment's own."""


def registered(name: str) -> gymnasium.Env:
    """Return an environment of a Gymnasium id."""
    return gymnasium_maker(name)()
