"""Who drives the next training episodes: the base alone, or base plus residual, more or less cautiously.

A residual that has just begun to act may be far worse than its base, whatever its critics say; and how far they can be trusted
differs from task to task and from one time to another. So base and cautions are arms of a bandit: what the latest episodes of
each were worth decides, by Thompson sampling, who drives the next ones. Success while learning then stays near that of the best
of them, unless all succeed so rarely that few episodes do not tell them apart; and a replay that would else fill with failures
keeps episodes of a base that succeeds.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

FEWEST = 8  # episodes of each arm, before which none is preferred

Scores = tuple[tuple[float, ...], ...]
"""What the latest episodes of each arm were worth, success or return, the oldest first. The first arm is the base."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Bandit:
    """Thompson sampling over the mean score of recent episodes, by the Bayesian bootstrap. Source: Rubin 1981."""

    least_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the lanes that the arms of the residual drive however badly they do, each as many: what learning may cost at
    most."""
    memory: int = Field(default=60, ge=FEWEST)
    """Episodes of each arm that count. Few: the residual changes. Those of an arm that drives little are older than others."""

    def drivers(self, rng: np.random.Generator, num_envs: int, scores: Scores) -> np.ndarray:
        """The arm that drives each lane: `[E]` int. Of several, one is always the base's, so that its score stays current."""
        others = len(scores) - 1
        if min(map(len, scores)) < FEWEST:
            arm = rng.integers(0, len(scores), num_envs)
        else:  # of equals, as where nobody has succeeded yet, the first other than the base
            means = [_means(rng, num_envs, of_arm) for of_arm in (*scores[1:], scores[0])]
            arm = (np.argmax(means, axis=0) + 1) % len(scores)
        lanes, turn = rng.permutation(num_envs), rng.integers(others)
        least = lanes < rounded(rng, num_envs * self.least_share)
        arm[least] = 1 + (lanes[least] + turn) % others
        if num_envs > 1:
            arm[lanes == num_envs - 1] = 0
        return arm

    def best(self, scores: Scores) -> int:
        """The arm other than the base that did best lately, the first of equals; one of which little is known is none."""
        known = [float(np.mean(of_arm)) if len(of_arm) >= FEWEST else -np.inf for of_arm in scores[1:]]
        return 1 + int(np.argmax(known))

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """The scores with those of other episodes, each with the arm that drove it."""
        return tuple(
            (*old, *(score for score, driver in new if driver == arm))[-self.memory :] for arm, old in enumerate(scores)
        )


def rounded(rng: np.random.Generator, amount: float) -> int:
    """The whole number below or above, by chance, so that the mean is right: a quarter of one lane is one of four times."""
    whole = int(amount)
    return whole + int(rng.random() < amount - whole) if amount > whole else whole


def _means(rng: np.random.Generator, size: int, scores: Sequence[float]) -> np.ndarray:
    """Draws `[size]` from what the mean score may be."""
    return rng.dirichlet(np.ones(len(scores)), size) @ np.asarray(scores)
