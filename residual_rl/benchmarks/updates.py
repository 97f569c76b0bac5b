"""How fast the learner's updates are alone: one compiled scan over minibatches that are there already."""

import time
from collections.abc import Callable

import jax
import numpy as np

from residual_rl.config import PRESETS
from residual_rl.learning import algorithm as learning
from residual_rl.learning.replay import Replay
from residual_rl.types import Spec


def bare_scan(preset: str, spec: Spec, updates: int, batch_size: int) -> Callable[[], float]:
    """A round of a preset's updates on data without content: updates per second.

    Args:
        preset: whose algorithm.
        spec: of the task that the data is of.
        updates: of a scan, which is repeated for half a second.
        batch_size: of a minibatch.
    """
    algorithm = PRESETS[preset][1]["algorithm"]
    learner = algorithm.init(spec, jax.random.key(0))
    size = updates * batch_size
    rows = Replay(spec, size).rows(np.arange(size))  # zeros, which take as long as anything else
    batches = jax.tree.map(lambda leaf: leaf.reshape(updates, batch_size, *leaf.shape[1:]), rows)
    learner, _ = learning.update_many(algorithm, learner, batches, spec, True)  # compiles

    def speed() -> float:
        now, scans, started = learner, 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < 0.5 or not scans:
            now, metrics = learning.update_many(algorithm, now, batches, spec, True)
            jax.block_until_ready(metrics)
            scans += 1
        return scans * updates / elapsed

    return speed
