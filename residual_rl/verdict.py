"""Compare base plus residual with the base. Both run from the same initial states, so episodes are paired."""

import math
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from residual_rl import storage
from residual_rl.evaluation import Outcome, bounded
from residual_rl.statistics import ALPHA, compare_returns, mcnemar, newcombe, paired_interval, welch
from residual_rl.times import SceneResult, Times, by_scene, decide, times_of
from residual_rl.types import STEPS, Measure, Timing

MOST_DIGITS = 15  # of a float64
Pairing = Literal["paired", "unpaired"]
"""Whether episodes from the same initial state are compared with each other, or the two samples as independent ones."""


@dataclass(frozen=True)
class Side:
    """The result of base or policy."""

    success_rate: Annotated[float, Field(ge=0, le=1)]
    interval: tuple[float, float]
    """95 % Wilson interval of the success rate."""
    mean_return: float
    steps_to_success: float | None
    """Median over the successful episodes; None if there are none."""
    deviation: float
    """Mean |action - base action|."""
    jerk: float
    """Mean |change of the action| between steps."""
    return_interval: tuple[float, float] | None = None
    """95 % interval of the mean return; None in verdicts that were written before it was kept."""
    mean_time: float | None = None
    """Mean time until success, in which a failure counts ten times the longest episode: for selection only, see `Times`."""


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
    """Success rate or mean return of the policy, minus that of the base; or the time that it saves, see `Times`."""
    difference_interval: tuple[float, float]
    """96 % interval of the difference: `paired_interval` or `compare_returns`; unpaired `newcombe` or `welch`; of times
    `times.decide`. If the policy did in every step what the base did, it is widened to hold zero."""
    p_value: float
    """Two-sided probability of so large a difference if the two were equally good. For success the exact McNemar test."""
    measured_by: Measure = "success"
    """The measure of difference, interval and p-value."""
    pairing: Pairing = "paired"
    """Unpaired if the world was found not to repeat itself, see `Repeatability`."""
    copies: int = 0
    """Further pairs that were copies of the counted ones in every observation and reward. They do not count."""
    planned: int | None = None
    """Pairs that a sequential comparison would have played at most; None if their number was fixed."""
    style_distance: float | None = None
    """Distance between the movements of base and policy, see `pairing.style`; None if it was not measured."""
    times: Times | None = None
    """How long the episodes take that both solve; None if there are none."""
    scenes: tuple[SceneResult, ...] = ()
    """The same for each scene of a task that has several, such as race tracks."""
    success_interval: tuple[float, float] | None = None
    """95 % interval of the difference of success rates, if the measure is the time."""

    @property
    def deviates(self) -> bool:
        """Whether the policy's action ever differed from the base's."""
        return self.policy.deviation > 0.0

    @property
    def better(self) -> bool:
        """Whether the interval of the difference excludes a loss; never if the policy does what the base does.

        If the measure is the time, also only if the policy succeeds at least as often as the base.
        """
        fails_more = self.measured_by == "time" and self.broken > self.fixed
        return self.difference_interval[0] > 0.0 and self.deviates and not fails_more

    @property
    def worse(self) -> bool:
        """Whether the interval of the difference excludes a gain; never if the policy does what the base does.

        If the measure is the time, also if the policy succeeds significantly less often.
        """
        fails_more = self.success_interval is not None and self.success_interval[1] < 0.0
        return (self.difference_interval[1] < 0.0 or fails_more) and self.deviates

    def beside(self, side: Side) -> float:
        """Return the mean return of the other side."""
        return (self.policy if side is self.base else self.base).mean_return

    @property
    def conclusion(self) -> str:
        """What the comparison shows, in a word or two."""
        if self.better:
            return "better"
        return "worse" if self.worse else "neither better nor worse beyond chance"

    @property
    def remarks(self) -> list[str]:
        """Remarks that are needed to read the numbers."""
        remarks = []
        if not self.deviates and self.difference:
            remarks.append(
                "the policy did in every step what the base did, so this difference is the noise of the world itself"
            )
        if self.copies:
            alike = "all episodes are the same one" if self.episodes == 1 else f"only {self.episodes} episodes are distinct"
            remarks.append(f"{alike}, {self.copies} are copies and count for nothing: the starts must be drawn by the seed")
        if self.pairing == "unpaired":
            remarks.append("compared unpaired, since the world does not repeat itself")
        if self.times is not None and self.measured_by != "time" and self.times.saved:
            remarks.append(f"the {self.times.pairs} episodes that both solve take {self.times}")
        if self.planned is not None and self.episodes + self.copies < self.planned:
            remarks.append(f"stopped after {self.episodes + self.copies} of {self.planned} pairs")
        return remarks

    def __str__(self) -> str:
        conclusion = "; ".join([f"{self.conclusion} ({_p_text(self.p_value)})", *self.remarks])
        if self.measured_by == "return":
            low, high = in_digits_apart(self.difference_interval)
            base, policy = in_digits_apart((self.base.mean_return, self.policy.mean_return))
            return (
                f"base {base} -> {policy} mean return, difference {in_digits(self.difference)} ({low} to {high}); {conclusion}"
            )
        if self.measured_by == "time":
            return f"{self._times_in_words()}; {conclusion}"
        failures = round(self.episodes * (1 - self.base.success_rate))
        return (
            f"base {self.base.success_rate:.3f} -> {self.policy.success_rate:.3f}, "
            f"fixed {self.fixed} of {failures} failures, broke {self.broken}; {conclusion}"
        )

    def _times_in_words(self) -> str:
        successes = f"success {self.base.success_rate:.3f} -> {self.policy.success_rate:.3f}, broke {self.broken}"
        if self.times is None:
            return f"no episode that both solve; {successes}"
        low, high = map(in_digits, self.difference_interval)
        return (
            f"base {self.times} over {self.times.pairs} episodes that both solve, saved {in_digits(self.difference)} ({low} to "
            f"{high}); ahead in {self.times.ahead} of {self.episodes}, behind in {self.times.behind}; {successes}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as plain JSON values."""
        return storage.to_json(self)


@dataclass(frozen=True)
class Verdict(Comparison):
    """The comparison that decides whether `load` returns the policy or the base."""

    promoted: bool = field(kw_only=True)
    """Whether `load` returns the policy: only if it is `better`. Otherwise it returns the base."""

    @classmethod
    def on(cls, comparison: Comparison) -> "Verdict":
        """Return the verdict that follows from a comparison."""
        return cls(**vars(comparison), promoted=comparison.better)

    @property
    def conclusion(self) -> str:
        """Whether the policy is promoted, in words."""
        return "promoted" if self.promoted else "not promoted, the base is delivered"


def judge(task: str, controller: str, base: Outcome, policy: Outcome, measured_by: Measure = "success", **how: Any) -> Verdict:
    """Return the verdict on two outcomes on the same seeds, see `compared`."""
    return Verdict.on(compared(task, controller, base, policy, measured_by, **how))


def compared(
    task: str,
    controller: str,
    base: Outcome,
    policy: Outcome,
    measured_by: Measure = "success",
    *,
    pairing: Pairing = "paired",
    distinct: np.ndarray | None = None,
    style_distance: float | None = None,
    alpha: float = ALPHA,
    planned: int | None = None,
    timing: Timing = STEPS,
) -> Comparison:
    """Compare two outcomes on the same seeds.

    Args:
        task: its name.
        controller: the base's name.
        base: of the base.
        policy: of the policy, episode by episode from the same initial states.
        measured_by: the measure of the difference.
        pairing: "unpaired" if equal starts and equal actions do not give equal episodes.
        distinct: the numbers of the pairs that are no copies of others `[M]`; None if all are.
        style_distance: a field of the result.
        alpha: error that may be spent. The p-value is rescaled to `ALPHA`: it is below that if and only if the interval at
            `1 - alpha` excludes zero.
        planned: a field of the result.
        timing: how the task measures times, and its scenes.
    """
    total = len(base.success)
    if distinct is not None:
        base, policy = (Outcome(*(values[distinct] for values in outcome)) for outcome in (base, policy))
    base, policy = bounded(base, policy)
    fixed, broken = policy.fixed_and_broken(base)
    episodes = len(base.success)
    times, success_interval = times_of(base, policy, timing.unit, pairing == "paired", alpha), None
    if measured_by == "time":
        difference, interval, p_value = decide(times, alpha)
        success_interval = _of_success(base, policy, pairing, alpha)
    elif measured_by == "return" and pairing == "unpaired":
        difference, interval, p_value = welch(base.returns, policy.returns, alpha)
    elif measured_by == "return":
        difference, interval, p_value = compare_returns(policy.returns - base.returns, alpha)
    elif pairing == "unpaired":
        difference = (fixed - broken) / episodes
        interval, p_value = newcombe(int(base.success.sum()), int(policy.success.sum()), episodes, alpha)
    else:
        difference, p_value = (fixed - broken) / episodes, mcnemar(fixed, broken)
        interval = paired_interval(fixed, broken, episodes, alpha)
    p_value = min(1.0, p_value * (ALPHA / alpha))
    if not policy.deviation.any():
        interval, p_value = (min(interval[0], 0.0), max(interval[1], 0.0)), 1.0
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
        pairing=pairing,
        copies=total - episodes,
        planned=planned,
        style_distance=style_distance,
        times=times,
        scenes=by_scene(base, policy, timing, pairing == "paired"),
        success_interval=success_interval,
    )


