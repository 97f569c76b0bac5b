"""Scale an environment's rewards for the learner: the zero and the unit of its values."""

from collections.abc import Sequence

import numpy as np

from residual_rl.types import Transition

ROUNDING = 1e-11
"""As a share of a reward's size: smaller variations count as none. The error of sums of doubles is below it."""


def usual_value(episodes: Sequence[Transition], discount: float) -> float:
    """Return the mean discounted sum of the rewards that follow a step of these episodes `[T]` each.

    Rewards beyond a time limit are assumed to continue alike. Values far from zero are learned late, and the error of a
    pessimistic target grows with them; after this mean is subtracted they are near zero.
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
    """Return the factor that makes the spread of rewards about 1, in two digits.

    The spread is the root mean square of the rewards minus the usual one, `CustomTask.learner_reward` before it is scaled, so
    that a constant in every reward does not count. If there is no spread, rewards are scaled by their own size.

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
