"""A run is a directory. While it is being trained `Run` alone writes to it.

Its files and their columns: docs/reference/run-directory.md. The checkpoint is replaced whole, so that a kill loses at most the
last interval. Beside the policy's numbers is the configuration that it needs, and the rule by which it acts.
"""

import csv
import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from residual_rl import config as configuration
from residual_rl.config import Config
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.disk import acquire, disk_errors, make_directory, read_json, rounded, write_json, write_whole
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.learning.ddpg import DDPG
from residual_rl.learning.gated_ddpg import GatedDDPG
from residual_rl.records import record_of
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
TABLE = "table.npz"
ENVIRONMENT = "environment.json"
PACKAGES = ("residual-rl", "mujoco", "gymnasium", "gymnasium-robotics", "jax", "equinox", "optax", "numpy")


class Run:
    """A run directory that is open for writing; a context manager that holds its lock.

    Raises, on entering:
        RunError: another process uses the directory, or another configuration wrote it.
    """

    def __init__(self, path: str | Path, config: Config):
        self.path = Path(path)
        self.config = config
        self._lock = FileLock(self.path / ".lock")

    def __enter__(self) -> "Run":
        make_directory(self.path)
        acquire(self._lock, self.path)
        try:
            with disk_errors(self.path):
                self._claim()
                if self.finished:  # a kill may have come between the verdict and this
                    self._free_checkpoint()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self._lock.release()

    def _claim(self) -> None:
        """Writes the configuration, or compares it with the one that is there."""
        wanted = configuration.to_json(self.config)
        if (self.path / "config.json").exists():
            there = configuration.to_json(read_config(self.path))
            lines = configuration.differences(there, wanted)
            if is_begun(self.path):
                if lines:
                    raise RunError(
                        f"{self.path} was written by another configuration; choose another directory, or the same settings:\n  "
                        + "\n  ".join(lines)
                    )
                return
            # A first call that failed, over a controller that raised for example, has left nothing worth keeping.
            for name in (ENVIRONMENT, TABLE):
                (self.path / name).unlink(missing_ok=True)
        elif strangers := [one.name for one in self.path.iterdir() if one.name not in (".lock", ".config.json.partial")]:
            raise RunError(f"{self.path} is not a run, and not empty (it holds {strangers[0]}); choose another directory")
        write_json(self.path / "config.json", {"config": wanted, "made_by": provenance()})

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Adds a row to `metrics.csv` or `evaluations.csv`."""
        path = self.path / name
        columns: tuple[str, ...] = METRICS if name == "metrics.csv" else EVALUATIONS
        with disk_errors(self.path), path.open("a", newline="") as file:
            writer: csv.DictWriter[str] = csv.DictWriter(file, columns, lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(rounded(row))

    def forget_after(self, step: int, evaluated: int) -> None:
        """Drops the metrics beyond `step` and the evaluations beyond step `evaluated`.

        What a killed process wrote after its last checkpoint will be done again.

        Raises:
            RunError: one of the files is damaged.
        """
        for name, last in (("metrics.csv", step), ("evaluations.csv", evaluated)):
            if not (self.path / name).exists():
                continue
            try:
                lines = (self.path / name).read_text().splitlines(keepends=True)
                header, *rows = [line for line in lines if line.endswith("\n")] or [""]
                kept = [row for row in rows if float(row.split(",")[0]) <= last]
            except ValueError as error:
                raise RunError(f"{self.path / name} is damaged: {error}") from error
            self._replace(name, lambda path, lines=(header, *kept): path.write_text("".join(lines)))

    def save_checkpoint(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]) -> None:
        """Replaces the checkpoint, whole or not at all."""
        described = {"counters": counters, "digest": digest(arrays, counters)}
        self._write_safetensors("checkpoint.safetensors", arrays, {"checkpoint": json.dumps(described)})

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """What `save_checkpoint` stored last, or None where there is nothing yet.

        Raises:
            RunError: the file is damaged.
        """
        path = self.path / "checkpoint.safetensors"
        if not path.exists():
            return None
        arrays, metadata = read_safetensors(path)
        try:
            described = json.loads(metadata["checkpoint"])
            counters, expected = described["counters"], described["digest"]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise RunError(f"{path} is damaged: its counters cannot be read") from error
        if digest(arrays, counters) != expected:
            raise RunError(f"{path} is damaged: what it holds is not what was saved")
        return arrays, counters

    def save_policy(self, arrays: dict[str, np.ndarray], algorithm: DDPG | GatedDDPG, step: int) -> None:
        """Replaces the selected policy, which acts by `algorithm`: the run's own, as it is delivered."""
        acting = configuration.to_json(replace(self.config, algorithm=algorithm))["algorithm"]
        said = {"config": configuration.to_json(self.config), "acting": acting, "step": step}
        self._write_safetensors("policy.safetensors", arrays, {"policy": json.dumps(said | {"digest": digest(arrays, said)})})

    def save_table(self, write: Callable[[Path], None]) -> None:
        """Keeps the table that is improved, so that nothing outside of the run is needed to use it. `write` writes a file."""
        self._replace(TABLE, write)

    def save_environment(self, description: dict[str, Any]) -> None:
        """Keeps what is known of an environment that was brought."""
        write_json(self.path / ENVIRONMENT, description)

    def save_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Keeps what learner and replay had to say, which are gone once the run is finished."""
        write_json(self.path / "diagnosis.json", diagnosis.to_json())

    def finish(self, verdict: Verdict) -> None:
        """Writes the verdict. Nothing can resume any more, so the checkpoint is freed."""
        write_json(self.path / "verdict.json", verdict.to_json())
        self._free_checkpoint()

    def _free_checkpoint(self) -> None:
        (self.path / "checkpoint.safetensors").unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether the verdict has been written."""
        return (self.path / "verdict.json").exists()

    def verdict(self) -> Verdict:
        """What came of it, see `read_verdict`."""
        return read_verdict(self.path)

    def _write_safetensors(self, name: str, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
        contiguous = {key: np.asarray(value, order="C") for key, value in arrays.items()}
        # `save_file` makes files that nobody else may read.
        self._replace(name, lambda path: path.write_bytes(save(contiguous, metadata)))

    def _replace(self, name: str, write: Callable[[Path], object]) -> None:
        write_whole(self.path / name, write)


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
    arrays, metadata = read_safetensors(file)
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


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file.

    Raises:
        RunError: it is truncated or is no such file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (
        SafetensorError,
        OSError,
        ValueError,
        AttributeError,
        TypeError,
    ) as error:  # the last two: a type that NumPy has not
        raise RunError(f"{path} is damaged: {error}") from error


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


def digest(arrays: Mapping[str, np.ndarray], said: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and values, and over what is said of them as JSON."""
    hasher = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        hasher.update(f"{name} {array.dtype.str} {array.shape};".encode())
        hasher.update(array.tobytes())
    return hasher.hexdigest()


def provenance() -> dict[str, Any]:
    """What makes the numbers of a run: versions, commit, machine and time."""
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "commit": _commit(),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """The commit of the source tree, marked where it was changed since; None for an installed package."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
