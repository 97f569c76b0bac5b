"""Who drives the next training episodes: the base alone, or base plus residual, more or less cautiously.

Early in training, base plus residual may be far worse than the base even if the critics prefer it, and how far critics can
be trusted differs between tasks and over time. So the base and each caution are arms of a bandit. Thompson sampling over the
scores of their latest episodes chooses who drives the next ones. Success during training then stays near that of the best arm,
unless all arms succeed so rarely that few episodes cannot rank them; and the replay keeps successful episodes of the base.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

FEWEST = 8  # episodes of each arm before any arm is preferred

Scores = tuple[tuple[float, ...], ...]
"""Success or return of the latest episodes of each arm, the oldest first. The first arm is the base."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Bandit:
    """Thompson sampling over the mean score of recent episodes, by the Bayesian bootstrap. Source: Rubin 1981."""

    least_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the lanes that the residual's arms drive at least, shared equally: the most that learning may cost."""
    memory: int = Field(default=60, ge=FEWEST)
    """Latest episodes of each arm that count. Few, because the residual changes. An arm that seldom drives has older ones."""

    def drivers(self, rng: np.random.Generator, num_envs: int, scores: Scores) -> np.ndarray:
        """Return the arm of each lane: `[E]` int. Of several lanes the base always drives one, to keep its score current."""
        others = len(scores) - 1
        if min(map(len, scores)) < FEWEST:
            arm = rng.integers(0, len(scores), num_envs)
        else:  # among equals (no success yet, for example): the first arm other than the base
            means = [_means(rng, num_envs, of_arm) for of_arm in (*scores[1:], scores[0])]
            arm = (np.argmax(means, axis=0) + 1) % len(scores)
        lanes, turn = rng.permutation(num_envs), rng.integers(others)
        least = lanes < randomly_rounded(rng, num_envs * self.least_share)
        arm[least] = 1 + (lanes[least] + turn) % others
        if num_envs > 1:
            arm[lanes == num_envs - 1] = 0
        return arm

    def best(self, scores: Scores) -> int:
        """Return the best arm other than the base, the first of equals; arms with too few episodes do not count."""
        known = [float(np.mean(of_arm)) if len(of_arm) >= FEWEST else -np.inf for of_arm in scores[1:]]
        return 1 + int(np.argmax(known))

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """Return the scores extended by new episodes, each given as its score and the arm that drove it."""
        return tuple(
            (*old, *(score for score, driver in new if driver == arm))[-self.memory :] for arm, old in enumerate(scores)
        )


def randomly_rounded(rng: np.random.Generator, amount: float) -> int:
    """Return the whole number below or above, at random, with the right mean: a quarter of a lane is one lane in four draws."""
    whole = int(amount)
    return whole + int(rng.random() < amount - whole) if amount > whole else whole


def _means(rng: np.random.Generator, size: int, scores: Sequence[float]) -> np.ndarray:
    """Draw `[size]` samples from the posterior of the mean score."""
    return rng.dirichlet(np.ones(len(scores)), size) @ np.asarray(scores)
