"""Measure the memory of a training in its own process: `python -m residual_rl.benchmarks.memory TRANSITIONS`."""

import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from residual_rl.benchmarks.conditions import TASK
from residual_rl.errors import ResidualRLError
from residual_rl.learning import algorithm as learning
from residual_rl.learning.replay import Replay, example_transition
from residual_rl.learning.serialization import to_arrays
from residual_rl.presets import make_config
from residual_rl.runs.files import CHECKPOINT
from residual_rl.runs.run import Run
from residual_rl.tasks import find_task

BYTES_PER_GB = 1e9


def fill_learn_and_save(transitions: int) -> dict[str, Any]:
    """Fill a replay, run a cycle of updates, write a checkpoint; return the peak memory of this process."""
    task = find_task(TASK)
    config = make_config("silver2018", task=task.name, controller=task.default_controller, replay_capacity=transitions)
    rng = np.random.default_rng(0)
    replay = Replay(example_transition(task.spec), transitions)
    episode = jax.tree.map(  # write to every memory page, as a real run does
        lambda leaf: rng.random((task.spec.horizon, *leaf.shape[1:])).astype(leaf.dtype),
        Replay(example_transition(task.spec), 1).rows(np.zeros(1, int)),
    )
    for _ in range(-(-transitions // task.spec.horizon)):
        replay.add_episode(episode)
    learner = learning.init(config.algorithm, task.spec, jax.random.key(0))
    size = config.updates_per_cycle * config.batch_size
    flat = config.hindsight.sample(replay, rng, size, task.reward, task.success, None)
    batches = jax.tree.map(lambda leaf: leaf.reshape(config.updates_per_cycle, -1, *leaf.shape[1:]), flat)
    learner, _ = learning.update_many(config.algorithm, learner, batches, task.spec, jax.random.key(0), True)
    jax.block_until_ready(learner)
    before = peak_memory()
    with tempfile.TemporaryDirectory() as directory, Run(Path(directory) / "run", config) as run:
        started = time.perf_counter()
        arrays = to_arrays(learner, "learner") | {f"replay/{name}": array for name, array in replay.arrays().items()}
        run.save_checkpoint(arrays, {})
        seconds = time.perf_counter() - started
        size_on_disk = (run.path / CHECKPOINT).stat().st_size
    return {
        "transitions": transitions,
        "peak_memory_gb": round(peak_memory() / BYTES_PER_GB, 3),
        "peak_memory_before_checkpoint_gb": round(before / BYTES_PER_GB, 3),
        "checkpoint_gb": round(size_on_disk / BYTES_PER_GB, 3),
        "checkpoint_seconds": round(seconds, 2),
    }


def peak_memory() -> float:
    """Return the peak memory of this process in bytes.

    Raises:
        ResidualRLError: the operating system does not report it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        # Linux's ru_maxrss includes the peak of the parent process; this line does not.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return 1024.0 * int(line.split()[1])
    try:
        import resource
    except ImportError:
        raise ResidualRLError(f"{platform.system()} does not report the peak memory of a process; Linux and macOS do") from None
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # macOS counts bytes


if __name__ == "__main__":
    print(json.dumps(fill_learn_and_save(int(sys.argv[1]))))
