"""Who drives the next training episodes: the base alone, or base plus residual, by one of several arms.

Early in training, base plus residual may be far worse than the base even if the critics prefer it, and how far critics can
be trusted differs between tasks and over time. So the base and each way of acting (an actor with a caution) are arms of a
bandit. Thompson sampling over the scores of their latest episodes chooses who drives the next ones. An arm that has hardly been
tried drives its least share only. Success during training then stays near that of the best arm, unless all arms succeed so
rarely that few episodes cannot rank them; and the replay keeps successful episodes of the base.

Only episodes without exploration count: they show what an arm is worth if it is delivered. The same scores decide which arm
that is, and whether it is better than the base.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Scores = tuple[tuple[float, ...], ...]
"""Success or return of the latest episodes of each arm, the oldest first. The first arm is the base."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Bandit:
    """Thompson sampling over the mean score of recent episodes, by the Bayesian bootstrap. Source: Rubin 1981.

    Differs: the lowest and the highest of the base's scores count as two more episodes of each arm, so that a few equal
    episodes are not taken for certainty.
    """

    least_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the lanes that the residual's arms drive at least: the most that learning may cost."""
    trial_share: float = Field(default=0.5, ge=0, le=1)
    """The same while there is an arm with fewer than `fewest` episodes."""
    memory: int = Field(default=60, ge=8)
    """Latest episodes of each arm that count. Few, because the residual changes. An arm that seldom drives has older ones."""
    fewest: int = Field(default=4, ge=2)
    """Episodes of an arm before it can drive more than its part of these shares, or be delivered."""
    sure: float = Field(default=1.0, ge=0)
    """Standard errors by which an arm's mean score must exceed the base's before the arm is delivered instead of the base."""

    def drivers(self, rng: np.random.Generator, num_envs: int, scores: Scores) -> np.ndarray:
        """Return the arm of each lane: `[E]` int. Of several lanes the base always drives one, to keep its score current.

        Of the least share, every other lane goes to the arms in turn, and the rest to the best of them.
        """
        others = len(scores) - 1
        if len(scores[0]) < self.fewest:  # there was no burn-in
            return rng.integers(0, len(scores), num_envs)
        # Among equals (no success yet, for example): the first arm other than the base.
        ends = (min(scores[0]), max(scores[0]))
        means = np.stack(
            [
                _means(rng, num_envs, (*of_arm, *ends)) if len(of_arm) >= self.fewest else np.full(num_envs, -np.inf)
                for of_arm in (*scores[1:], scores[0])
            ]
        )
        arm = (np.argmax(means, axis=0) + 1) % len(scores)
        lanes, turn = rng.permutation(num_envs), rng.integers(others)
        share = self.trial_share if min(map(len, scores)) < self.fewest else self.least_share
        least = lanes < randomly_rounded(rng, num_envs * share)
        in_turn = 1 + (lanes // 2 + turn) % others
        best = 1 + np.argmax(means[:-1], axis=0)
        arm[least] = np.where(lanes % 2 == 0, in_turn, best)[least]
        if num_envs > 1:
            arm[lanes == num_envs - 1] = 0
        return arm

    def best(self, scores: Scores) -> int:
        """Return the arm other than the base that exceeds the base most surely, the first of equals."""
        return 1 + int(np.argmax(self._exceeds(scores)))

    def is_better(self, scores: Scores) -> bool:
        """Return whether the best arm has been better than the base in its latest episodes."""
        return max(self._exceeds(scores)) >= self.sure

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """Return the scores extended by new episodes, each given as its score and the arm that drove it."""
        return tuple(
            (*old, *(score for score, driver in new if driver == arm))[-self.memory :] for arm, old in enumerate(scores)
        )

    def _exceeds(self, scores: Scores) -> list[float]:
        """Return by how many standard errors each other arm exceeds the base; -inf while too little is known.

        The variance is that of both together, so that few equal scores are not taken for certainty.
        """
        if not scores or len(scores[0]) < self.fewest:
            return [-np.inf] * max(1, len(scores) - 1)
        return [_standard_errors(of_arm, scores[0]) if len(of_arm) >= self.fewest else -np.inf for of_arm in scores[1:]]


def _standard_errors(scores: Sequence[float], others: Sequence[float]) -> float:
    """Return the difference of two means in standard errors, with a common variance: Student's t."""
    gain = float(np.mean(scores) - np.mean(others))
    squares = np.var(scores) * len(scores) + np.var(others) * len(others)
    error = np.sqrt(squares / (len(scores) + len(others)) * (1.0 / len(scores) + 1.0 / len(others)))
    return gain / error if error > 0.0 else float(np.sign(gain) * np.inf) if gain else 0.0


def randomly_rounded(rng: np.random.Generator, amount: float) -> int:
    """Return the whole number below or above, at random, with the right mean: a quarter of a lane is one lane in four draws."""
    whole = int(amount)
    return whole + int(rng.random() < amount - whole) if amount > whole else whole


def _means(rng: np.random.Generator, size: int, scores: Sequence[float]) -> np.ndarray:
    """Draw `[size]` samples from the posterior of the mean score."""
    return rng.dirichlet(np.ones(len(scores)), size) @ np.asarray(scores)
