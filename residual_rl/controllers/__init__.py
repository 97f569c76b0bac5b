"""The base policies: `CONTROLLERS` by name."""

from collections.abc import Callable
from dataclasses import dataclass

from residual_rl.controllers.controller import Controller, Zero, batched, name_of, naming_step, propose, reads_goal
from residual_rl.controllers.fetch import ReactivePush
from residual_rl.errors import UnknownName
from residual_rl.types import Spec

__all__ = [
    "CONTROLLERS",
    "Controller",
    "ReactivePush",
    "Zero",
    "batched",
    "make_controller",
    "name_of",
    "naming_step",
    "propose",
    "reads_goal",
]


@dataclass(frozen=True)
class Entry:
    """A controller that can be asked for by name."""

    summary: str
    make: Callable[[Spec], Controller]


CONTROLLERS = {
    "reactive-push": Entry("goes behind the block and pushes it to the goal; tuned for Push", lambda spec: ReactivePush()),
    "zero": Entry("proposes nothing: learning from scratch", lambda spec: Zero(spec.action_size)),
}


def make_controller(name: str, spec: Spec) -> Controller:
    """The controller called `name`.

    Raises:
        UnknownName: with the names that exist.
    """
    if name not in CONTROLLERS:
        raise UnknownName("controller", name, CONTROLLERS)
    return CONTROLLERS[name].make(spec)
