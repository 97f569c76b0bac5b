"""Measure the speed of a whole training in environment steps per second, beside Stable-Baselines3 and SBX with hindsight."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from residual_rl.benchmarks.conditions import TASK, conditions, installed, quiet
from residual_rl.benchmarks.peers import Peer, Work, fastest_vector_env, sbx, stable_baselines3
from residual_rl.benchmarks.rounds import Speed, alternate, compared_speeds, medians
from residual_rl.errors import ResidualRLError
from residual_rl.processes import usable_cores
from residual_rl.tasks import find_task
from residual_rl.tasks.rules import BLOCK

NUM_ENVS = 16
CYCLE_STEPS = NUM_ENVS * BLOCK.horizon
CYCLE_UPDATES = CYCLE_STEPS // 10
BATCH_SIZE = 256


def learning(
    steps: int = 4000,
    rounds: int = 3,
    transitions: int = 1_000_000,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure environment steps per second of a whole training beside two peers with hindsight, and its memory.

    All simulate, store, relabel and learn, with one update of batch 256 on 3x256 networks for every 10 environment steps.
    Ours is the preset `silver2018` on SlipperyPush with its controller, but collects while it learns, as `default` does. The
    preset `default`, whose three critics cost more, is given for information. `peer` is Stable-Baselines3's DDPG. `sbx` is
    SBX's TQC with a single critic, because SBX has no DDPG for observations with goals. `updates_ratio_to_bare` is the speed
    of updates in our training, with sampling and relabelling but without simulation, beside the bare compiled scan on data
    in memory.

    Args:
        steps: environment steps of one contestant in one round.
        rounds: number of rounds.
        transitions: number of transitions in the replay when memory is measured.
        tell: called with a line about each measurement.
    """
    measured_under = conditions(("stable-baselines3", "torch", "sbx-rl"))
    tell("learning: compiling")
    result: dict[str, Any] = {
        "benchmark": "learning",
        "task": TASK,
        "steps": steps,
        "envs": NUM_ENVS,
        "threads": usable_cores(),
        "updates_per_step": CYCLE_UPDATES / CYCLE_STEPS,
        "batch_size": BATCH_SIZE,
        "compile_seconds": round(_compile_seconds("silver2018"), 2),
        "peer": None,
        "sbx": None,
    }
    _training("default", steps=1)  # compiles
    measures: dict[str, Speed] = {
        "ours": lambda: _training_speed("silver2018", steps),
        "default_preset": lambda: _training_speed("default", steps),
    }
    with quiet():
        peers: dict[str, Peer] = {}
        if installed("stable-baselines3"):
            tell("learning: selecting the fastest of the peers' vector environments")
            env_speeds, envs = fastest_vector_env(NUM_ENVS)
            result["peer_vector_env_speeds"] = env_speeds
            work = Work(envs, NUM_ENVS, CYCLE_STEPS, CYCLE_UPDATES, BATCH_SIZE)
            peers["peer"] = stable_baselines3(work)
            if installed("sbx-rl"):
                peers["sbx"] = sbx(work)
        for name, peer in peers.items():
            result[name] = peer.name
            measures[name] = partial(peer.speed, steps)
        tell(f"learning: {rounds} rounds of {steps} steps each")
        result |= compared_speeds(alternate(measures, rounds))
        result |= {f"{name}_updates_per_step": round(peer.updates_per_step, 3) for name, peer in peers.items()}
        for peer in peers.values():
            peer.close()
        tell("learning: updates alone")
        result |= _updates(steps, rounds)
    tell(f"learning: memory of a run with {transitions} transitions")
    return result | memory(transitions) | measured_under


def memory(transitions: int) -> dict[str, Any]:
    """Measure the peak memory of a process that trains with so many transitions in its replay and writes a checkpoint.

    Raises:
        ResidualRLError: the process failed; the message has its output.
    """
    command = [sys.executable, "-m", "residual_rl.benchmarks.memory", str(transitions)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise ResidualRLError(f"the process for the memory measurement failed: {answer.stderr.strip()}")
    return json.loads(answer.stdout.splitlines()[-1])


def _updates(steps: int, rounds: int) -> dict[str, float]:
    """Measure updates per second in a training (the time of a cycle with all updates minus that with one) and alone."""
    from residual_rl.benchmarks.updates import bare_scan

    def in_training() -> float:
        all_, one = (_training_speed("silver2018", steps, updates, overlap=False) for updates in (CYCLE_UPDATES, 1))
        return (CYCLE_UPDATES - 1) / (CYCLE_STEPS / all_ - CYCLE_STEPS / one)

    _training("silver2018", steps=1, updates=1)  # compiles
    bare = bare_scan("silver2018", find_task(TASK).spec, CYCLE_UPDATES, BATCH_SIZE)
    speeds = alternate({"in_training": in_training, "bare": bare}, rounds)
    ratios = [inside / alone for inside, alone in zip(speeds["in_training"], speeds["bare"], strict=True)]
    inside, alone = medians(speeds).values()
    return {
        "updates_per_second": inside,
        "bare_updates_per_second": alone,
        "updates_ratio_to_bare": round(statistics.median(ratios), 3),
    }


def _training_speed(preset: str, steps: int, updates: int = CYCLE_UPDATES, overlap: bool = True) -> float:
    """Return environment steps per second of a training, without evaluations and without the first and last cycle.

    The first cycle includes the start; the last one ends with an evaluation and the final checkpoint.
    """
    times = _training(preset, steps, updates, overlap)
    return (len(times) - 2) * CYCLE_STEPS / (times[-2] - times[0])


def _compile_seconds(preset: str) -> float:
    """Return by how many seconds the first training of a process takes longer than the second."""
    durations = []
    for _ in range(2):
        started = time.perf_counter()
        _training(preset, steps=1)
        durations.append(time.perf_counter() - started)
    return durations[0] - durations[1]


def _training(preset: str, steps: int, updates: int = CYCLE_UPDATES, overlap: bool = True) -> list[float]:
    """Train for a short time; return the times in s at which cycles ended: those of `steps`, one before and one after."""
    # Imported here, because the peers' processes import this module and do not need JAX.
    from residual_rl.controllers.resolve import resolve
    from residual_rl.learning.burn_in import FixedBurnIn
    from residual_rl.presets import make_config
    from residual_rl.runs.run import Run
    from residual_rl.training.experiment import Experiment
    from residual_rl.training.train import train

    task = find_task(TASK)
    cycles = -(-steps // CYCLE_STEPS) + 2
    config = make_config(
        preset,
        task=task.name,
        controller=task.default_controller,
        steps=cycles * CYCLE_STEPS,
        episodes_per_cycle=NUM_ENVS,
        updates_per_cycle=updates,
        overlap=overlap,
        batch_size=BATCH_SIZE,
        evaluation_interval=2 * cycles * CYCLE_STEPS,
        evaluation_episodes=1,
    )
    # A burn-in costs less than the rest of the run.
    config = replace(config, algorithm=replace(config.algorithm, burn_in=FixedBurnIn(cycles=0)))
    times = []
    with tempfile.TemporaryDirectory() as directory, Run(Path(directory) / "run", config) as run:
        experiment = Experiment(config, task, resolve(task.default_controller, task.spec), run)
        train(experiment, lambda progress: times.append(time.perf_counter()), num_threads=usable_cores())
    return times
