"""Compare two controllers of one environment: one takes the role of the policy, the other that of its base."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import numpy as np

from residual_rl.config import Config
from residual_rl.controllers import Controller, start_episodes
from residual_rl.controllers.resolve import for_lanes, resolve
from residual_rl.custom.inspection import look
from residual_rl.custom.opened import Opened
from residual_rl.custom.sources import AnyEnv
from residual_rl.custom.success import LAST, checked
from residual_rl.errors import ControllerError, ResidualRLError
from residual_rl.evaluation import Act
from residual_rl.presets import pace
from residual_rl.residual import Composition
from residual_rl.rollout import base_policy
from residual_rl.tasks import check_worlds, find_task, is_task
from residual_rl.tasks.task import AnyTask
from residual_rl.types import Observation


class Both(NamedTuple):
    """Two controllers of one task."""

    task: AnyTask
    base: Controller
    policy: Controller
    name: str
    """Of the base."""


@contextmanager
def open_both(
    env: AnyEnv,
    base: Any,
    policy: Any,
    horizon: int | None,
    success: str,
    processes: bool,
    num_threads: int | None,
    tell: Callable[[str], None],
) -> Iterator[Both]:
    """Yield the two controllers that a user's arguments describe; close what was opened for them at the end.

    Raises:
        ResidualRLError: a name or controller that cannot be used.
    """
    success = checked(success)
    if isinstance(env, str) and is_task(env):
        if horizon is not None or processes or success != LAST:
            raise ResidualRLError(
                f"horizon, success and processes are for environments of your own; {env!r} is a task of the library"
            )
        check_worlds()
        task = find_task(env)
        first, second = (
            for_lanes(resolve(task.default_controller if one is None else one, task.spec, num_threads))
            for one in (base, policy)
        )
        yield Both(task, first.controller, second.controller, first.name)
        return
    with closing(Opened(env, horizon, processes)) as opened:
        if base is None or policy is None:
            raise ControllerError(f"{opened.name} comes without a controller: pass both the base and the policy")
        first, second = (resolve(one, opened.spec, num_threads) for one in (base, policy))
        lines: set[str] = set()

        def tell_once(line: str) -> None:
            if line not in lines:
                lines.add(line)
                tell(line)

        about = look(opened, first, tell_once, success)
        character = look(opened, second, tell_once, success).character if second.is_users else None
        lanes = opened.fixed_lanes or pace(about.findings.episode_steps, None, "default", Config.steps)["episodes_per_cycle"]
        yield Both(
            opened.task(about, lanes),
            first.fitted(about.layout, about.character).controller,
            second.fitted(about.layout, character).controller,
            first.name,
        )


def one_beside_another(base: Controller, policy: Controller, action_size: int) -> Act:
    """Return a policy that acts by one controller and reports the other one's action as its base action."""
    composition = Composition()
    bases, policies = (base_policy(controller, composition, action_size) for controller in (base, policy))

    def act(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        return bases(observation), policies(observation)

    def start(episodes: int) -> None:
        for controller in (base, policy):
            start_episodes(controller, episodes)

    return Act(act, start)
