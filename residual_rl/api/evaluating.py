"""Evaluate a controller alone, or compare two; nothing is learned."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.dataclasses import dataclass

from residual_rl import storage
from residual_rl.controllers import reads_state
from residual_rl.custom.sources import AnyEnv
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.evaluation import base_outcome, evaluation_envs, judged_in
from residual_rl.judging.controllers import one_beside_another, open_both
from residual_rl.judging.sequential import compare_in_turns
from residual_rl.progress.reporter import Tell, reporter_of
from residual_rl.residual import Composition
from residual_rl.runs.run import Run
from residual_rl.seeds import MAX_EPISODES, Purpose, evaluation_seeds
from residual_rl.training.experiment import (
    Request,
    open_experiment,
)
from residual_rl.types import Measure
from residual_rl.verdict import Comparison, Side, side_of


def check_counts(episodes: int = 1, horizon: int | None = None, num_threads: int | None = None) -> None:
    """Check arguments that are not fields of a configuration.

    Raises:
        ResidualRLError: one of them is not a whole number, or out of range.
    """
    for name, value in {"episodes": episodes, "horizon": horizon, "num_threads": num_threads}.items():
        if value is not None and not (isinstance(value, int | np.integer) and value >= 1):
            raise ResidualRLError(f"{name} must be a whole number of at least 1, not {value!r}")
    if episodes > MAX_EPISODES:
        raise ResidualRLError(f"episodes must be at most {MAX_EPISODES:,}, not {episodes:,}")


@dataclass(frozen=True)
class Baseline:
    """The result of evaluating a controller alone."""

    task: str
    controller: str
    episodes: int
    base: Side
    measured_by: Measure = "success"
    """The measure of the task."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return storage.to_json(self)


def evaluate(
    env: AnyEnv,
    controller: Any = None,
    *,
    episodes: int = 500,
    horizon: int | None = None,
    success: str | None = None,
    processes: bool = False,
    num_threads: int | None = None,
    fresh: bool = False,
    tell: Tell = print,
) -> Baseline:
    """Evaluate a controller alone, on the verdict's initial states, which no training and no selection ever sees.

    `reevaluate` compares the policy of a run with its base, `compare` any two controllers.

    Args:
        env: an environment as for `improve`.
        controller: as for `improve`.
        episodes: their number.
        horizon: as for `improve`.
        success: as for `improve`.
        processes: as for `improve`.
        num_threads: physics threads; None for one per core.
        fresh: whether to use initial states that no verdict uses either.
        tell: called with a line about the properties found of a user-supplied controller.

    Raises:
        ResidualRLError: a name or controller that cannot be used.
    """
    check_counts(episodes, horizon, num_threads)
    if isinstance(env, Path | Run):
        raise RunError(f"{Path(env)} is no environment; reevaluate(run) compares the policy of a run with its base")
    given = {"method": "rpl", "preset": "default", "seed": 0}
    purpose = Purpose.CONFIRMATION if fresh else Purpose.VERDICT
    request = Request(controller, given, num_threads, reporter_of(tell).line, None, writes=False)
    with open_experiment(env, request, horizon, processes, success or "last") as experiment:
        task = experiment.task
        outcome = base_outcome(task, experiment.controller, Composition(), episodes, num_threads, purpose)
        task = judged_in(task, purpose)
    return Baseline(task.name, experiment.base.name, episodes, side_of(outcome), task.measured_by)


def compare(
    env: AnyEnv,
    base: Any,
    policy: Any,
    *,
    episodes: int = 500,
    horizon: int | None = None,
    success: str | None = None,
    processes: bool = False,
    num_threads: int | None = None,
    tell: Tell = print,
) -> Comparison:
    """Compare any two controllers: did a change make it better, or worse? Nothing is learned.

    Both run in turns from the same initial states. The result is tested several times, and the comparison stops as soon as it
    is certain; the error of 5 % is that of all tests together, see `statistics.looks`. No verdict uses these initial states, so
    a controller may be tuned on them before it is improved.

    Args:
        env: an environment as for `improve`.
        base: a controller as for `improve`.
        policy: the controller to compare with it; None for the task's own, as for `base`.
        episodes: the maximum for each of them.
        horizon: as for `improve`.
        success: as for `improve`.
        processes: as for `improve`.
        num_threads: physics threads; None for one per core.
        tell: called with a line about the properties found of a user-supplied controller.

    Returns:
        `better`, `worse` or neither, with the difference and its interval.

    Raises:
        ResidualRLError: a name or controller that cannot be used.
    """
    check_counts(episodes, horizon, num_threads)
    line = reporter_of(tell).line
    both = open_both(env, base, policy, horizon, success or "last", processes, num_threads, line)
    with both as (task, first, second, name):
        act = one_beside_another(first, second, task.spec.action_size)
        seeds = evaluation_seeds(Purpose.TUNING, episodes)
        with closing(evaluation_envs(task, episodes, num_threads, reads_state(first) or reads_state(second))) as envs:
            return compare_in_turns(task.name, name, envs, act, seeds, task.measured_by, sequential=True)
