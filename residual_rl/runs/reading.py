"""Read the directory of a run. Its files and their columns: docs/reference/run-directory.md."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.dataclasses import dataclass

from residual_rl import config as configuration
from residual_rl.config import Config
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.diagnosis.gains import with_verdict
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.learning.algorithm import Algorithm
from residual_rl.pairing.repeatability import Repeatability
from residual_rl.runs.files import (
    ARTEFACT,
    BASE,
    CHECKPOINT,
    CONFIG,
    DIAGNOSIS,
    ENCODER,
    ENVIRONMENT,
    EVALUATIONS_CSV,
    FORMAT,
    JUDGEMENTS,
    LAST_METRICS,
    METRICS,
    METRICS_CSV,
    POLICY,
    REPEATABILITY,
    VERDICT,
)
from residual_rl.storage import digest, read_arrays, read_json, record_of
from residual_rl.verdict import Verdict


@dataclass(frozen=True)
class Judgement:
    """The verdict on the policy selected so far, on initial states that the final verdict does not use."""

    step: int
    """The policy's step. Its weights are kept in `judged-<step>.safetensors` until a later judgement, or until the run ends."""
    verdict: Verdict


def metric_columns(algorithm: Algorithm) -> tuple[str, ...]:
    """Return the columns of `metrics.csv`: those of every run, and the algorithm's metrics."""
    return (*METRICS, *algorithm.metrics, *LAST_METRICS)


def is_begun(path: str | Path) -> bool:
    """Return whether anything was evaluated or learned in a run directory."""
    return any((Path(path) / name).exists() for name in (CHECKPOINT, EVALUATIONS_CSV, METRICS_CSV))


def formatted(values: dict[str, Any]) -> dict[str, Any]:
    """Return a file's values with the format number added."""
    return {"format": FORMAT, **values}


def checked_format(values: Any, file: Path) -> dict[str, Any]:
    """Return a file's values without the format number.

    Raises:
        RunError: the format is another one, or missing.
    """
    if not isinstance(values, dict):
        raise RunError(f"{file} is damaged: it holds no JSON object")
    if values.get("format") != FORMAT:
        raise RunError(f"{file} has format {values.get('format')}, and this version of residual-rl reads only format {FORMAT}")
    return {name: value for name, value in values.items() if name != "format"}


def read_config(path: str | Path) -> Config:
    """Return the configuration of a run directory.

    Raises:
        RunError: it is not a run directory, or its configuration cannot be read.
    """
    file = Path(path) / CONFIG
    values = checked_format(read_json(file, "it is no run directory"), file)
    try:
        return configuration.from_json(values["config"])
    except (KeyError, TypeError, ResidualRLError) as error:
        raise RunError(f"{file} is damaged: {error}") from error


def read_made_by(path: str | Path) -> dict[str, Any]:
    """Return the versions, the commit and the machine that made a run.

    Raises:
        RunError: it is no run directory, or the file is damaged.
    """
    file = Path(path) / CONFIG
    return checked_format(read_json(file, "it is no run directory"), file).get("made_by", {})


def read_environment(path: str | Path) -> Any:
    """Return a run's description of its user-supplied environment, as JSON values; None for a task of the library.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / ENVIRONMENT
    return checked_format(read_json(file), file) if file.exists() else None


@dataclass(frozen=True)
class KeptBase:
    """A run's record of the base or the encoder that it keeps: `base/artefact.json`, `encoder/artefact.json`."""

    kind: str
    """A key of `ARTEFACTS`, or a user-supplied kind."""
    digest: str
    prepared: bool
    """Whether it was made in the run; its actions are then in units in which the bounds are -1 and 1."""


def read_kept_base(path: str | Path) -> KeptBase | None:
    """Return a run's record of the base that it keeps; None if it keeps none.

    Raises:
        RunError: the file is damaged.
    """
    return _kept(Path(path) / BASE / ARTEFACT)


def read_kept_encoder(path: str | Path) -> KeptBase | None:
    """What a run says of the encoder that it keeps; None if it keeps none.

    Raises:
        RunError: the file is damaged.
    """
    return _kept(Path(path) / ENCODER / ARTEFACT)


def _kept(file: Path) -> KeptBase | None:
    return record_of(KeptBase, read_json(file), file) if file.exists() else None


def read_verdict(path: str | Path) -> Verdict:
    """Return the verdict of a finished run.

    Raises:
        RunError: the run is not finished, or the file is damaged.
    """
    file = Path(path) / VERDICT
    if not file.exists():
        read_config(path)  # raises if it is no run at all
    values = read_json(file, "the run has no verdict yet: start the same training again to finish it")
    return record_of(Verdict, checked_format(values, file), file)


def read_repeatability(path: str | Path) -> Repeatability | None:
    """Return whether a run's world repeats itself; None before its first evaluation.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / REPEATABILITY
    return record_of(Repeatability, read_json(file), file) if file.exists() else None


def read_judgements(path: str | Path) -> list[Judgement]:
    """Return the judgements of an unfinished run, the latest last; none if there was none.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / JUDGEMENTS
    return record_of(list[Judgement], read_json(file), file) if file.exists() else []


def judged_policy(step: int | str) -> str:
    """Return the name of the file that keeps the policy of a judgement."""
    return f"judged-{step}.safetensors"


def judged_policies(path: str | Path) -> list[Path]:
    """Return all such files of a run."""
    return sorted(Path(path).glob("judged-*.safetensors"))


def read_diagnosis(path: str | Path) -> Diagnosis | None:
    """Return the diagnosis of a run whose training is over, with the verdict if there is one; None before that.

    Raises:
        RunError: the file is damaged.
    """
    file = Path(path) / DIAGNOSIS
    if not file.exists():
        return None
    diagnosis = record_of(Diagnosis, checked_format(read_json(file), file), file)
    finished = (Path(path) / VERDICT).exists()
    return with_verdict(diagnosis, read_config(path), read_verdict(path)) if finished else diagnosis


def read_policy(path: str | Path, name: str = POLICY) -> tuple[dict[str, np.ndarray], Config, int]:
    """Return arrays, configuration and step of a run's selected policy; the configuration has the policy's algorithm.

    Args:
        path: the run's directory.
        name: the file in it.

    Raises:
        RunError: there is none, or the file is damaged or altered.
    """
    file = Path(path) / name
    if not file.exists():
        raise RunError(f"{path} holds no policy: it is no run directory, or its first evaluation is still to come")
    arrays, metadata = read_arrays(file)
    try:
        about = checked_format(json.loads(metadata["policy"]), file)
        expected = about.pop("digest")
        config, step = configuration.from_json(about["config"]), int(about["step"])
        acting = configuration.from_json(about["config"] | {"algorithm": about["acting"]})
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError, ResidualRLError) as error:
        raise RunError(f"{file} is damaged: {error}") from error
    if digest(arrays, about) != expected:
        raise RunError(f"{file} is damaged: what it holds is not what was saved")
    if config != read_config(path):
        raise RunError(f"{file} is of another run than the {CONFIG} beside it")
    return arrays, acting, step


def read_rows(path: str | Path) -> list[dict[str, float]]:
    """Return the rows of a run's CSV file as numbers; none if there is no file. A last line cut short by a kill is dropped."""
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
