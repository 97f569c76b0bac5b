"""A study's directory: where its trials stand, and all their evaluations in one long table, `results.csv`.

trial.json      the trial, and what made it: versions, commit, machine
outcome.json    how it ended: finished, or failed and why. Not there: unfinished
log.txt         what its processes printed
run/            its run directory
confirmation.json   the comparison of the verdict on other states, where the policy was promoted and this was asked
"""

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from residual_rl.config import differences
from residual_rl.errors import RunError
from residual_rl.run import EVALUATIONS, provenance, read_config, read_rows, read_verdict
from residual_rl.studies.trial import INITIAL, Study, Trial
from residual_rl.studies.worlds import WORLDS
from residual_rl.tasks import find_task
from residual_rl.types import Measure
from residual_rl.verdict import Verdict

COLUMNS: tuple[str, ...] = (
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
)
"""A row is a finished run's verdict. `difference` is of what is measured, policy minus base; `again` is the same once more, on
states that decided nothing, where the policy was promoted and this was asked."""
WHOLE = {"step", "episodes", "fixed", "broken"}
ACTING_EPISODES = 100
"""Training episodes over which the success of the acting policy is averaged."""


class State(StrEnum):
    """Where a trial stands, as its directory shows it."""

    WAITING = "waiting"
    RUNNING = "running"
    """Known to the process that runs the study alone; on disk it is unfinished."""
    UNFINISHED = "unfinished"
    FAILED = "failed"
    FINISHED = "finished"


class Standing(NamedTuple):
    """How far a trial has come."""

    step: int
    steps: int
    wall_seconds: float
    base_success_rate: float | None
    success_rate: float | None
    """Of the last evaluation; None before the first."""


def begin(trial: Trial, directory: Path) -> None:
    """Makes the directory of a trial and notes what it is."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "trial.json", {"trial": trial.to_json(), "made_by": provenance()})


def check_same(trial: Trial, directory: Path) -> None:
    """Makes sure that a directory is not another trial's.

    Raises:
        RunError: it is; the message says what differs.
    """
    if (directory / "trial.json").exists():
        lines = differences(_read_trial(directory).to_json(), trial.to_json())
        if lines:
            raise RunError(f"{directory} is another trial's; choose another directory:\n  " + "\n  ".join(lines))


def end(directory: Path, state: State, error: str = "") -> None:
    """Notes how a trial ended."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_json(directory / "outcome.json", {"state": state} | ({"error": error} if error else {}))


def forget_failure(directory: Path) -> None:
    """So that a failed trial counts as unfinished."""
    if state_of(directory) == State.FAILED:
        (directory / "outcome.json").unlink()


def state_of(directory: Path) -> State:
    """Where a trial stands: waiting, unfinished, failed or finished."""
    if (directory / "outcome.json").exists():
        return State(_read_json(directory / "outcome.json")["state"])
    return State.UNFINISHED if (directory / "trial.json").exists() else State.WAITING


def confirm(again: Verdict, directory: Path) -> None:
    """Notes what a trial's policy is worth on states that did not decide the verdict."""
    _write_json(directory / "confirmation.json", again.to_json())


def error_of(directory: Path) -> str:
    """Why a trial failed; empty where it did not."""
    path = directory / "outcome.json"
    return _read_json(path).get("error", "") if path.exists() else ""


def standing(trial: Trial, directory: Path) -> Standing:
    """How far a trial has come, read from the files of its run while it writes them."""
    metrics, evaluations = (_last_row(directory / "run" / name) for name in ("metrics.csv", "evaluations.csv"))
    return Standing(
        step=round(metrics.get("step", 0.0)),
        steps=trial.steps,
        wall_seconds=metrics.get("wall_seconds", 0.0),
        base_success_rate=evaluations.get("base_success_rate"),
        success_rate=evaluations.get("success_rate"),
    )


def collect(study: Study, out: Path) -> int:
    """Writes `results.csv` and `verdicts.csv` from all the trials that a study's directory holds; returns how many.

    Unfinished and failed trials are taken too, and marked; one without any evaluation has a row without numbers.
    """
    found = [(_read_trial(path.parent), path.parent) for path in sorted(out.glob("*/*/*/trial.json"))]
    order = {trial.name: index for index, trial in enumerate(study.trials)}
    found.sort(key=lambda pair: (order.get(pair[0].name, len(order)), pair[0].name))
    rows = []
    for trial, directory in found:
        published = {"study": study.name, "paper": study.paper.get((trial.task, trial.variant), "")}
        rows += [published | row for row in rows_of(trial, directory)]
    write_rows(out / "results.csv", COLUMNS, rows)
    verdicts = [
        {"study": study.name} | _verdict(trial, directory)
        for trial, directory in found
        if (directory / "run" / "verdict.json").exists()
    ]
    write_rows(out / "verdicts.csv", VERDICTS, verdicts)
    return len(found)


