"""The base policies: `CONTROLLERS` by name."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from residual_rl.controllers import mime
from residual_rl.controllers.adapted import per_lane
from residual_rl.controllers.chunked import chunked
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
from residual_rl.controllers.mime import MimeScript
from residual_rl.controllers.network import SUFFIXES, NetworkController, is_network, split_gain
from residual_rl.controllers.pick_and_place import OSCILLATING, OSCILLATING_AS_RUN, ReactivePickAndPlace
from residual_rl.controllers.planning import DiscreteMPC
from residual_rl.controllers.push import ReactivePush
from residual_rl.controllers.racing import FollowTheGap, PotentialField, PurePursuit
from residual_rl.controllers.remote import remote
from residual_rl.controllers.table import TableController
from residual_rl.controllers.workers import in_processes
from residual_rl.errors import ControllerError, UnknownName
from residual_rl.tasks.mime.task import SPECS as MIME
from residual_rl.tasks.racing import world as racing
from residual_rl.tasks.rules import PUSHER
from residual_rl.types import Spec

if TYPE_CHECKING:
    from residual_rl.pets.cached import cached as cached
    from residual_rl.pets.prepared import PETS as PETS
    from residual_rl.pets.prepared import CachedPETS as CachedPETS

__all__ = [
    "CONTROLLERS",
    "PETS",
    "CachedPETS",
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
    "cached",
    "can_be_requeried",
    "chunked",
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
    "remote",
    "start_episodes",
]

LEARNED = {"PETS": "residual_rl.pets.prepared", "CachedPETS": "residual_rl.pets.prepared", "cached": "residual_rl.pets.cached"}
"""Names of this package that need JAX, and where they are."""


@dataclass(frozen=True)
class ControllerEntry:
    """A built-in controller."""

    summary: str
    make: Callable[[Spec, int | None], Any]
    """Makes it from the task's spec and, for planners, a number of physics threads (None: one per core)."""
    reads: int = 0
    """Entries of an observation that it needs, at least."""
    commands: int | None = None
    """Components of its base action; None for as many as the task has."""
    model_of: str | None = None
    """The only world that it can be used in, `Spec.world`, because it has a model or a map of it; None if it needs none."""
    is_prepared: bool = False
    """Whether `make` gives a base that is made inside a run, see `Prepared`."""

    def fits(self, spec: Spec) -> bool:
        """Return whether it can be used in a task with this spec."""
        suits = spec.observation_size >= self.reads and self.commands in (None, spec.action_size)
        return suits and self.model_of in (None, spec.world)


def _learned() -> Any:
    """Return the module of the bases with a learned model. It imports JAX, so it waits until it is needed."""
    return import_module("residual_rl.pets.prepared")


def __getattr__(name: str) -> Any:
    """Return what needs JAX, when it is first asked for."""
    if name in LEARNED:
        return getattr(import_module(LEARNED[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


FETCH: dict[str, Any] = {"reads": 25, "commands": 4}

CONTROLLERS = {
    "discrete-mpc": ControllerEntry(
        "searches over moves of 5 cm in a copy of Push; slow",
        lambda spec, threads: DiscreteMPC(num_threads=threads),
        model_of="push",
    ),
    "reactive-push": ControllerEntry(
        "goes behind the block and pushes it to the goal; tuned for Push", lambda spec, threads: ReactivePush(), **FETCH
    ),
    "reactive-pick-and-place": ControllerEntry(
        "grasps the block and carries it to the goal; well tuned", lambda spec, threads: ReactivePickAndPlace(), **FETCH
    ),
    "oscillating-pick-and-place": ControllerEntry(
        "the same with too high a gain and too fine a tolerance", lambda spec, threads: OSCILLATING, **FETCH
    ),
    "oscillating-pick-and-place-as-run": ControllerEntry(
        "the same with the published tolerance, too coarse for today's MuJoCo",
        lambda spec, threads: OSCILLATING_AS_RUN,
        **FETCH,
    ),
    "reactive-hook": ControllerEntry(
        "grasps the hook, brings its head behind the cube, sweeps the cube to the goal",
        lambda spec, threads: ReactiveHook(),
        reads=40,
        commands=4,
    ),
    "pure-pursuit": ControllerEntry(
        "drives along the middle of the track, with a map", lambda spec, threads: PurePursuit(), model_of=racing.SPEC.world
    ),
    "racing-line": ControllerEntry(
        "the same along the line that bends least", lambda spec, threads: PurePursuit("fast"), model_of=racing.SPEC.world
    ),
    "follow-the-gap": ControllerEntry(
        "drives into the widest opening of the scan", lambda spec, threads: FollowTheGap(), model_of=racing.SPEC.world
    ),
    "potential-field": ControllerEntry(
        "is pushed away by the walls in the scan", lambda spec, threads: PotentialField(), model_of=racing.SPEC.world
    ),
    "pets": ControllerEntry(
        "plans with a model that it learns in the run, within 15,000 steps; slow",
        lambda spec, threads: _learned().PETS(),
        model_of=PUSHER.world,
        is_prepared=True,
    ),
    "cached-pets": ControllerEntry(
        "learns the same model, then keeps the planner's actions in 500 states in a table",
        lambda spec, threads: _learned().CachedPETS(),
        model_of=PUSHER.world,
        is_prepared=True,
    ),
    "script-pick": ControllerEntry(
        "goes to the cube, closes the gripper, lifts it",
        lambda spec, threads: MimeScript(mime.pick, 0.075),
        model_of=MIME["pick"].world,
    ),
    "script-bowl": ControllerEntry(
        "picks the cube up and lets it fall into the bowl",
        lambda spec, threads: MimeScript(mime.bowl, 0.1),
        model_of=MIME["bowl"].world,
    ),
    "script-place-push": ControllerEntry(
        "goes behind the cube and pushes it to its place",
        lambda spec, threads: MimeScript(mime.push, 0.075),
        model_of=MIME["place-push"].world,
    ),
    "zero": ControllerEntry("proposes nothing: learning from scratch", lambda spec, threads: Zero(spec.action_size)),
}


def make_controller(name: str, spec: Spec, num_threads: int | None = None) -> Any:
    """Return the controller called `name`, or the table or network in the file of that name.

    `PATH@GAIN` is a network whose actions are multiplied by a gain.

    It is a `Controller`; or a `Prepared` base, if the name is that of a base that is made inside a run.

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
