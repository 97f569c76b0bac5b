"""Measure the learner alone: its updates on minibatches in memory, and its residuals."""

import statistics
import time
from collections.abc import Callable

import jax
import numpy as np

from residual_rl.learning import algorithm as learning
from residual_rl.learning.exploration import greedy
from residual_rl.learning.replay import Replay, example_transition
from residual_rl.presets import PRESETS
from residual_rl.types import Observation, Spec


def bare_scan(preset: str, spec: Spec, updates: int, batch_size: int) -> Callable[[], float]:
    """Return a round of a preset's updates on zeros, which gives updates per second.

    Args:
        preset: the preset with the algorithm.
        spec: the task's sizes.
        updates: updates of a scan, which is repeated for half a second.
        batch_size: size of a minibatch.
    """
    algorithm = PRESETS[preset][1]["algorithm"]
    key = jax.random.key(0)
    learner = learning.init(algorithm, spec, key)
    size = updates * batch_size
    rows = Replay(example_transition(spec), size).rows(np.arange(size))  # zeros take as long as other values
    batches = jax.tree.map(lambda leaf: leaf.reshape(updates, batch_size, *leaf.shape[1:]), rows)
    learner, _ = learning.update_many(algorithm, learner, batches, spec, key, True)  # compiles

    def speed() -> float:
        now, scans, started = learner, 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < 0.5 or not scans:
            now, metrics = learning.update_many(algorithm, now, batches, spec, key, True)
            jax.block_until_ready(metrics)
            scans += 1
        return scans * updates / elapsed

    return speed


def residual_seconds(spec: Spec, lanes: int) -> float:
    """Return the median time in s of the default learner's residuals for all lanes in one training step."""
    algorithm = PRESETS["default"][1]["algorithm"]
    networks = algorithm.acting(learning.init(algorithm, spec, jax.random.key(0)))
    goal, base_action = np.zeros((lanes, spec.goal_size)), np.zeros((lanes, spec.action_size))
    observation = Observation(observation=np.zeros((lanes, spec.observation_size)), achieved_goal=goal, desired_goal=goal)
    rule, settings = algorithm.rule, algorithm.settings()
    roles, keys, taken = greedy(lanes), jax.random.split(jax.random.key(0), 200), []
    for number in range(len(keys)):
        started = time.perf_counter()
        np.asarray(learning.act(rule, networks, observation, base_action, keys[number], roles, settings).residual)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)
