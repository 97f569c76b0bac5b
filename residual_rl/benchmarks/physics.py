"""How fast a world is alone: env steps per second, beside MuJoCo without anything around it and beside EnvPool."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from residual_rl.benchmarks.conditions import PEER_TASKS, PEERS, TASK, conditions, installed, quiet
from residual_rl.benchmarks.rounds import Speed, alternate, compared_speeds, stepper
from residual_rl.controllers.resolve import resolve
from residual_rl.optional import need
from residual_rl.processes import usable_cores
from residual_rl.tasks import find_task
from residual_rl.tasks.gymnasium_envs import WorldVectorEnv
from residual_rl.tasks.racing.task import RacingTask
from residual_rl.tasks.task import Task

BATCHES = (16, 32, 64)
"""A cycle of training has 16 episodes, evaluations have up to 64 at once."""
MANY = (64, 256)
DRIVEN_STEPS = 200
"""Of an episode in a world without MuJoCo: long enough that all cars are at speed."""


def physics(
    task: str = TASK,
    threads: int | None = None,
    batches: Sequence[int] | None = None,
    rounds: int = 5,
    round_seconds: float = 1.0,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Env steps per second under random actions, beside two others with the same batch and threads.

    What is measured of us is one episode in each env, from its reset on, again and again. `raw` is MuJoCo's own loop in C over
    those very episodes: the same models, starts and controls, with no Python, observations or resets. `peer` is EnvPool's
    environment of the same kind, where it has one. A world without MuJoCo is played with its controller's actions, and `cpu` is
    the steps per second of processor time, which load on the machine changes less.

    Args:
        task: which world.
        threads: physics threads; None for one on each core.
        batches: numbers of envs; None for `BATCHES`, or `MANY` in a world without MuJoCo.
        rounds: of all contestants, for each batch.
        round_seconds: how long one contestant is measured in one round.
        tell: is told what is being measured.
    """
    found = find_task(task)
    measured_under = conditions(("envpool",))
    threads = threads or usable_cores()
    peer = PEER_TASKS.get(found.name) if installed("envpool") else None
    rows = []
    for batch in batches or (MANY if isinstance(found, RacingTask) else BATCHES):
        tell(f"physics: {found.name}, {batch} envs, {rounds} rounds")
        envs: dict[str, Any] = {"ours": found.make_envs(batch, num_threads=threads)}
        with quiet():
            if peer:
                envs["peer"] = _envpool(peer, batch, threads)
            ours = envs["ours"]
            is_mujoco = hasattr(_mujoco_of(ours), "play")
            actions = _random(ours) if is_mujoco else _driven(found, batch)
            measures = {"ours": _speed(partial(_episodes, ours, actions), actions, round_seconds)}
            if peer:
                calls = stepper(envs["peer"], batch, round_seconds, found.spec.action_size)
                measures["peer"] = partial(_steps_of, calls, found.spec.horizon)
            if is_mujoco:
                measures["raw"] = _speed(_raw(ours, actions), actions, round_seconds)
            else:
                measures["cpu"] = _speed(partial(_episodes, ours, actions), actions, round_seconds, time.process_time)
            speeds = alternate(measures, rounds)
            for env in envs.values():
                env.close()
        rows.append({"batch": batch} | compared_speeds(speeds))
    result = {
        "benchmark": "physics",
        "task": found.name,
        "peer": f"EnvPool {version('envpool')}, {peer}" if peer else None,
        "threads": threads,
        "batches": rows,
    }
    return result | _overall(rows) | measured_under


def _random(envs: WorldVectorEnv) -> np.ndarray:
    """Return random actions of an episode: `[T, E, A]`."""
    return np.random.default_rng(0).uniform(-1, 1, (envs.horizon, envs.num_envs, envs.task_spec.action_size))


def _driven(task: Task, batch: int) -> np.ndarray:
    """Return the actions of the task's controller in the first steps of episodes: `[T, E, A]`."""
    drive = resolve(task.default_controller, task.spec).controller
    with closing(task.make_envs(batch, with_state=True)) as envs:
        observation, _ = envs.reset(seed=0)
        actions = []
        for _ in range(DRIVEN_STEPS):
            actions.append(drive(observation))
            observation, *_ = envs.step(actions[-1])
    return np.stack(actions)


def _speed(
    play: Callable[[], None], actions: np.ndarray, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> Speed:
    """How fast episodes of these actions `[T, E, A]` are played, as often as fits into the time."""

    def speed() -> float:
        steps, started = 0, clock()
        while (elapsed := clock() - started) < seconds or steps == 0:
            play()
            steps += actions.shape[0] * actions.shape[1]
        return steps / elapsed

    return speed


def _steps_of(calls: Speed, horizon: int) -> float:
    """The call that follows an episode's end starts the next one, and steps nothing."""
    return calls() * horizon / (horizon + 1)


def _episodes(envs: WorldVectorEnv, actions: np.ndarray) -> None:
    envs.reset(seed=0)
    for action in actions:
        envs.step(action)


def _mujoco_of(envs: WorldVectorEnv) -> Any:
    """Return the part of a world that plays MuJoCo, or the world itself."""
    physics: Any = envs.world
    for part in ("hook", "arm", "physics"):  # of those worlds that are built of others
        physics = getattr(physics, part, physics)
    return physics


def _raw(envs: WorldVectorEnv, actions: np.ndarray) -> Callable[[], None]:
    """MuJoCo alone on the controls of those episodes."""
    physics = _mujoco_of(envs)
    calls = []
    play = physics.play

    def recorded(state: np.ndarray, controls: np.ndarray, models: Any) -> np.ndarray:
        calls.append((state.copy(), controls.copy(), models))
        return play(state, controls, models)

    physics.play = recorded
    _episodes(envs, actions)
    physics.play = play
    first, _, models = calls[0]
    every_substep = np.concatenate([controls for _, controls, _ in calls], axis=1)
    return lambda: play(first, every_substep, models)


def _envpool(name: str, batch: int, threads: int) -> Any:
    return need("envpool", *PEERS).make(name, env_type="gymnasium", num_envs=batch, num_threads=threads)


def _overall(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All batches' rounds as one comparison."""
    rounds = [round_ for row in rows for round_ in row["rounds"]]
    return compared_speeds({name: [round_[name] for round_ in rounds] for name in rounds[0]}) | {
        "rounds": len(rows[0]["rounds"])
    }
