"""Writes the golden rollouts: two episodes of every task under its default controller.

    python tests/golden/make.py

To be run, and its result looked at, only after a change that is meant to move trajectories.
"""

from pathlib import Path

import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.controllers import make_controller
from residual_rl.tasks import TASKS

SEEDS = (7, 11)
LUCKY_SEEDS = dict.fromkeys(("noisy-hook", "noisy-hook-as-described"), (7, 14))  # where its controller gets as far as the cube
SHARE = 0.8  # of an episode: long enough for every controller to have moved its object


def file_of(task):
    return Path(__file__).parent / f"{task.name}.npz"


def seeds_of(task):
    return LUCKY_SEEDS.get(task.name, SEEDS)


def rollout(task, seeds, num_threads=1):
    """What the world showed and the controller did: leading axes `[T, E]`, and `[T + 1, E]` for observations."""
    controller = make_controller(task.default_controller, task.spec)
    envs = task.make_envs(len(seeds), num_threads=num_threads, autoreset_mode=AutoresetMode.DISABLED)
    observation, _ = envs.reset(seed=list(seeds))
    observations, actions, rewards = [observation], [], []
    for _ in range(int(SHARE * task.spec.horizon)):
        actions.append(controller(observation).clip(-1.0, 1.0))
        observation, reward, *_ = envs.step(actions[-1])
        observations.append(observation)
        rewards.append(reward)
    envs.close()
    shown = {key: np.stack([observation[key] for observation in observations]) for key in observation}
    return {**shown, "action": np.stack(actions), "reward": np.stack(rewards)}


if __name__ == "__main__":
    for task in TASKS.values():
        np.savez_compressed(file_of(task), **rollout(task, seeds_of(task)))
        print(f"wrote {file_of(task)}")
