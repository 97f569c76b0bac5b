"""The base policies: `CONTROLLERS` by name."""

from collections.abc import Callable
from dataclasses import dataclass

from residual_rl.controllers.controller import Controller, Zero, batched, name_of, naming_step, propose, reads_goal
from residual_rl.controllers.hook import ReactiveHook
from residual_rl.controllers.pick_and_place import OSCILLATING, OSCILLATING_AS_RUN, ReactivePickAndPlace
from residual_rl.controllers.push import ReactivePush
from residual_rl.errors import ControllerError, UnknownName
from residual_rl.types import Spec

__all__ = [
    "CONTROLLERS",
    "Controller",
    "ReactiveHook",
    "ReactivePickAndPlace",
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
    reads: int = 0
    """Entries of an observation that it needs, at least."""
    commands: int | None = None
    """Components of its base action; None for as many as the task has."""

    def fits(self, spec: Spec) -> bool:
        """Whether it can be asked about such a task at all."""
        return spec.observation_size >= self.reads and self.commands in (None, spec.action_size)


FETCH = {"reads": 25, "commands": 4}

CONTROLLERS = {
    "reactive-push": Entry(
        "goes behind the block and pushes it to the goal; tuned for Push", lambda spec: ReactivePush(), **FETCH
    ),
    "reactive-pick-and-place": Entry(
        "grasps the block and carries it to the goal; well tuned", lambda spec: ReactivePickAndPlace(), **FETCH
    ),
    "oscillating-pick-and-place": Entry(
        "the same with too high a gain: the block swings about the goal", lambda spec: OSCILLATING, **FETCH
    ),
    "oscillating-pick-and-place-as-run": Entry(
        "the same with the published tolerance, too fine for today's MuJoCo", lambda spec: OSCILLATING_AS_RUN, **FETCH
    ),
    "reactive-hook": Entry(
        "grasps the hook, brings its head behind the cube, sweeps the cube to the goal",
        lambda spec: ReactiveHook(),
        reads=40,
        commands=4,
    ),
    "zero": Entry("proposes nothing: learning from scratch", lambda spec: Zero(spec.action_size)),
}


def make_controller(name: str, spec: Spec) -> Controller:
    """The controller called `name`.

    Raises:
        UnknownName: with the names that exist.
        ControllerError: it is made for another kind of task.
    """
    if name not in CONTROLLERS:
        raise UnknownName("controller", name, CONTROLLERS)
    if not CONTROLLERS[name].fits(spec):
        fitting = ", ".join(other for other, entry in CONTROLLERS.items() if entry.fits(spec))
        raise ControllerError(f"controller {name!r} is made for another kind of task; for this one there are: {fitting}")
    return CONTROLLERS[name].make(spec)
