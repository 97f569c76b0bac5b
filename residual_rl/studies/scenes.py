"""The verdicts of a study scene by scene, such as race tracks: `scenes.csv`."""

from collections.abc import Mapping
from typing import Any

from residual_rl.studies.trial import Trial
from residual_rl.verdict import Verdict

SCENES: tuple[str, ...] = (
    *("study", "task", "variant", "seed", "steps", "controller", "scene", "episodes", "base", "policy", "fixed", "broken"),
    *("time_unit", "both_solve", "base_time", "policy_time", "saved", "saved_low", "saved_high", "change"),
)
"""A row is a finished run's verdict in one scene: success rates, and the times of the pairs that both solve."""


def scene_rows(trial: Trial, verdict: Verdict) -> list[Mapping[str, Any]]:
    """Return a verdict's rows of `scenes.csv`, without the study's name; none if its task has a single scene."""
    rows = []
    for scene in verdict.scenes:
        row = {
            "task": trial.task,
            "variant": trial.variant,
            "seed": trial.seed,
            "steps": trial.steps,
            "controller": verdict.controller,
            "scene": scene.name,
            "episodes": scene.episodes,
            "base": scene.base_success,
            "policy": scene.policy_success,
            "fixed": scene.fixed,
            "broken": scene.broken,
        }
        if scene.times is not None:
            times = scene.times
            row |= {"time_unit": times.unit, "both_solve": times.pairs, "base_time": times.base, "policy_time": times.policy}
            row |= {"saved": times.saved, "saved_low": times.saved_interval[0], "saved_high": times.saved_interval[1]}
            row |= {"change": times.change}
        rows.append(row)
    return rows
