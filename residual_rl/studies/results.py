"""Collect all evaluations of a study in a long table, `results.csv`, and its verdicts in `verdicts.csv`."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from residual_rl.errors import RunError
from residual_rl.reports.acting import acting_average
from residual_rl.runs.files import CONFIG, EVALUATIONS, EVALUATIONS_CSV, METRICS_CSV, VERDICT
from residual_rl.runs.reading import read_config, read_rows, read_verdict
from residual_rl.storage import rounded, write_whole
from residual_rl.studies.scenes import SCENES, scene_rows
from residual_rl.studies.trial import INITIAL, Study, Trial
from residual_rl.studies.trial_directory import TrialState, read_confirmation, read_provenance, read_trial, state_of
from residual_rl.studies.worlds import WORLDS
from residual_rl.tasks import find_task
from residual_rl.types import Measure

RESULTS_CSV, VERDICTS_CSV, SCENES_CSV = "results.csv", "verdicts.csv", "scenes.csv"
"""The names of the tables of a study."""
RESULT_COLUMNS: tuple[str, ...] = (
    *("study", "task", "method", "preset", "variant", "controller", "fields", "seed", "steps"),
    *("measured_by", *EVALUATIONS),
    "lowest_acting_success_rate",
    *("paper", "state", "versions"),
)
"""A row is an evaluation. `step` counts every environment step of training before it, `steps` is the budget; see `Row`."""
VERDICTS: tuple[str, ...] = (
    *("study", "task", "variant", "seed", "steps", "episodes", "base", "policy", "policy_low", "policy_high"),
    *("fixed", "broken", "p_value", "promoted"),
    *("controller", "measured_by", "base_low", "base_high"),
    *("base_return", "base_return_low", "base_return_high", "policy_return", "policy_return_low", "policy_return_high"),
    *("difference", "difference_low", "difference_high", "again", "again_low", "again_high"),
    *("time_unit", "both_solve", "base_time", "policy_time", "ahead", "behind"),
)
"""A row is a finished run's verdict. `difference` is that of the measure, policy minus base; `again` is the same on held-out
states that decided nothing, if the policy of a world was promoted."""
TRIALS = "*/*/*/trial.json"
WHOLE = {"step", "episodes", "fixed", "broken"}
NEEDED = {
    "success": ("episodes", "success_rate", "low", "high", "base_success_rate"),
    "return": ("mean_return", "return_low", "return_high", "base_mean_return", "base_return_low", "base_return_high"),
    "time": ("mean_time", "time_low", "time_high", "base_mean_time"),
}
"""The columns that every evaluation needs, by the measure of its task."""
NUMBERS = ("seed", "steps", *EVALUATIONS, "lowest_acting_success_rate", "paper")


def collect_results(study: Study, out: Path, directories: Sequence[Path] = ()) -> int:
    """Write `results.csv` and `verdicts.csv` from all trials of a study's directory; return the number of trials.

    If a task has several scenes, such as race tracks, also `scenes.csv`.

    Unfinished and failed trials are included and marked. A trial without an evaluation has a row without numbers.

    Args:
        study: gives the order of the trials and the published numbers.
        out: the directory of the tables.
        directories: the directories of the trials, if not `out`. Trials that differ only in budget are told apart by a suffix
            on the variant: `default-200k`.

    Raises:
        RunError: a directory has no trials or those of another study, a trial is in two directories, or a file is damaged.
    """
    found = _find_trials(directories or [out])
    for directory in directories:
        if not any(directory.glob(TRIALS)):
            raise RunError(f"{directory} holds no trials of a study")
    lines = {(trial.task, trial.variant) for trial in study.trials}
    for trial, directory in found:
        if directories and (trial.task, trial.variant) not in lines:
            raise RunError(f"{directory} is none of study {study.name!r}: it has no trials {trial.task}/{trial.variant}")
    order = {trial.name: index for index, trial in enumerate(study.trials)}
    found.sort(key=lambda pair: (order.get(pair[0].name, len(order)), pair[0].name, pair[0].steps))
    least: dict[tuple[str, str], int] = {}
    for trial, _ in found:
        line = trial.task, trial.variant
        least[line] = min(trial.steps, least.get(line, trial.steps))
    rows = []
    for number, (trial, directory) in enumerate(found):
        published = {"study": study.name, "paper": study.paper.get((trial.task, trial.variant), "")}
        if trial.steps > least[trial.task, trial.variant]:
            trial = replace(trial, variant=f"{trial.variant}-{trial.steps / 1000:g}k")
            found[number] = trial, directory
        rows += [published | row for row in rows_of(trial, directory)]
    write_rows(out / RESULTS_CSV, RESULT_COLUMNS, rows)
    judged = [(trial, directory) for trial, directory in found if (directory / "run" / VERDICT).exists()]
    verdicts = [{"study": study.name} | rounded(_verdict(trial, directory)) for trial, directory in judged]
    write_rows(out / VERDICTS_CSV, VERDICTS, verdicts)
    scenes = [row for trial, directory in judged for row in scene_rows(trial, read_verdict(directory / "run"))]
    if scenes:
        write_rows(out / SCENES_CSV, SCENES, [{"study": study.name} | rounded(row) for row in scenes])
    return len(found)


def _find_trials(directories: Sequence[Path]) -> list[tuple[Trial, Path]]:
    """Return all trials with their directories."""
    found: dict[tuple[str, int], tuple[Trial, Path]] = {}
    for directory in directories:
        for path in sorted(directory.glob(TRIALS)):
            trial = read_trial(path.parent)
            key = trial.name, trial.steps
            if key in found and trial.method == INITIAL and trial == found[key][0]:
                # Every call of a study runs these, with the same result: keep one that is finished.
                if state_of(found[key][1]) is TrialState.FINISHED:
                    continue
            elif key in found:
                raise RunError(f"{trial.name} is there twice, in {found[key][1]} and in {path.parent}: leave one of them out")
            found[key] = trial, path.parent
    return list(found.values())


def rows_of(trial: Trial, directory: Path) -> list[dict[str, Any]]:
    """Return the rows of `results.csv` for the evaluations of a trial, without the columns that only the study knows."""
    begun = (directory / "run" / CONFIG).exists()
    config = read_config(directory / "run") if begun else trial.config()
    described = {
        "task": trial.task,
        "method": trial.method,
        "preset": "" if trial.method == INITIAL else trial.preset,
        "variant": trial.variant,
        "controller": config.controller,
        "fields": " ".join(f"{name}={json.dumps(value)}".replace(" ", "") for name, value in sorted(trial.fields.items())),
        "seed": trial.seed,
        "steps": trial.steps,
        "measured_by": config.measured_by if begun else _measured_by(trial),
        "state": str(state_of(directory)),
        "versions": " ".join(f"{name}={version}" for name, version in read_provenance(directory)["versions"].items()),
    }
    evaluations = read_rows(directory / "run" / EVALUATIONS_CSV)
    lowest = _lowest_acting(directory / "run")
    return [
        described
        | {name: int(value) if name in WHOLE else value for name, value in row.items()}
        | {"lowest_acting_success_rate": lowest(row["step"])}
        for row in evaluations
    ] or [described]


def _measured_by(trial: Trial) -> Measure:
    """Return the measure of a trial without a run. For a world or `env` it is not known yet, and success is assumed."""
    return trial.fields.get(
        "measured_by", "success" if trial.env or trial.task in WORLDS else find_task(trial.task).measured_by
    )


def _lowest_acting(run: Path) -> Callable[[float], float | str]:
    """Return a function from a step to the lowest moving average of training success so far; empty before the first."""
    metrics = read_rows(run / METRICS_CSV)
    averages = acting_average(metrics, "acting_success_rate", read_config(run).episodes_per_cycle) if metrics else []
    steps = [step for step, _ in averages]
    lowest = np.minimum.accumulate([average for _, average in averages]).round(6).tolist()

    def at(step: float) -> float | str:
        index = int(np.searchsorted(steps, step, side="right")) - 1
        return lowest[index] if index >= 0 else ""

    return at


def _verdict(trial: Trial, directory: Path) -> dict[str, Any]:
    """Return the verdict of a run as one row."""
    given, again = read_verdict(directory / "run"), read_confirmation(directory)
    base, policy = given.base, given.policy
    values = {
        "task": trial.task,
        "variant": trial.variant,
        "seed": trial.seed,
        "steps": trial.steps,
        "episodes": given.episodes,
        "base": base.success_rate,
        "policy": policy.success_rate,
        **_ends("policy", policy.interval),
        "fixed": given.fixed,
        "broken": given.broken,
        "p_value": given.p_value,
        "promoted": int(given.promoted),
        "controller": given.controller,
        "measured_by": given.measured_by,
        **_ends("base", base.interval),
        "base_return": base.mean_return,
        **_ends("base_return", base.return_interval),
        "policy_return": policy.mean_return,
        **_ends("policy_return", policy.return_interval),
        "difference": given.difference,
        **_ends("difference", given.difference_interval),
    }
    if given.times is not None:
        times = given.times
        values |= {"time_unit": times.unit, "both_solve": times.pairs, "base_time": times.base, "policy_time": times.policy}
        values |= {"ahead": times.ahead, "behind": times.behind}
    return values if again is None else values | {"again": again.difference} | _ends("again", again.difference_interval)


def _ends(name: str, interval: tuple[float, float] | None) -> dict[str, float]:
    return {} if interval is None else {f"{name}_low": interval[0], f"{name}_high": interval[1]}


def read_results(path: Path) -> list[dict[str, str]]:
    """Read the rows of a `results.csv`.

    Raises:
        RunError: the file is missing, it lacks columns, or a row is damaged.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {error}") from None
    missing = [name for name in RESULT_COLUMNS if name not in (reader.fieldnames or ()) and name not in NEEDED["time"]]
    if missing or not rows:
        raise RunError(f"{path} holds no results of a study" + (f": it lacks {', '.join(missing)}" if missing else ""))
    for number, row in enumerate(rows, 2):
        _check_row(row, f"{path}, line {number}")
    return rows


def _check_row(row: Mapping[str, Any], place: str) -> None:
    """Raise RunError if a row of a `results.csv` is truncated, or has another value in place of a number."""
    if None in row.values() or None in row:
        raise RunError(f"{place}: it has too few or too many columns")
    if row["measured_by"] not in get_args(Measure):
        raise RunError(f"{place}: measured_by is {row['measured_by']!r}, not one of {', '.join(get_args(Measure))}")
    needed = NEEDED[row["measured_by"]] if row["step"] else ()
    for name in NUMBERS:
        try:
            float(row[name] if name in needed else row.get(name) or 0)
        except ValueError:
            raise RunError(f"{place}: {name} is {row.get(name)!r}, not a number") from None


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file atomically."""

    def write(beside: Path) -> None:
        with beside.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)
