"""How fast the learner's updates are alone: one compiled scan over minibatches that are there already."""

import time
from collections.abc import Callable

import jax
import numpy as np

from residual_rl.config import PRESETS
from residual_rl.learning import algorithm as learning
from residual_rl.types import Observation, Spec, Transition


def bare_scan(preset: str, spec: Spec, updates: int, batch_size: int) -> Callable[[], float]:
    """A round of a preset's updates on random data: updates per second.

    Args:
        preset: whose algorithm.
        spec: of the task that the data is of.
        updates: of a scan, which is repeated for half a second.
        batch_size: of a minibatch.
    """
    algorithm = PRESETS[preset][1]["algorithm"]
    learner = algorithm.init(spec, jax.random.key(0))
    batches = _random(spec, updates, batch_size)
    learner, _ = learning.update_many(algorithm, learner, batches, spec, True)  # compiles

    def speed() -> float:
        now, scans, started = learner, 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < 0.5 or not scans:
            now, metrics = learning.update_many(algorithm, now, batches, spec, True)
            jax.block_until_ready(metrics)
            scans += 1
        return scans * updates / elapsed

    return speed


def _random(spec: Spec, *shape: int) -> Transition:
    rng = np.random.default_rng(0)

    def drawn(*width: int) -> np.ndarray:
        return rng.uniform(-1.0, 1.0, (*shape, *width)).astype(np.float32)

    def observation() -> Observation:
        return Observation(
            observation=drawn(spec.observation_size), achieved_goal=drawn(spec.goal_size), desired_goal=drawn(spec.goal_size)
        )

    return Transition(
        observation=observation(),
        base_action=drawn(spec.action_size),
        residual=drawn(spec.action_size),
        action=drawn(spec.action_size),
        reward=drawn(),
        terminated=np.zeros(shape, dtype=bool),
        truncated=np.zeros(shape, dtype=bool),
        discount=np.full(shape, spec.discount, np.float32),
        next_observation=observation(),
        next_base_action=drawn(spec.action_size),
    )
