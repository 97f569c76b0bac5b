"""What the directory of a run holds, and how it is read. Its files and their columns: docs/reference/run-directory.md."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.dataclasses import dataclass

from residual_rl import config as configuration
from residual_rl.config import Config
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.storage import digest, read_arrays, read_json, record_of
from residual_rl.verdict import Verdict

METRICS = (
    "step",
    "wall_seconds",
    "acting_success_rate",
    "acting_mean_return",
    "burn_in",
    "driven_by_residual",
    "critic_loss",
    "mean_value",
    "dropped_episodes",
)
EVALUATIONS = (
    "step",
    "wall_seconds",
    "episodes",
    "success_rate",
    "low",
    "high",
    "mean_return",
    "return_low",
    "return_high",
    "deviation",
    "base_success_rate",
    "base_mean_return",
    "base_return_low",
    "base_return_high",
    "fixed",
    "broken",
)
ENVIRONMENT = "environment.json"
BASE = "base"
"""The directory of a base with weights, and of what prepared it."""
ARTEFACT = "artefact.json"
PREPARATION = "preparation.json"


def is_begun(path: str | Path) -> bool:
    """Whether anything was evaluated or learned in a run directory."""
    return any((Path(path) / name).exists() for name in ("checkpoint.safetensors", "evaluations.csv", "metrics.csv"))


def read_config(path: str | Path) -> Config:
    """The configuration of a run directory.

    Raises:
        RunError: it is no run directory, or its configuration cannot be read.
    """
    values = read_json(Path(path) / "config.json", "it is no run directory")
    try:
        return configuration.from_json(values["config"])
    except (KeyError, TypeError, ResidualRLError) as error:
        raise RunError(f"{path}/config.json is damaged: {error}") from error


def read_environment(path: str | Path) -> Any:
    """What a run keeps of an environment that was brought, as JSON values; None for a task of the library.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / ENVIRONMENT
    return read_json(file) if file.exists() else None


@dataclass(frozen=True)
class KeptBase:
    """What a run says of the base that it keeps: `base/artefact.json`."""

    kind: str
    """A key of `ARTEFACTS`, or a kind of the user's."""
    digest: str
    prepared: bool
    """Whether it was made in the run; its actions are then in units in which the bounds are -1 and 1."""


def read_kept_base(path: str | Path) -> KeptBase | None:
    """What a run says of the base that it keeps; None if it keeps none.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / BASE / ARTEFACT
    return record_of(KeptBase, read_json(file), file) if file.exists() else None


def read_verdict(path: str | Path) -> Verdict:
    """The verdict of a finished run.

    Raises:
        RunError: the run is not finished, or the file is damaged.
    """
    if not (Path(path) / "verdict.json").exists():
        read_config(path)  # says so where it is no run at all
    values = read_json(Path(path) / "verdict.json", "the run has no verdict yet: start the same training again to finish it")
    return record_of(Verdict, values, Path(path) / "verdict.json")


def read_diagnosis(path: str | Path) -> Diagnosis | None:
    """The diagnosis of a run whose training is over; None where none was kept.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / "diagnosis.json"
    return record_of(Diagnosis, read_json(file), file) if file.exists() else None


def read_policy(path: str | Path) -> tuple[dict[str, np.ndarray], Config, int]:
    """Arrays, configuration and step of the policy that a run selected; the configuration with the algorithm by which it acts.

    Raises:
        RunError: there is none, or the file is damaged or was altered.
    """
    file = Path(path) / "policy.safetensors"
    if not file.exists():
        raise RunError(f"{path} holds no policy: it is no run directory, or its first evaluation is still to come")
    arrays, metadata = read_arrays(file)
    try:
        said = json.loads(metadata["policy"])
        expected = said.pop("digest")
        config, step = configuration.from_json(said["config"]), int(said["step"])
        acting = configuration.from_json(said["config"] | {"algorithm": said.get("acting", said["config"]["algorithm"])})
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError, ResidualRLError) as error:
        raise RunError(f"{file} is damaged: {error}") from error
    if digest(arrays, said) != expected:
        raise RunError(f"{file} is damaged: what it holds is not what was saved")
    if config != read_config(path):
        raise RunError(f"{file} is of another run than the config.json beside it")
    return arrays, acting, step


def read_rows(path: str | Path) -> list[dict[str, float]]:
    """The rows of a run's CSV file as numbers; none where there is no file. A last line cut short by a kill is left out."""
    path = Path(path)
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(line for line in file if line.endswith("\n"))
            rows = list(reader)
            columns = reader.fieldnames or ()
        return [{name: float(row[name]) for name in columns} for row in rows if None not in row.values()]
    except (TypeError, ValueError, csv.Error) as error:
        raise RunError(f"{path} is damaged: {error}") from error
