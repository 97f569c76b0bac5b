"""Is base plus residual better than the base? Both are run from the same initial states, so episodes come in pairs."""

from dataclasses import field
from typing import Annotated, Any

import numpy as np
import scipy
from pydantic import Field
from pydantic.dataclasses import dataclass

from residual_rl import records
from residual_rl.evaluation import Outcome, bounded
from residual_rl.types import Measure

FEWEST_PAIRS = 6  # so many must differ before a two-sided test at 5 % can be significant: 2 / 2^6 = 0.03


@dataclass(frozen=True)
class Side:
    """How one of the two did."""

    success_rate: Annotated[float, Field(ge=0, le=1)]
    interval: tuple[float, float]
    """95 % Wilson interval of the success rate."""
    mean_return: float
    steps_to_success: float | None
    """Median over the successful episodes; None where there are none."""
    deviation: float
    """Mean |action - base action|."""
    jerk: float
    """Mean |change of the action| between steps."""
    return_interval: tuple[float, float] | None = None
    """95 % interval of the mean return; None in verdicts that were written before it was kept."""


@dataclass(frozen=True)
class Comparison:
    """A policy beside its base, from the same initial states."""

    task: str
    controller: str
    episodes: Annotated[int, Field(ge=1)]
    base: Side
    policy: Side
    fixed: int
    """Episodes that the base fails and the policy solves."""
    broken: int
    """Episodes that the base solves and the policy fails."""
    difference: float
    """Success rate or mean return of the policy, minus that of the base."""
    difference_interval: tuple[float, float]
    """95 % interval of the difference, see `paired_interval` and `compare_returns`."""
    p_value: float
    """Two-sided: how likely so large a difference is if the two were equally good. For success the exact McNemar test."""
    measured_by: Measure = "success"
    """What difference, interval and p-value are about."""

    @property
    def better(self) -> bool:
        """Whether the interval of the difference excludes a loss."""
        return self.difference_interval[0] > 0.0

    @property
    def conclusion(self) -> str:
        """What the comparison shows, in a word or two."""
        if self.better:
            return "better"
        return "worse" if self.difference_interval[1] < 0.0 else "neither better nor worse beyond chance"

    def __str__(self) -> str:
        conclusion = f"{self.conclusion} ({_p_text(self.p_value)})"
        if self.measured_by == "return":
            low, high = map(in_digits, self.difference_interval)
            return (
                f"base {in_digits(self.base.mean_return)} -> {in_digits(self.policy.mean_return)} mean return, "
                f"difference {in_digits(self.difference)} ({low} to {high}); {conclusion}"
            )
        failures = round(self.episodes * (1 - self.base.success_rate))
        return (
            f"base {self.base.success_rate:.3f} -> {self.policy.success_rate:.3f}, "
            f"fixed {self.fixed} of {failures} failures, broke {self.broken}; {conclusion}"
        )

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain JSON values."""
        return records.to_json(self)


@dataclass(frozen=True)
class Verdict(Comparison):
    """The comparison that decides what a run delivers."""

    promoted: bool = field(kw_only=True)
    """Whether the policy is delivered: only if it is `better`. Otherwise the base is."""

    @classmethod
    def on(cls, comparison: Comparison) -> "Verdict":
        """The verdict that follows from a comparison."""
        return cls(**vars(comparison), promoted=comparison.better)

    @property
    def conclusion(self) -> str:
        """What is delivered."""
        return "promoted" if self.promoted else "not promoted, the base is delivered"


def judge(task: str, controller: str, base: Outcome, policy: Outcome, measured_by: Measure = "success") -> Verdict:
    """The verdict on two outcomes on the same seeds, see `compared`."""
    return Verdict.on(compared(task, controller, base, policy, measured_by))


def compared(task: str, controller: str, base: Outcome, policy: Outcome, measured_by: Measure = "success") -> Comparison:
    """Compares two outcomes on the same seeds, episode by episode."""
    base, policy = bounded(base, policy)
    fixed, broken = policy.fixed_and_broken(base)
    episodes = len(base.success)
    if measured_by == "return":
        difference, interval, p_value = compare_returns(policy.returns - base.returns)
    else:
        difference, p_value = (fixed - broken) / episodes, mcnemar(fixed, broken)
        interval = paired_interval(fixed, broken, episodes)
    return Comparison(
        task=task,
        controller=controller,
        episodes=episodes,
        base=side_of(base),
        policy=side_of(policy),
        fixed=fixed,
        broken=broken,
        difference=difference,
        difference_interval=interval,
        p_value=p_value,
        measured_by=measured_by,
    )


def mcnemar(fixed: int, broken: int) -> float:
    """Two-sided p-value of the exact McNemar test. Source: McNemar 1947, with the binomial distribution."""
    return float(scipy.stats.binomtest(fixed, fixed + broken, 0.5).pvalue) if fixed + broken else 1.0


def paired_interval(fixed: int, broken: int, episodes: int) -> tuple[float, float]:
    """95 % interval of the difference of two paired success rates.

    How large the difference is: Wald's interval with one more pair of each kind that differs. Which is better, only the pairs
    that differ say: given their number, how many of them were fixed is binomial, and its exact (Clopper-Pearson) interval is
    that of a difference too. Alone it would be far too narrow, because their number is chance as well. Each end is the outer
    one of the two, so the interval excludes zero exactly where the one-sided binomial evidence reaches 97.5 %.

    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data".
    """
    gains, losses = (fixed + 1) / (episodes + 2), (broken + 1) / (episodes + 2)
    half = scipy.special.ndtri(0.975) * np.sqrt((gains + losses - (gains - losses) ** 2) / (episodes + 2))
    low, high = gains - losses - half, gains - losses + half
    differing = fixed + broken
    if differing:
        share = scipy.stats.binomtest(fixed, differing).proportion_ci(0.95, method="exact")
        low = min(low, (2 * share.low - 1) * differing / episodes)
        high = max(high, (2 * share.high - 1) * differing / episodes)
    return max(-1.0, float(low)), min(1.0, float(high))


def compare_returns(differences: np.ndarray) -> tuple[float, tuple[float, float], float]:
    """Mean of the paired differences `[N]`, its 95 % interval, and the two-sided p-value of no difference.

    Student's paired t, corrected for skewness: `skewed_t`. As in McNemar's test, only pairs that differ say which is better:
    with `k` of them no p-value is below `2 / 2^k`, and with fewer than `FEWEST_PAIRS` the interval is the range of all
    differences and zero.
    """
    differing = int(np.count_nonzero(differences))
    interval, p_value = skewed_t(differences)
    if differing < FEWEST_PAIRS:
        interval = min(float(differences.min()), 0.0), max(float(differences.max()), 0.0)
    return float(differences.mean()), interval, max(p_value, min(1.0, 2.0 ** (1 - differing)))


def skewed_t(values: np.ndarray) -> tuple[tuple[float, float], float]:
    """95 % interval of the mean of `values` `[N]`, and the two-sided p-value of a mean of zero.

    Where most values are small gains and few are great losses, a sample often has too few of the losses, and Student's t then
    finds a gain far too often. Hall's transformation corrects that; here each end of the interval is corrected only outwards.

    Source: Hall 1992, "On the removal of skewness by transformation".
    Differs: the quantile is Student's t, not the normal one: without skewness this is Student's interval. And each end is only
    moved outwards, as said.
    """
    size, mean = len(values), float(values.mean())
    deviation = float(values.std(ddof=1)) if size > 1 else 0.0
    if not deviation:
        return (mean, mean), 0.0 if mean else 1.0
    skewness = float((((values - mean) / values.std()) ** 3).mean())
    left, right, root = min(skewness, 0.0), max(skewness, 0.0), float(np.sqrt(size))
    quantile = float(scipy.special.stdtrit(size - 1, 0.975)) / root
    low = mean - deviation * _skewed(quantile, left, size)
    high = mean - deviation * _skewed(-quantile, right, size)
    ratio = mean / deviation
    # Beyond a ratio of 9 / skewness the transformation points inwards; there, far from 0.05, the p-value is t's.
    above = scipy.special.stdtr(size - 1, -root * min(ratio, _unskewed(ratio, left, size)))
    below = scipy.special.stdtr(size - 1, root * max(ratio, _unskewed(ratio, right, size)))
    return (low, high), min(1.0, 2.0 * float(min(above, below)))


def _unskewed(ratio: float, skewness: float, size: int) -> float:
    """What the ratio of a mean's error to the standard deviation would be without skewness. Source: Hall 1992."""
    return ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27 + skewness / (6 * size)


def _skewed(ratio: float, skewness: float, size: int) -> float:
    """The inverse of `_unskewed`, written so that nothing cancels where the skewness is small."""
    shifted = ratio - skewness / (6 * size)
    root = float(np.cbrt(1 + skewness * shifted))
    return 3 * shifted / (root**2 + root + 1)


def side_of(outcome: Outcome) -> Side:
    """An outcome in a few numbers."""
    reached = outcome.steps_to_success[outcome.success]
    return Side(
        success_rate=outcome.success_rate,
        interval=outcome.interval,
        mean_return=outcome.mean_return,
        steps_to_success=float(np.median(reached)) if len(reached) else None,
        deviation=float(outcome.deviation.mean()),
        jerk=float(outcome.jerk.mean()),
        return_interval=outcome.return_interval,
    )


def in_digits(value: float) -> str:
    """A return in four significant digits: nobody but its task knows how large it is."""
    return np.format_float_positional(value, precision=4, fractional=False, trim="-")


def _p_text(p_value: float) -> str:
    if p_value >= 0.001:
        return f"p = {p_value:.3f}"
    return f"p < 1e{int(np.ceil(np.log10(max(p_value, 1e-99))))}"
