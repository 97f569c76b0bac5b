"""Is base plus residual better than the base? Both are run from the same initial states, so episodes come in pairs."""

from typing import Any

import numpy as np
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from scipy.stats import binomtest

from residual_rl.evaluation import Outcome


@dataclass(frozen=True)
class Side:
    """How one of the two did."""

    success_rate: float
    interval: tuple[float, float]
    """95 % Wilson interval of the success rate."""
    mean_return: float
    steps_to_success: float | None
    """Median over the successful episodes; None where there are none."""
    deviation: float
    """Mean |action - base action|."""
    jerk: float
    """Mean |change of the action| between steps."""


@dataclass(frozen=True)
class Verdict:
    """The paired comparison and the decision."""

    task: str
    controller: str
    episodes: int
    base: Side
    policy: Side
    fixed: int
    """Episodes that the base fails and the policy solves."""
    broken: int
    """Episodes that the base solves and the policy fails."""
    difference: float
    """Success rate of the policy minus that of the base."""
    difference_interval: tuple[float, float]
    """95 % interval of the difference, see `paired_interval`."""
    p_value: float
    """Exact McNemar test, two-sided: how likely so uneven a split of fixed and broken is if the two were equally good."""
    promoted: bool
    """Whether the policy is delivered: only if the interval of the difference excludes a loss. Otherwise the base is."""

    def __str__(self) -> str:
        failures = round(self.episodes * (1 - self.base.success_rate))
        decision = "promoted" if self.promoted else "not promoted, the base is delivered"
        return (
            f"base {self.base.success_rate:.3f} -> {self.policy.success_rate:.3f}, "
            f"fixed {self.fixed} of {failures} failures, broke {self.broken}; {decision} ({_p_text(self.p_value)})"
        )

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON values."""
        return TypeAdapter(Verdict).dump_python(self, mode="json")


def judge(task: str, controller: str, base: Outcome, policy: Outcome) -> Verdict:
    """Compares two outcomes on the same seeds, episode by episode."""
    fixed = int((~base.success & policy.success).sum())
    broken = int((base.success & ~policy.success).sum())
    episodes = len(base.success)
    interval = paired_interval(fixed, broken, episodes)
    return Verdict(
        task=task,
        controller=controller,
        episodes=episodes,
        base=side_of(base),
        policy=side_of(policy),
        fixed=fixed,
        broken=broken,
        difference=(fixed - broken) / episodes,
        difference_interval=interval,
        p_value=mcnemar(fixed, broken),
        promoted=interval[0] > 0.0,
    )


def mcnemar(fixed: int, broken: int) -> float:
    """Two-sided p-value of the exact McNemar test. Source: McNemar 1947, with the binomial distribution."""
    return float(binomtest(fixed, fixed + broken, 0.5).pvalue) if fixed + broken else 1.0


def paired_interval(fixed: int, broken: int, episodes: int) -> tuple[float, float]:
    """95 % interval of the difference of two paired success rates.

    Only the pairs that differ say anything about which is better. Given their number, how many of them were fixed is binomial,
    and its exact (Clopper-Pearson) interval is carried over to the difference. So the interval excludes zero exactly
    where that one-sided binomial evidence reaches 97.5 %.
    """
    differing = fixed + broken
    if differing == 0:
        return 0.0, 0.0
    share = binomtest(fixed, differing).proportion_ci(0.95, method="exact")
    low, high = (2 * np.array([share.low, share.high]) - 1) * differing / episodes
    return float(low), float(high)


def side_of(outcome: Outcome) -> Side:
    """An outcome in a few numbers."""
    reached = outcome.steps_to_success[outcome.success]
    return Side(
        success_rate=outcome.success_rate,
        interval=outcome.interval,
        mean_return=float(outcome.returns.mean()),
        steps_to_success=float(np.median(reached)) if len(reached) else None,
        deviation=float(outcome.deviation.mean()),
        jerk=float(outcome.jerk.mean()),
    )


def _p_text(p_value: float) -> str:
    if p_value >= 0.001:
        return f"p = {p_value:.3f}"
    return f"p < 1e{int(np.ceil(np.log10(max(p_value, 1e-99))))}"
