"""Compare how long base and policy take to succeed, from the same initial states.

A failed episode takes for ever: it is never a fast one. So two questions are asked, and each with its own test:

- **Who is ahead?** In a pair, the one that succeeds is ahead of the one that fails, and of two that succeed the faster one.
  That is decided in every pair, and the exact test of McNemar is applied to the pairs in which one is ahead.
- **By how much?** The mean difference over the pairs in which both succeed, with the interval and the test of returns.
"""

from typing import NamedTuple

import numpy as np
from pydantic.dataclasses import dataclass

from residual_rl.evaluation import Outcome
from residual_rl.statistics import ALPHA, compare_returns, mcnemar, welch
from residual_rl.types import Timing


@dataclass(frozen=True)
class Times:
    """How long the episodes take that base and policy both solve."""

    unit: str
    pairs: int
    """Of episodes that both solve."""
    base: float
    """Mean over these episodes."""
    policy: float
    saved: float
    """Mean time that the policy saves; below 0 if it is slower."""
    saved_interval: tuple[float, float]
    """95 % interval of it."""
    p_value: float
    """Two-sided probability of so large a difference if the two were equally fast."""
    ahead: int
    """Of all pairs, those in which the policy succeeds and the base fails, or both succeed and the policy is faster."""
    behind: int
    """The same with the two exchanged."""

    @property
    def change(self) -> float:
        """How much longer the policy takes, as a share of the base's time: negative if it is faster."""
        return -self.saved / self.base if self.base else 0.0

    def __str__(self) -> str:
        return f"{self.base:.4g} -> {self.policy:.4g} {self.unit} ({self.change:+.1%})"


@dataclass(frozen=True)
class SceneResult:
    """What base and policy did in one of a task's scenes, such as a race track."""

    name: str
    episodes: int
    """Pairs."""
    base_success: float
    policy_success: float
    fixed: int
    """Episodes that the base fails and the policy solves."""
    broken: int
    """Episodes that the base solves and the policy fails."""
    times: Times | None
    """None if there is no pair that both solve."""


class Decision(NamedTuple):
    """What the times decide."""

    difference: float
    """Time saved."""
    interval: tuple[float, float]
    p_value: float


def times_of(base: Outcome, policy: Outcome, unit: str, paired: bool = True, alpha: float = ALPHA) -> Times | None:
    """Return the comparison of the times; None if there is no pair in which both succeed.

    Args:
        base: of the base.
        policy: of the policy, episode by episode from the same initial states.
        unit: of the times.
        paired: whether episodes from the same initial state are compared with each other.
        alpha: two-sided error of the interval.
    """
    both = base.success & policy.success
    if not both.any():
        return None
    of_base, of_policy = base.time[both], policy.time[both]
    if paired:
        saved, interval, p_value = compare_returns(of_base - of_policy, alpha)
    else:
        saved, interval, p_value = welch(-of_base, -of_policy, alpha)
    fixed, broken = policy.fixed_and_broken(base)
    return Times(
        unit=unit,
        pairs=int(both.sum()),
        base=float(of_base.mean()),
        policy=float(of_policy.mean()),
        saved=saved,
        saved_interval=interval,
        p_value=p_value,
        ahead=fixed + int((of_policy < of_base).sum()),
        behind=broken + int((of_policy > of_base).sum()),
    )


def decide(times: Times | None, alpha: float = ALPHA) -> Decision:
    """Return what the times decide: the interval excludes zero only if both tests find the same side better."""
    if times is None:
        return Decision(0.0, (0.0, 0.0), 1.0)
    low, high = times.saved_interval
    exact = mcnemar(times.ahead, times.behind)
    if exact >= alpha or times.ahead <= times.behind:
        low = min(low, 0.0)
    if exact >= alpha or times.ahead >= times.behind:
        high = max(high, 0.0)
    contradict = (times.saved > 0.0) != (times.ahead > times.behind)
    return Decision(times.saved, (low, high), 1.0 if contradict else max(times.p_value, exact))


def by_scene(base: Outcome, policy: Outcome, timing: Timing, paired: bool = True) -> tuple[SceneResult, ...]:
    """Return what was measured in each scene of a task; empty if it has only one."""
    found = []
    for number in np.unique(base.scene[base.scene >= 0]).tolist() if timing.scene else []:
        there = (base.scene == number) | (policy.scene == number)
        ours, theirs = (Outcome(*(values[there] for values in outcome)) for outcome in (policy, base))
        fixed, broken = ours.fixed_and_broken(theirs)
        found.append(
            SceneResult(
                name=timing.scenes[number] if number < len(timing.scenes) else str(number),
                episodes=len(ours.success),
                base_success=theirs.success_rate,
                policy_success=ours.success_rate,
                fixed=fixed,
                broken=broken,
                times=times_of(theirs, ours, timing.unit, paired),
            )
        )
    return tuple(found)
