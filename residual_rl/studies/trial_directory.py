"""The directory of a trial: what it is, how far it has come, and how it ended.

trial.json      the trial, and what made it: versions, commit, machine
outcome.json    how it ended: finished, or failed and why. Not there: unfinished
log.txt         what its processes printed
run/            its run directory
confirmation.json   the comparison of the verdict on other states, where the policy was promoted and this was asked
"""

from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from residual_rl.config import differences
from residual_rl.errors import RunError
from residual_rl.runs.provenance import provenance
from residual_rl.runs.reading import read_config
from residual_rl.storage import read_json, record_of, write_json
from residual_rl.studies.trial import Trial
from residual_rl.types import Measure
from residual_rl.verdict import Comparison


class TrialState(StrEnum):
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
    measured_by: Measure
    base: float | None
    policy: float | None
    """Success rate or mean return in the last evaluation; None before the first."""


def begin(trial: Trial, directory: Path) -> None:
    """Makes the directory of a trial and notes what it is."""
    write_json(directory / "trial.json", {"trial": trial.to_json(), "made_by": provenance()})


def check_same(trial: Trial, directory: Path) -> None:
    """Makes sure that a directory is not another trial's.

    Raises:
        RunError: it is; the message says what differs.
    """
    if (directory / "trial.json").exists():
        lines = differences(read_trial(directory).to_json(), trial.to_json())
        if lines:
            raise RunError(f"{directory} is another trial's; choose another directory:\n  " + "\n  ".join(lines))


def end(directory: Path, state: TrialState, error: str = "") -> None:
    """Notes how a trial ended."""
    write_json(directory / "outcome.json", {"state": state} | ({"error": error} if error else {}))


def forget_failure(directory: Path) -> None:
    """So that a failed trial counts as unfinished."""
    if state_of(directory) == TrialState.FAILED:
        (directory / "outcome.json").unlink()


def state_of(directory: Path) -> TrialState:
    """Where a trial stands: waiting, unfinished, failed or finished.

    Raises:
        RunError: what was noted of its end is damaged.
    """
    outcome = directory / "outcome.json"
    if outcome.exists():
        try:
            return TrialState(read_json(outcome)["state"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{outcome} is damaged: it tells no state") from error
    return TrialState.UNFINISHED if (directory / "trial.json").exists() else TrialState.WAITING


def confirm(again: Comparison, directory: Path) -> None:
    """Notes what a trial's policy is worth on states that did not decide the verdict."""
    write_json(directory / "confirmation.json", again.to_json())


def confirmed(directory: Path) -> Comparison | None:
    """What `confirm` noted, if it did.

    Raises:
        RunError: it is damaged.
    """
    path = directory / "confirmation.json"
    return record_of(Comparison, read_json(path), path) if path.exists() else None


def made_by(directory: Path) -> dict[str, Any]:
    """What made the trial's run: versions, commit, machine; before there is one, what made the trial."""
    config = directory / "run" / "config.json"
    return read_json(config if config.exists() else directory / "trial.json")["made_by"]


def error_of(directory: Path) -> str:
    """Why a trial failed; empty where it did not."""
    path = directory / "outcome.json"
    return read_json(path).get("error", "") if path.exists() else ""


def standing(trial: Trial, directory: Path) -> Standing:
    """How far a trial has come, read from the files of its run while it writes them."""
    metrics, evaluations = (_last_row(directory / "run" / name) for name in ("metrics.csv", "evaluations.csv"))
    begun = (directory / "run" / "config.json").exists()
    measured_by = read_config(directory / "run").measured_by if begun else "success"
    column = "mean_return" if measured_by == "return" else "success_rate"
    return Standing(
        step=round(metrics.get("step", 0.0)),
        steps=trial.steps,
        wall_seconds=metrics.get("wall_seconds", 0.0),
        measured_by=measured_by,
        base=evaluations.get(f"base_{column}"),
        policy=evaluations.get(column),
    )


def read_trial(directory: Path) -> Trial:
    """The trial whose directory this is.

    Raises:
        RunError: the file is damaged.
    """
    path = directory / "trial.json"
    try:
        values = read_json(path)["trial"]
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged: it names no trial") from error
    return record_of(Trial, values, path)


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
