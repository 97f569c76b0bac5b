"""The directory of a trial: its definition, its progress and its outcome.

trial.json      the trial, and its provenance: versions, commit, machine
outcome.json    finished, or failed with the error; missing while it is unfinished
worker.json     with Ray: where it runs, and how often it was started
log.txt         the output of its processes
run/            its run directory
confirmation.json   the second comparison on fresh states, if the policy of a world was promoted
"""

from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from residual_rl.config import differences
from residual_rl.errors import RunError
from residual_rl.reports.figures import COLUMNS_BY_MEASURE
from residual_rl.runs.files import CONFIG, EVALUATIONS_CSV, METRICS_CSV
from residual_rl.runs.provenance import provenance
from residual_rl.runs.reading import read_config, read_made_by
from residual_rl.storage import read_json, record_of, write_json
from residual_rl.studies.trial import Trial
from residual_rl.types import Measure
from residual_rl.verdict import Comparison


class TrialState(StrEnum):
    """State of a trial, read from its directory."""

    WAITING = "waiting"
    RUNNING = "running"
    """Known only to the process that runs the study; on disk the trial is unfinished."""
    UNFINISHED = "unfinished"
    FAILED = "failed"
    FINISHED = "finished"


class Standing(NamedTuple):
    """Progress of a trial."""

    step: int
    steps: int
    wall_seconds: float
    measured_by: Measure
    base: float | None
    policy: float | None
    """Success rate or mean return in the last evaluation; None before the first."""


def begin(trial: Trial, directory: Path) -> None:
    """Create the directory of a trial and write its definition."""
    write_json(directory / "trial.json", {"trial": trial.to_json(), "made_by": provenance()})


def check_same(trial: Trial, directory: Path) -> None:
    """Check that a directory does not belong to another trial.

    Raises:
        RunError: it does; the message lists the differences.
    """
    if (directory / "trial.json").exists():
        lines = differences(read_trial(directory).to_json(), trial.to_json())
        if lines:
            raise RunError(f"{directory} belongs to another trial; choose another directory:\n  " + "\n  ".join(lines))


def end(directory: Path, state: TrialState, error: str = "") -> None:
    """Write the outcome of a trial."""
    write_json(directory / "outcome.json", {"state": state} | ({"error": error} if error else {}))


def forget_failure(directory: Path) -> None:
    """Delete a recorded failure, so that the trial counts as unfinished."""
    if state_of(directory) == TrialState.FAILED:
        (directory / "outcome.json").unlink()


def state_of(directory: Path) -> TrialState:
    """Return the state of a trial: waiting, unfinished, failed or finished.

    Raises:
        RunError: the recorded outcome is damaged.
    """
    outcome = directory / "outcome.json"
    if outcome.exists():
        try:
            return TrialState(read_json(outcome)["state"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{outcome} is damaged: it has no state") from error
    return TrialState.UNFINISHED if (directory / "trial.json").exists() else TrialState.WAITING


def confirm(again: Comparison, directory: Path) -> None:
    """Write the second comparison of a trial's policy, on states that did not decide the verdict."""
    write_json(directory / "confirmation.json", again.to_json())


def read_confirmation(directory: Path) -> Comparison | None:
    """Return the comparison that `confirm` wrote, or None.

    Raises:
        RunError: the file is damaged.
    """
    path = directory / "confirmation.json"
    return record_of(Comparison, read_json(path), path) if path.exists() else None


def read_provenance(directory: Path) -> dict[str, Any]:
    """Return versions, commit and machine of the trial's run, or of the trial if there is no run yet."""
    run = directory / "run"
    return read_made_by(run) if (run / CONFIG).exists() else read_json(directory / "trial.json")["made_by"]


def error_of(directory: Path) -> str:
    """Return the error of a failed trial, else an empty string."""
    path = directory / "outcome.json"
    return read_json(path).get("error", "") if path.exists() else ""


def standing(trial: Trial, directory: Path) -> Standing:
    """Read the progress of a trial from the files of its run, also while they are written."""
    metrics, evaluations = (_last_row(directory / "run" / name) for name in (METRICS_CSV, EVALUATIONS_CSV))
    begun = (directory / "run" / CONFIG).exists()
    measured_by = read_config(directory / "run").measured_by if begun else "success"
    columns = COLUMNS_BY_MEASURE[measured_by]
    return Standing(
        step=round(metrics.get("step", 0.0)),
        steps=trial.steps,
        wall_seconds=metrics.get("wall_seconds", 0.0),
        measured_by=measured_by,
        base=evaluations.get(columns.base),
        policy=evaluations.get(columns.value),
    )


def read_trial(directory: Path) -> Trial:
    """Return the trial of a directory.

    Raises:
        RunError: the file is damaged.
    """
    path = directory / "trial.json"
    try:
        values = read_json(path)["trial"]
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged: it has no trial") from error
    return record_of(Trial, values, path)


def _last_row(path: Path) -> dict[str, float]:
    """Return the last complete line of a CSV of numbers; empty if there is none."""
    try:
        with path.open() as file:
            names = file.readline().strip().split(",")
            file.seek(max(file.tell(), path.stat().st_size - 4096))
            lines = [line for line in file.readlines() if line.endswith("\n") and line.count(",") == len(names) - 1]
            return dict(zip(names, map(float, lines[-1].split(",")), strict=True)) if lines else {}
    except (OSError, ValueError):  # not there yet, or being replaced
        return {}
