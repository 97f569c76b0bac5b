"""Make a table of any planner in any environment."""

from contextlib import closing
from typing import Any

import numpy as np

from residual_rl.controllers.controller import reads_state
from residual_rl.controllers.table import Distance, TableController
from residual_rl.custom.sources import AnyEnv
from residual_rl.custom.success import LAST
from residual_rl.custom.task import CustomTask
from residual_rl.judging.controllers import open_both
from residual_rl.pets.caching import check_size, record_states, table_of
from residual_rl.pets.episodes import Recorded
from residual_rl.pets.prepared import lanes_of
from residual_rl.types import Observation


def cached(
    planner: Any,
    env: AnyEnv,
    states: int = 500,
    *,
    distance: Distance = "raw",
    seed: int = 0,
    horizon: int | None = None,
) -> TableController:
    """Return a table of what a planner does: the action that it took in the nearest of so many states.

    They are the first steps of its episodes in the environment, one episode after the other.

    Args:
        planner: any controller, as for `evaluate`.
        env: an environment, as for `improve`.
        states: of the table, two at least.
        distance: how near two states are: "raw", as published, or "scaled".
        seed: decides the initial states. They are of those that are kept for making bases.
        horizon: as for `improve`.

    Raises:
        ControllerError: there are too few states, or the planner fails.
        ResidualRLError: a name or an environment that cannot be used.
    """
    check_size(states)
    with open_both(env, planner, planner, horizon, LAST, False, None, lambda line: None) as both:
        layout = both.task.layout if isinstance(both.task, CustomTask) else None
        lanes = lanes_of(both.task, with_state=reads_state(both.base))
        if layout is not None:  # which are the environment's, and are closed with it
            steps = record_states(lanes, both.base, states, seed)
            return table_of(_in_own_units(steps, layout), distance)
        with closing(lanes):
            return table_of(record_states(lanes, both.base, states, seed), distance)


def _in_own_units(steps: Recorded, layout: Any) -> Recorded:
    nothing = np.zeros((len(steps.action), layout.goal_size))
    observation = Observation(observation=steps.observation, achieved_goal=nothing, desired_goal=nothing)
    raw = layout.raw(observation)["observation"]
    return steps._replace(observation=raw, action=layout.to_world(steps.action).reshape(len(raw), -1))
