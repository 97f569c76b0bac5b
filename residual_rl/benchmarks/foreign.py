"""Measure what our loop adds to the time of user-supplied environments, stepped by Gymnasium."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from residual_rl.benchmarks.conditions import conditions, quiet
from residual_rl.benchmarks.rounds import Speed, alternate, medians
from residual_rl.custom.description import Description, Findings
from residual_rl.custom.making import gymnasium_maker
from residual_rl.custom.opened import Opened

FINDINGS = Findings("return", reward_scale=1.0, sparse=False, episode_steps=1.0, goal_rules=None)


class Subject(NamedTuple):
    """Environments to step."""

    env: str
    """A Gymnasium id whose episodes end by time alone."""
    steps: int
    """Steps of an episode."""
    processes: bool = False
    """Whether each environment runs in its own process."""
    envs: int = 8
    """Number of parallel environments; 8 is the number in a cycle for episodes of 200 steps."""


SUBJECTS = (
    Subject("Pendulum-v1", 200),
    Subject("Pendulum-v1", 200, envs=64),
    Subject("Pendulum-v1", 200, processes=True),
    Subject("HalfCheetah-v5", 200),
    Subject("FetchPush-v4", 50),
)


def foreign(
    subjects: Sequence[Subject] = SUBJECTS, rounds: int = 15, tell: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure microseconds of an environment step with resets: in Gymnasium's vector environment alone, and through our loop.

    Both execute the same actions from the same seeds. The controller proposes a constant, so the difference is our overhead:
    converting, checking and storing observations and actions. The time of the default learner's networks is given separately.
    With one process it is processor time, which depends less on other load; with several it is wall-clock time.

    Args:
        subjects: the environments to step.
        rounds: number of rounds for each subject.
        tell: called with a line about each measurement.
    """
    measured_under = conditions(())
    rows = []
    for subject in subjects:
        tell(f"foreign: {subject.env}, {subject.envs} envs, {rounds} rounds")
        with quiet():
            rows.append(_row(subject, rounds))
    return {"benchmark": "foreign", "rounds": rounds, "rows": rows} | measured_under


def _row(subject: Subject, rounds: int) -> dict[str, Any]:
    from residual_rl.benchmarks.updates import residual_seconds

    with closing(Opened(subject.env, subject.steps, subject.processes)) as opened, closing(_alone(subject)) as alone:
        actions = np.random.default_rng(0).uniform(-1.0, 1.0, (subject.steps, subject.envs, opened.layout.action_size))
        runs = {"alone": _make_stepper(alone, opened.layout.to_world(actions)), "collected": _make_collector(opened, actions)}
        clock = time.perf_counter if subject.processes else time.process_time
        measures = {name: _speed(run, actions, clock) for name, run in runs.items()}
        alternate(measures, 1)  # the first resets are slower
        speeds = alternate(measures, rounds)
        ratios = [one / other for one, other in zip(speeds["alone"], speeds["collected"], strict=True)]
        return {
            **subject._asdict(),
            **{f"{name}_microseconds": round(1e6 / speed, 1) for name, speed in medians(speeds).items()},
            "added": round(statistics.median(ratios) - 1.0, 3),
            "residual_microseconds": round(residual_seconds(opened.spec, subject.envs) / subject.envs * 1e6, 1),
        }


def _speed(run: Callable[[], None], actions: np.ndarray, clock: Callable[[], float]) -> Speed:
    def speed() -> float:
        started = clock()
        run()
        return actions.shape[0] * actions.shape[1] / (clock() - started)

    return speed


def _alone(subject: Subject) -> VectorEnv:
    make = [gymnasium_maker(subject.env)] * subject.envs
    if subject.processes:
        return AsyncVectorEnv(make, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
    return SyncVectorEnv(make, autoreset_mode=AutoresetMode.DISABLED)


def _make_stepper(envs: VectorEnv, actions: np.ndarray) -> Callable[[], None]:
    def step_episodes() -> None:
        envs.reset(seed=list(range(envs.num_envs)))  # type: ignore[arg-type]
        for action in actions:
            envs.step(action)

    return step_episodes


def _make_collector(opened: Opened, actions: np.ndarray) -> Callable[[], None]:
    # Imported here, because the environments' processes import this module and do not need them.
    from residual_rl.controllers.adapted import Adapted, Character
    from residual_rl.residual import Composition
    from residual_rl.rollout import collect

    envs = actions.shape[1]
    middle = opened.layout.from_unit(np.zeros((envs, opened.layout.action_size)))
    middle = middle.reshape(envs, *opened.layout.action_shape)
    batched = Character(True, is_random=False, is_stateful=False, reads_goal=False, can_be_requeried=True, milliseconds=0.0)
    base = Adapted(lambda shown: middle, opened.layout, batched)
    about = Description(opened.name, opened.layout, opened.spec.horizon, FINDINGS, None)
    lanes = opened.task(about, envs).open_lanes()

    seeds = list(range(envs))

    def collect_episodes() -> None:
        episodes, dropped = collect(lanes, base, Composition(), lambda _, base_action, step: actions[step], seeds)
        if dropped or any(len(episode.transitions.reward) != len(actions) for episode in episodes):
            raise ValueError(f"an episode of {opened.name} ended early")

    return collect_episodes
