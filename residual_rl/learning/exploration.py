"""Roles of the parallel environments in a training cycle: which arm drives each lane, and which lanes explore."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.learning.bandit import Bandit, Scores, randomly_rounded
from residual_rl.types import Array


class Roles(NamedTuple):
    """The role of each lane."""

    explore: Array
    """[E] bool, whether noise is added to its actions."""
    arm: Array
    """[E] int, the arm that drives it: 0 the base; 1 and more, ways in which base plus residual acts."""


def greedy(rows: int) -> Roles:
    """Return the roles of rows without exploration, as in evaluation."""
    return Roles(explore=np.zeros(rows, dtype=bool), arm=np.ones(rows, dtype=np.int32))


class Exploration(Protocol):
    """The rule that assigns roles to a cycle's lanes, on the CPU, once a cycle."""

    def roles(self, rng: np.random.Generator, num_envs: int, burn_in: bool, scores: Scores) -> Roles:
        """Return the role of each lane in the next cycle, which may depend on the scores of the latest episodes."""
        ...

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """Return the scores extended by new episodes without exploration, each with its arm; `()` before the first."""
        ...

    def best(self, scores: Scores) -> int:
        """Return the arm, 1 or more, that is used in evaluation and in the final policy."""
        ...

    def is_better(self, scores: Scores) -> bool:
        """Return whether that arm is delivered. If it is not, the base is the policy for now."""
        ...


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EveryLane:
    """The residual drives all lanes, and all explore; while the actor is frozen, a coin decides between all and none."""

    while_frozen: float = Field(default=0.5, ge=0, le=1)
    """Probability that the lanes explore while the actor is frozen."""

    def roles(self, rng: np.random.Generator, num_envs: int, burn_in: bool, scores: Scores) -> Roles:
        """Return the role of each lane in the next cycle."""
        explore = not burn_in or rng.random() < self.while_frozen
        return Roles(explore=np.full(num_envs, explore), arm=np.ones(num_envs, dtype=np.int32))

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """Return the scores unchanged: nothing depends on them."""
        return scores

    def best(self, scores: Scores) -> int:
        """Return the only arm."""
        return 1

    def is_better(self, scores: Scores) -> bool:
        """Return True: nothing is known of the base, since it never drives."""
        return True


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class BanditLanes:
    """A bandit decides who drives, once the actor learns. Of the lanes that base plus residual drives, some explore."""

    bandit: Bandit
    arms: int
    """It chooses the arm that drives each lane."""
    exploring_ratio: float
    """Share of the lanes that explores: of those that base plus residual drives, and at most half of them."""

    def roles(self, rng: np.random.Generator, num_envs: int, burn_in: bool, scores: Scores) -> Roles:
        """Return the role of each lane in the next cycle."""
        arm = np.ones(num_envs, dtype=np.int32) if burn_in else self.bandit.drivers(rng, num_envs, scores).astype(np.int32)
        driven = rng.permutation(np.flatnonzero(arm))
        explore = np.zeros(num_envs, dtype=bool)
        explore[driven[: randomly_rounded(rng, min(num_envs * self.exploring_ratio, len(driven) / 2))]] = True
        return Roles(explore, arm)

    def after(self, scores: Scores, new: Sequence[tuple[float, int]]) -> Scores:
        """Return the bandit's scores after new episodes."""
        return self.bandit.after(scores or ((),) * (1 + self.arms), new)

    def best(self, scores: Scores) -> int:
        """Return the arm that exceeds the base most surely."""
        return self.bandit.best(scores)

    def is_better(self, scores: Scores) -> bool:
        """Return whether its latest episodes show that it exceeds the base."""
        return self.bandit.is_better(scores)
