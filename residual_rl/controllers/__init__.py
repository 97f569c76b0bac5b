"""The base policies: `CONTROLLERS` by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from residual_rl.controllers.adapted import per_lane
from residual_rl.controllers.controller import (
    Controller,
    Zero,
    batched,
    can_be_requeried,
    is_random,
    is_stateful,
    name_of,
    naming_step,
    propose,
    reads_goal,
    reads_state,
    start_episodes,
)
from residual_rl.controllers.hook import ReactiveHook
from residual_rl.controllers.network import SUFFIXES, NetworkController, is_network, split_gain
from residual_rl.controllers.pick_and_place import OSCILLATING, OSCILLATING_AS_RUN, ReactivePickAndPlace
from residual_rl.controllers.planning import DiscreteMPC
from residual_rl.controllers.push import ReactivePush
from residual_rl.controllers.racing import FollowTheGap, PotentialField, PurePursuit
from residual_rl.controllers.table import TableController
from residual_rl.controllers.workers import in_processes
from residual_rl.errors import ControllerError, UnknownName
from residual_rl.tasks.racing import world as racing
from residual_rl.tasks.rules import BLOCK
from residual_rl.types import Spec

__all__ = [
    "CONTROLLERS",
    "Controller",
    "DiscreteMPC",
    "FollowTheGap",
    "NetworkController",
    "PotentialField",
    "PurePursuit",
    "ReactiveHook",
    "ReactivePickAndPlace",
    "ReactivePush",
    "TableController",
    "Zero",
    "batched",
    "can_be_requeried",
    "in_processes",
    "is_random",
    "is_stateful",
    "make_controller",
    "name_of",
    "naming_step",
    "per_lane",
    "propose",
    "reads_goal",
    "reads_state",
    "start_episodes",
]


@dataclass(frozen=True)
class Entry:
    """A built-in controller."""

    summary: str
    make: Callable[[Spec, int | None], Controller]
    """Makes it from the task's spec and, for planners, a number of physics threads (None: one per core)."""
    reads: int = 0
    """Entries of an observation that it needs, at least."""
    commands: int | None = None
    """Components of its base action; None for as many as the task has."""
    plans_in: Spec | None = None
    """The only spec whose states it can plan from; None if it does not plan."""

    def fits(self, spec: Spec) -> bool:
        """Return whether it can be used in a task with this spec."""
        suits = spec.observation_size >= self.reads and self.commands in (None, spec.action_size)
        return suits and self.plans_in in (None, spec)


FETCH: dict[str, Any] = {"reads": 25, "commands": 4}

CONTROLLERS = {
    "discrete-mpc": Entry(
        "searches over moves of 5 cm in a copy of Push; slow",
        lambda spec, threads: DiscreteMPC(num_threads=threads),
        plans_in=BLOCK,
    ),
    "reactive-push": Entry(
        "goes behind the block and pushes it to the goal; tuned for Push", lambda spec, threads: ReactivePush(), **FETCH
    ),
    "reactive-pick-and-place": Entry(
        "grasps the block and carries it to the goal; well tuned", lambda spec, threads: ReactivePickAndPlace(), **FETCH
    ),
    "oscillating-pick-and-place": Entry(
        "the same with too high a gain and too fine a tolerance", lambda spec, threads: OSCILLATING, **FETCH
    ),
    "oscillating-pick-and-place-as-run": Entry(
        "the same with the published tolerance, too coarse for today's MuJoCo",
        lambda spec, threads: OSCILLATING_AS_RUN,
        **FETCH,
    ),
    "reactive-hook": Entry(
        "grasps the hook, brings its head behind the cube, sweeps the cube to the goal",
        lambda spec, threads: ReactiveHook(),
        reads=40,
        commands=4,
    ),
    "pure-pursuit": Entry(
        "drives along the middle of the track, with a map", lambda spec, threads: PurePursuit(), plans_in=racing.SPEC
    ),
    "racing-line": Entry(
        "the same along the line that bends least", lambda spec, threads: PurePursuit("fast"), plans_in=racing.SPEC
    ),
    "follow-the-gap": Entry(
        "drives into the widest opening of the scan", lambda spec, threads: FollowTheGap(), plans_in=racing.SPEC
    ),
    "potential-field": Entry(
        "is pushed away by the walls in the scan", lambda spec, threads: PotentialField(), plans_in=racing.SPEC
    ),
    "zero": Entry("proposes nothing: learning from scratch", lambda spec, threads: Zero(spec.action_size)),
}


def make_controller(name: str, spec: Spec, num_threads: int | None = None) -> Controller:
    """Return the controller called `name`, or the table or network in the file of that name.

    `PATH@GAIN` is a network whose actions are multiplied by a gain.

    Args:
        name: one of `CONTROLLERS`, or a file.
        spec: of the task that it is for.
        num_threads: physics threads of a planner; None for one per core.

    Raises:
        UnknownName: with the names that exist.
        ControllerError: it is made for another kind of task, or the file is neither table nor network.
    """
    path, gain = split_gain(name)
    if path.endswith(SUFFIXES):
        if is_network(path):
            return NetworkController.load(path, spec, gain)
        if gain != 1.0:
            raise ControllerError(f"{path} is no network: only a network's actions can have a gain")
        return TableController.load(path, spec)
    if name not in CONTROLLERS:
        raise UnknownName("controller", name, CONTROLLERS)
    if not CONTROLLERS[name].fits(spec):
        fitting = ", ".join(other for other, entry in CONTROLLERS.items() if entry.fits(spec))
        raise ControllerError(f"controller {name!r} is made for another kind of task; for this one there are: {fitting}")
    return CONTROLLERS[name].make(spec, num_threads)
