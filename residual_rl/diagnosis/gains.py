"""Compare the policy and the training episodes with the base, to find what was gained and what could be."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from residual_rl.config import Config
from residual_rl.diagnosis.diagnosis import Diagnosis, Finding, finding, to_type, unknown
from residual_rl.verdict import Verdict, in_digits

Rows = Sequence[Mapping[str, float]]

LITTLE_TO_GAIN = 0.98  # success rate of a base above which a gain cannot be distinguished from chance
COLUMN = {"success": ("success_rate", 1), "return": ("mean_return", 1), "time": ("mean_time", -1)}
"""The column of each measure in `evaluations.csv`, and -1 if less is better."""
FEW = 5  # failures of the base, none of which exploration may solve by chance
SCALE = "algorithm.composition.scale"


class SameStarts(NamedTuple):
    """Training episodes in which a residual acted, and the base alone from the same initial states: `[N]` each."""

    explored: np.ndarray
    """Success or return, as the task is measured."""
    base: np.ndarray


def gain(config: Config, evaluations: Rows) -> Finding:
    """Return whether any evaluated policy did better than the base."""
    if not evaluations:
        return unknown("gain", "No policy has been evaluated yet.")
    column, sign = COLUMN[config.measured_by]
    base, best = evaluations[-1][f"base_{column}"], sign * max(sign * row[column] for row in evaluations)
    measured = f"evaluations: base {_shown(config, base)}, best policy {_shown(config, best)}"
    return finding(
        "gain",
        sign * best <= sign * base,
        measured,
        "A policy did better than the base.",
        _advice(config),
        base=base,
        best=best,
    )


def with_verdict(diagnosis: Diagnosis, config: Config, verdict: Verdict) -> Diagnosis:
    """Return the diagnosis of a finished run: the verdict decides whether anything was gained."""
    attribute = COLUMN[config.measured_by][0]
    base, policy = (float(getattr(side, attribute) or 0.0) for side in (verdict.base, verdict.policy))
    sound = "The policy is better than the base."
    decided = finding("gain", not verdict.promoted, f"verdict: {verdict}", sound, _advice(config), base=base, best=policy)
    return replace(diagnosis, findings=tuple(decided if one.name == "gain" else one for one in diagnosis.findings))


def headroom(config: Config, evaluations: Rows, best_cycle: float, starts: SameStarts | None) -> Finding:
    """Return whether there is anything to gain, and whether exploration finds it from the base's initial states."""
    if not evaluations:
        return unknown("headroom", "The base has not been evaluated yet.")
    if config.measured_by != "success":
        return _headroom_of_returns(config, evaluations[-1]["base_mean_return"], starts)
    base = evaluations[-1]["base_success_rate"]
    numbers = {"base": base, "best_cycle": best_cycle}
    measured = f"the base succeeds in {base:.1%}, the best training cycle in {best_cycle:.1%}"
    failed = solved = 0
    if starts is not None:
        failed, solved = int((starts.base < 1).sum()), int(((starts.base < 1) & (starts.explored > 0)).sum())
        numbers |= {"starts": len(starts.base), "failures": failed, "solved": solved}
        measured += f"; of {failed} starts in which the base fails, exploration solves {solved}"
    if base >= LITTLE_TO_GAIN:
        warning = (
            "The base leaves almost nothing to gain, so nothing can be promoted over it. Try a harder variant of the task."
        )
    elif base == 0.0 and best_cycle == 0.0:
        warning = "Neither the base nor exploration ever succeeds: use a better base, easier goals or a shaped reward."
    else:
        warning = f"Exploration solves none of the base's failures: give the residual a larger scale, {_larger(config)}."
    nothing = base == 0.0 and best_cycle == 0.0
    fruitless = failed >= FEW and solved == 0 and best_cycle <= base
    sound = "There is something to gain, and training episodes reach it."
    return finding("headroom", base >= LITTLE_TO_GAIN or nothing or fruitless, measured, sound, warning, **numbers)


def _headroom_of_returns(config: Config, base: float, starts: SameStarts | None) -> Finding:
    if starts is None:
        why = "The latest training episodes cannot be compared with the base: no residual acted, or a start cannot be repeated."
        return unknown("headroom", why)
    smaller, larger = (to_type(SCALE, scaled(config, factor)) for factor in (0.5, 2.0))
    more = starts.explored - starts.base
    better, most = int((more > 0).sum()), float(more.max())
    return finding(
        "headroom",
        better == 0,
        f"from the same starts, {better} of {len(more)} training episodes earn more than the base, at most by {most:+.4g}",
        "Exploration finds episodes that earn more than the base does from the same start.",
        "No recent training episode earned more than the base does from the same start. Use a smaller residual, so that "
        f"episodes stay near the base's, {smaller}, or a larger one if the base is far from what is possible, {larger}.",
        base=base,
        starts=len(more),
        better=better,
        most=most,
    )


def _advice(config: Config) -> str:
    return (
        "Nothing was gained. Start with the other warnings. If there are none, train longer "
        f"(`--steps {2 * config.steps}`), or give the residual more room, {_larger(config)}."
    )


def _larger(config: Config) -> str:
    return to_type(SCALE, scaled(config, 2.0))


def scaled(config: Config, factor: float) -> object:
    """Return the scale of a configuration times a factor: a number, or one for each entry of the action."""
    return np.multiply(config.algorithm.composition.scale, factor).tolist()


def _shown(config: Config, value: float) -> str:
    return f"{value:.3f}" if config.measured_by == "success" else in_digits(value)
