"""What our loop adds to the time that somebody's environments take by themselves, stepped by Gymnasium."""

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
    """What is stepped."""

    env: str
    """A Gymnasium id whose episodes end by time alone."""
    steps: int
    """Of an episode."""
    processes: bool = False
    """Whether each environment has a process of its own."""
    envs: int = 8
    """How many are stepped together; 8 is what a cycle has for episodes of 200 steps."""


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
    """Microseconds of an environment step, resets included: alone in Gymnasium's vector environment, and collected by us.

    Both do the same actions from the same seeds. The controller proposes a constant, so that what is added is ours: bringing
    into the controller's and the environment's language, checking, keeping. What the default learner's networks take on top is
    told apart. In one process time is the processor's, which depends less on who else is busy; with several, the clock's.

    Args:
        subjects: what is stepped.
        rounds: of all contestants, for each.
        tell: is told what is being measured.
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
        contestants = {"alone": _stepped(alone, opened.layout.to_world(actions)), "collected": _collected(opened, actions)}
        clock = time.perf_counter if subject.processes else time.process_time
        measures = {name: _speed(contestant, actions, clock) for name, contestant in contestants.items()}
        alternate(measures, 1)  # first resets are slower than all later ones
        speeds = alternate(measures, rounds)
        ratios = [one / other for one, other in zip(speeds["alone"], speeds["collected"], strict=True)]
        return {
            **subject._asdict(),
            **{f"{name}_microseconds": round(1e6 / speed, 1) for name, speed in medians(speeds).items()},
            "added": round(statistics.median(ratios) - 1.0, 3),
            "residual_microseconds": round(residual_seconds(opened.spec, subject.envs) / subject.envs * 1e6, 1),
        }


def _speed(contestant: Callable[[], None], actions: np.ndarray, clock: Callable[[], float]) -> Speed:
    def speed() -> float:
        started = clock()
        contestant()
        return actions.shape[0] * actions.shape[1] / (clock() - started)

    return speed


def _alone(subject: Subject) -> VectorEnv:
    make = [gymnasium_maker(subject.env)] * subject.envs
    if subject.processes:
        return AsyncVectorEnv(make, context="spawn", autoreset_mode=AutoresetMode.DISABLED)
    return SyncVectorEnv(make, autoreset_mode=AutoresetMode.DISABLED)


def _stepped(envs: VectorEnv, actions: np.ndarray) -> Callable[[], None]:
    def stepped() -> None:
        envs.reset(seed=list(range(envs.num_envs)))  # type: ignore[arg-type]
        for action in actions:
            envs.step(action)

    return stepped


def _collected(opened: Opened, actions: np.ndarray) -> Callable[[], None]:
    # Here, because the environments' processes import this module too, and need none of it.
    from residual_rl.controllers.adapted import Adapted, Character
    from residual_rl.residual import Composition
    from residual_rl.rollout import collect

    envs = actions.shape[1]
    middle = opened.layout.from_unit(np.zeros((envs, opened.layout.action_size)))
    middle = middle.reshape(envs, *opened.layout.action_shape)
    batched = Character(True, is_random=False, remembers=False, reads_goal=False, asked_again=True, milliseconds=0.0)
    base = Adapted(lambda shown: middle, opened.layout, batched)
    about = Description(opened.name, opened.layout, opened.spec.horizon, FINDINGS, None)
    lanes = opened.task(about, envs).make_envs()

    seeds = list(range(envs))

    def collected() -> None:
        episodes, dropped = collect(lanes, base, Composition(), lambda _, base_action, step: actions[step], seeds)
        if dropped or any(len(episode.transitions.reward) != len(actions) for episode in episodes):
            raise ValueError(f"an episode of {opened.name} ended early")

    return collected