def _of_success(base: Outcome, policy: Outcome, pairing: Pairing, alpha: float) -> tuple[float, float]:
    episodes = len(base.success)
    if pairing == "unpaired":
        return newcombe(int(base.success.sum()), int(policy.success.sum()), episodes, alpha)[0]
    return paired_interval(*policy.fixed_and_broken(base), episodes, alpha)


def side_of(outcome: Outcome) -> Side:
    """Return the summary of an outcome."""
    reached = outcome.steps_to_success[outcome.success]
    return Side(
        success_rate=outcome.success_rate,
        interval=outcome.interval,
        mean_return=outcome.mean_return,
        steps_to_success=float(np.median(reached)) if len(reached) else None,
        deviation=float(outcome.deviation.mean()),
        jerk=float(outcome.jerk.mean()),
        return_interval=outcome.return_interval,
        mean_time=outcome.mean_time,
    )


def in_digits(value: float, beside: float | None = None) -> str:
    """Format a return with four significant digits, since returns can have any magnitude.

    With more if it stands `beside` another one, until two digits of their difference can be seen.
    """
    digits = 4
    if beside is not None and value != beside and np.isfinite([value, beside]).all():
        ratio = max(abs(value), abs(beside)) / abs(value - beside)
        digits = min(MOST_DIGITS, max(digits, math.ceil(math.log10(ratio)) + 2))
    return np.format_float_positional(value, precision=digits, fractional=False, trim="-")


def in_digits_apart(values: Iterable[float]) -> list[str]:
    """Format two returns, such as those of base and policy or the ends of an interval, so that their difference can be seen."""
    one, other = values
    return [in_digits(one, other), in_digits(other, one)]


def _p_text(p_value: float) -> str:
    if p_value >= 0.001:
        return f"p = {p_value:.3f}"
    return f"p < 1e{int(np.ceil(np.log10(max(p_value, 1e-99))))}"
