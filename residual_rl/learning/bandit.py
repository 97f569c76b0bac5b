"""Who drives the next training episodes: the base alone, or base plus residual.

A residual that has just begun to act may be far worse than its base, whatever its critics say. So the two are arms of a bandit:
what the latest episodes of each were worth decides, by Thompson sampling, who drives the next ones. Success while learning
then stays near that of the better one, and a replay that would else fill with failures keeps episodes of a base that succeeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

FEWEST = 8  # episodes of each, before which neither is preferred


class Scores(NamedTuple):
    """What the latest episodes were worth, success or return, by who drove them: the oldest first."""

    base: tuple[float, ...] = ()
    residual: tuple[float, ...] = ()


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Bandit:
    """Thompson sampling over the mean score of recent episodes, by the Bayesian bootstrap. Source: Rubin 1981."""

    least_share: float = Field(default=0.25, ge=0, le=1)
    """Share of the lanes that base plus residual drives however badly it does: what learning may cost at most."""
    memory: int = Field(default=60, ge=FEWEST)
    """Episodes of each that count. Few: the residual changes."""

    def drivers(self, rng: np.random.Generator, num_envs: int, scores: Scores) -> np.ndarray:
        """Which lanes base plus residual drives: `[E]` bool. One of several is always left to the base, to know how it does."""
        if min(map(len, scores)) < FEWEST:
            driven = rng.random(num_envs) < 0.5
        else:
            driven = _means(rng, num_envs, scores.residual) >= _means(rng, num_envs, scores.base)
        lanes = rng.permutation(num_envs)
        driven[lanes < rounded(rng, num_envs * self.least_share)] = True
        driven[lanes == num_envs - 1] &= num_envs == 1
        return driven

    def after(self, scores: Scores, new: Sequence[tuple[float, bool]]) -> Scores:
        """The scores with those of other episodes, each with whether base plus residual drove it."""

        def latest(old: Sequence[float], driven: bool) -> tuple[float, ...]:
            return (*old, *(score for score, by_residual in new if by_residual == driven))[-self.memory :]

        return Scores(latest(scores.base, False), latest(scores.residual, True))


def rounded(rng: np.random.Generator, amount: float) -> int:
    """The whole number below or above, by chance, so that the mean is right: a quarter of one lane is one of four times."""
    whole = int(amount)
    return whole + int(rng.random() < amount - whole) if amount > whole else whole


def _means(rng: np.random.Generator, size: int, scores: Sequence[float]) -> np.ndarray:
    """Draws `[size]` from what the mean score may be."""
    return rng.dirichlet(np.ones(len(scores)), size) @ np.asarray(scores)