def rows_of(trial: Trial, directory: Path) -> list[dict[str, Any]]:
    """A row for each evaluation of a trial, as `results.csv` has it but for what only the study knows."""
    begun = (directory / "run" / "config.json").exists()
    made_by = _read_json(directory / "run" / "config.json" if begun else directory / "trial.json")["made_by"]
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
        "versions": " ".join(f"{name}={version}" for name, version in made_by["versions"].items()),
    }
    evaluations = read_rows(directory / "run" / "evaluations.csv")
    lowest = _lowest_acting(directory / "run")
    return [
        described
        | {name: int(value) if name in WHOLE else value for name, value in row.items()}
        | {"lowest_acting_success_rate": lowest(row["step"])}
        for row in evaluations
    ] or [described]


def _measured_by(trial: Trial) -> Measure:
    """Of a trial without a run directory's configuration. Nobody knows yet what a world is measured by."""
    return trial.fields.get("measured_by", "success" if trial.task in WORLDS else find_task(trial.task).measured_by)


def _lowest_acting(run: Path) -> Callable[[float], float | str]:
    """From a step to the lowest moving average so far of the success of the acting policy; empty before the first."""
    metrics = [row for row in read_rows(run / "metrics.csv") if np.isfinite(row["acting_success_rate"])]
    if not metrics:
        return lambda step: ""
    cycles = max(1, round(ACTING_EPISODES / read_config(run).episodes_per_cycle))
    rates = np.array([row["acting_success_rate"] for row in metrics])
    if len(rates) < cycles:
        return lambda step: ""
    means = np.convolve(rates, np.full(cycles, 1 / cycles), mode="valid")
    lowest = np.minimum.accumulate(means).round(6).tolist()
    steps = [row["step"] for row in metrics][cycles - 1 :]

    def at(step: float) -> float | str:
        index = int(np.searchsorted(steps, step, side="right")) - 1
        return lowest[index] if index >= 0 else ""

    return at


def _verdict(trial: Trial, directory: Path) -> dict[str, Any]:
    """The verdict of a run as one row."""
    given, confirmation = read_verdict(directory / "run"), directory / "confirmation.json"
    again = TypeAdapter(Verdict).validate_python(_read_json(confirmation)) if confirmation.exists() else None
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
    return values if again is None else values | {"again": again.difference} | _ends("again", again.difference_interval)


def _ends(name: str, interval: tuple[float, float] | None) -> dict[str, float]:
    return {} if interval is None else {f"{name}_low": round(interval[0], 4), f"{name}_high": round(interval[1], 4)}


def read_results(path: Path) -> list[dict[str, str]]:
    """The rows of a `results.csv`.

    Raises:
        RunError: there is no such file, or it lacks columns.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"cannot read {path}: {error}") from None
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ()) and name != "measured_by"]
    if missing or not rows:
        raise RunError(f"{path} holds no results of a study" + (f": it lacks {', '.join(missing)}" if missing else ""))
    # Tables of success alone were once written without.
    return [row | {"measured_by": row.get("measured_by", "success")} for row in rows]


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Replaces a CSV file, whole or not at all."""
    beside = path.with_name(f".{path.name}.partial")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(beside, path)


def _read_trial(directory: Path) -> Trial:
    try:
        return TypeAdapter(Trial).validate_python(_read_json(directory / "trial.json")["trial"])
    except (KeyError, ValidationError) as error:
        raise RunError(f"{directory}/trial.json is damaged: {error}") from error


def _last_row(path: Path) -> dict[str, float]:
    """The last whole line of a CSV of numbers; empty where there is none."""
    try:
        with path.open() as file:
            names = file.readline().strip().split(",")
            file.seek(max(file.tell(), path.stat().st_size - 4096))
            lines = [line for line in file.readlines() if line.endswith("\n") and line.count(",") == len(names) - 1]
            return dict(zip(names, map(float, lines[-1].split(",")), strict=True)) if lines else {}
    except (OSError, ValueError):  # not there yet, or being replaced
        return {}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    beside = path.with_name(f".{path.name}.partial")
    beside.write_text(json.dumps(values, indent=2) + "\n")
    os.replace(beside, path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
