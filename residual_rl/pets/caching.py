"""Keep what a planner does in a table: the nearest recorded state's action takes a fraction of its time."""

from collections.abc import Callable

import numpy as np

from residual_rl.controllers.controller import Controller
from residual_rl.controllers.table import Distance, TableController
from residual_rl.errors import ControllerError
from residual_rl.pets.episodes import Recorded, joined, roll_out
from residual_rl.tasks.lanes import Lanes

MOST_LOST = 20  # rollouts that may add no step to a table


def record_states(
    envs: Lanes, planner: Controller, states: int, seed: int, first: int = 0, on_rollout: Callable[[int], None] = lambda _: None
) -> Recorded:
    """Return the first so many steps of a planner's episodes, one episode after the other.

    Args:
        envs: lanes to roll out in.
        planner: any controller.
        states: steps to record.
        seed: of the run.
        first: the number of the first episode, among those of the preparation.
        on_rollout: called with the number of steps recorded so far.

    Raises:
        ControllerError: there is to be one state or none, or the planner fails.
    """
    check_size(states)
    episodes: list[Recorded] = []
    while (done := sum(one.steps for one in episodes)) < states:
        on_rollout(done)
        episodes += roll_out(envs, planner, seed, first + len(episodes))
    steps = joined(episodes)
    return Recorded(*(array[:states] for array in steps))


def check_size(states: int) -> None:
    """Check the size of a table that is to be made.

    Raises:
        ControllerError: it is one state or none: its base would always do the same.
    """
    if not isinstance(states, int | np.integer) or states < 2:
        raise ControllerError(f"a table needs two states at least, not {states!r}: with one it would always do the same")


def table_of(steps: Recorded, distance: Distance = "raw") -> TableController:
    """Return the table of recorded steps."""
    return TableController(steps.observation, steps.action, distance)
