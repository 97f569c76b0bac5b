"""Writes the golden rollouts: two episodes of every task under a controller that moves its object.

    PYTHONPATH=tests python tests/golden/make.py

They hold for the MuJoCo that made them: contacts, and with them trajectories, differ from version to version.

To be run, and its result looked at, only after a change that is meant to move trajectories.
"""

from pathlib import Path

import numpy as np
from gymnasium.vector import AutoresetMode
from scripted_pusher import scripted

from residual_rl.controllers import make_controller, reads_state
from residual_rl.tasks import TASKS
from residual_rl.tasks.ending import EndingTask
from residual_rl.types import without_state

MUJOCO = "4.0."
"""Versions whose trajectories these are."""
SEEDS = (7, 11)
SHARE = 0.8  # of an episode: long enough for every controller to have moved its object
SHARE_OF = dict.fromkeys(("racing", "racing-validation", "racing-test"), 0.03)  # nothing that is hit, but two laps
ENDING = [name for name, task in TASKS.items() if isinstance(task, EndingTask)]
SHARE_OF |= {name: 0.15 if name.endswith("-state") else 0.03 for name in ENDING}  # their variants differ in the reward alone
SEEDS_OF = {"mpc-push": (1, 5), "noisy-hook": (7, 14), "noisy-hook-as-described": (7, 14)}  # where its object is reached


def file_of(task):
    return Path(__file__).parent / f"{task.name}.npz"


def seeds_of(task):
    return SEEDS_OF.get(task.name, SEEDS)


def base_of(task, num_threads=1):
    """The task's default controller, or one that acts, where that is none."""
    if isinstance(task, EndingTask):
        return waving(task.spec)
    if task.default_controller == "zero":
        return scripted
    return make_controller(task.default_controller, task.spec, num_threads)


def waving(spec):
    """A controller that moves all joints, in a way that depends on what it sees."""
    weights = np.random.default_rng(0).normal(size=(spec.observation_size, spec.action_size)) / np.sqrt(spec.observation_size)
    return lambda observation: np.tanh(2.0 * observation["observation"] @ weights)


def rollout(task, seeds, num_threads=1):
    """What the world showed and the controller did: leading axes `[T, E]`, and `[T + 1, E]` for observations."""
    controller = base_of(task, num_threads)
    mode, with_state = AutoresetMode.DISABLED, reads_state(controller)
    envs = task.make_envs(len(seeds), num_threads=num_threads, autoreset_mode=mode, with_state=with_state)
    observation, _ = envs.reset(seed=list(seeds))
    observations, actions, rewards = [without_state(observation)], [], []
    for _ in range(int(SHARE_OF.get(task.name, SHARE) * task.spec.horizon)):
        actions.append(controller(observation).clip(-1.0, 1.0))
        observation, reward, *_ = envs.step(actions[-1])
        observations.append(without_state(observation))
        rewards.append(reward)
    envs.close()
    shown = {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    return {**shown, "action": np.stack(actions), "reward": np.stack(rewards)}


if __name__ == "__main__":
    for task in TASKS.values():
        np.savez_compressed(file_of(task), **rollout(task, seeds_of(task)))
        print(f"wrote {file_of(task)}")
