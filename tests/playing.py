"""Worlds played in batches, and what they showed."""

import gymnasium
import numpy as np

STEPS = 12


def random_actions(task, seed, steps=STEPS):
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (steps, task.spec.action_size)).astype(np.float32)


def play(envs, seeds, actions):
    """All that a vector environment returned, step by step. `actions` is `[T, E, A]`."""
    observation, _ = envs.reset(seed=seeds)
    shown = [(observation, None, None, None, None)]
    for action in actions:
        observation, reward, terminated, truncated, info = envs.step(action)
        shown.append((observation, reward, terminated, truncated, info["is_success"]))
    return shown


def equal(first, second):
    """Whether two observations are the same to the last bit."""
    return all(np.array_equal(first[key], second[key]) for key in ("observation", "achieved_goal", "desired_goal"))


def lane_of(observation, lane):
    return {key: value[lane] for key, value in observation.items()}


def registered_id(task):
    if task.gymnasium_id not in gymnasium.registry:
        task.register()
    return task.gymnasium_id
