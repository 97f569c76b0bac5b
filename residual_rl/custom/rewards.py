"""What the learner makes of an environment's rewards: where its values have their zero, and what a difference of 1 is."""

from collections.abc import Sequence

import numpy as np

from residual_rl.types import Transition

ROUNDING = 1e-11
"""Of a reward's size: what varies by less does not vary. Sums of doubles are off by less."""


def usual_value(episodes: Sequence[Transition], discount: float) -> float:
    """Return the mean discounted sum of the rewards that follow a step of these episodes `[T]` each.

    What follows beyond a time limit is worth as much again. Values far from zero are learned late, and a cautious target is
    off by more the farther they are: less this, they are near zero.
    """
    sums, tails = [], []
    for episode in episodes:
        following, tail = 0.0, float(not episode.terminated[-1])
        for reward in episode.reward[::-1]:
            following, tail = float(reward) + discount * following, discount * tail
            sums.append(following)
            tails.append(tail)
    return float(np.mean(sums) / (1.0 - np.mean(tails)))


def reward_scale(episodes: Sequence[Transition], usual: float, discount: float) -> float:
    """Return what makes the spread of rewards about 1, in two digits.

    The spread is the root mean square of the rewards less what is usual, `CustomTask.learner_reward` before it is scaled, so
    that a constant in every reward has no part in it. If there is none, rewards are scaled by their own size.

    Args:
        episodes: `[T]` each, some of them disturbed: only differences show how large differences are.
        usual: the usual value.
        discount: of the task.
    """
    rewards = np.concatenate([one.reward for one in episodes])
    terminated = np.concatenate([one.terminated for one in episodes])
    differences = rewards - np.where(terminated, 1.0, 1.0 - discount) * usual
    size, spread = float(np.abs(rewards).max()), float(np.sqrt(np.mean(np.square(differences))))
    if spread <= ROUNDING * size:
        spread = size
    return float(f"{1.0 / spread:.1e}") if spread > 0.0 else 1.0
