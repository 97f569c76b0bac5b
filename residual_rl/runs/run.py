"""A run is a directory. During training only `Run` writes to it.

The checkpoint is replaced atomically, so a kill loses at most the last interval. The policy's file also holds the configuration
that it needs and the algorithm by which it acts.
"""

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from filelock import FileLock

import residual_rl
from residual_rl import config as configuration
from residual_rl import storage
from residual_rl.config import Config
from residual_rl.controllers.artefacts import Artefact
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.errors import ResidualRLError, RunError
from residual_rl.learning.algorithm import Algorithm
from residual_rl.pairing.repeatability import Repeatability
from residual_rl.progress.metric_log import EVALUATION, TRAINING, MetricLog, verdict_numbers
from residual_rl.runs import reading
from residual_rl.runs.files import (
    ARTEFACT,
    BASE,
    CHECKPOINT,
    CONFIG,
    DIAGNOSIS,
    ENCODER,
    ENVIRONMENT,
    EVALUATIONS,
    EVALUATIONS_CSV,
    METRICS_CSV,
    POLICY,
    PREPARATION,
    REPEATABILITY,
    VERDICT,
)
from residual_rl.runs.first_look import FIRST_LOOK, FirstLook, save_first_look
from residual_rl.runs.provenance import provenance
from residual_rl.runs.reading import KeptBase, checked_format, formatted, judged_policies
from residual_rl.storage import (
    PARTIAL,
    acquire,
    digest,
    disk_errors,
    make_directory,
    read_arrays,
    rounded,
    write_arrays,
    write_json,
    write_whole,
)
from residual_rl.verdict import Comparison, Verdict


class Run:
    """A run directory that is open for writing; a context manager that holds its lock.

    Raises, on entering:
        RunError: another process uses the directory, or another configuration wrote it.
    """

    def __init__(self, path: str | Path, config: Config):
        self.path = Path(path)
        self.config = config
        self.log: MetricLog | None = None
        """A further destination of the metrics."""
        self._lock = FileLock(self.path / ".lock")

    def __fspath__(self) -> str:
        return str(self.path)

    def __enter__(self) -> "Run":
        make_directory(self.path)
        acquire(self._lock, self.path)
        try:
            with disk_errors(self.path):
                self._claim()
                for left in self.path.glob(f".*.safetensors.*{PARTIAL}"):  # by a kill; others of its kind are small
                    left.unlink(missing_ok=True)
                if self.finished:  # a kill may have come between the verdict and this
                    self._free_checkpoint()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        try:
            if self.log is not None:
                self.log.close()
        finally:
            self._lock.release()

    def _claim(self) -> None:
        """Write the configuration, or compare it with the one that is there."""
        wanted = configuration.to_json(self.config)
        if (self.path / CONFIG).exists():
            there = configuration.to_json(reading.read_config(self.path))
            lines = configuration.differences(there, wanted)
            if reading.is_begun(self.path):
                if lines:
                    raise RunError(
                        f"{self.path} was written by another configuration; choose another directory, or the same settings:\n  "
                        + "\n  ".join(lines)
                    )
                return
            # A first call that failed, for example over a controller that raised, has left nothing worth keeping.
            for name in (ENVIRONMENT, FIRST_LOOK, REPEATABILITY):
                (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.path / ENCODER, ignore_errors=True)
            if not (self.path / BASE / PREPARATION).exists():
                shutil.rmtree(self.path / BASE, ignore_errors=True)
        elif strangers := strangers_in(self.path):
            raise RunError(f"{self.path} is not a run, and not empty (it holds {strangers[0]}); choose another directory")
        write_json(self.path / CONFIG, formatted({"config": wanted, "made_by": provenance()}))

    def append(self, name: str, row: Mapping[str, Any]) -> None:
        """Add a row to `metrics.csv` or `evaluations.csv`.

        Raises:
            ResidualRLError: the row has columns that the file does not have; names them, and the algorithm.
        """
        path, algorithm = self.path / name, self.config.algorithm
        columns = reading.metric_columns(algorithm) if name == METRICS_CSV else EVALUATIONS
        if unknown := sorted(row.keys() - set(columns)):
            raise ResidualRLError(
                f"{name} has no column {', '.join(map(repr, unknown))}: algorithm {algorithm.name!r} does not name them in its"
                " `metrics`"
            )
        with disk_errors(self.path), path.open("a", newline="") as file:
            writer: csv.DictWriter[str] = csv.DictWriter(file, columns, lineterminator="\n")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(rounded(row))
        if self.log is not None:
            self.log.add(TRAINING if name == METRICS_CSV else EVALUATION, row)

    def forget_after(self, step: int, evaluated: int) -> None:
        """Drop the metrics beyond `step` and the evaluations beyond step `evaluated`.

        A resumed run repeats what a killed process did after its last checkpoint.

        Raises:
            RunError: one of the files is damaged.
        """
        for name, last in ((METRICS_CSV, step), (EVALUATIONS_CSV, evaluated)):
            if not (self.path / name).exists():
                continue
            try:
                lines = (self.path / name).read_text().splitlines(keepends=True)
                header, *rows = [line for line in lines if line.endswith("\n")] or [""]
                kept = [row for row in rows if float(row.split(",")[0]) <= last]
            except ValueError as error:
                raise RunError(f"{self.path / name} is damaged: {error}") from error
            write_whole(self.path / name, lambda path, lines=(header, *kept): path.write_text("".join(lines)))
        if self.log is not None:
            self.log.resume(step)

    def save_checkpoint(self, arrays: dict[str, np.ndarray], counters: dict[str, Any]) -> None:
        """Replace the checkpoint atomically."""
        described = formatted({"counters": counters, "digest": digest(arrays, counters)})
        write_arrays(self.path / CHECKPOINT, arrays, {"checkpoint": json.dumps(described)})

    def load_checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """Return the latest checkpoint; None if there is none yet.

        Raises:
            RunError: the file is damaged.
        """
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        arrays, metadata = read_arrays(path)
        try:
            described = checked_format(json.loads(metadata["checkpoint"]), path)
            counters, expected = described["counters"], described["digest"]
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise RunError(f"{path} is damaged: its counters cannot be read") from error
        if digest(arrays, counters) != expected:
            raise RunError(f"{path} is damaged: what it holds is not what was saved")
        return arrays, counters

    def save_policy(self, arrays: dict[str, np.ndarray], algorithm: Algorithm, step: int) -> None:
        """Replace the selected policy, which acts by `algorithm`: the run's own, with the selected knobs."""
        acting = configuration.to_json(replace(self.config, algorithm=algorithm))["algorithm"]
        about = {"config": configuration.to_json(self.config), "acting": acting, "step": step}
        described = formatted(about | {"digest": digest(arrays, about)})
        write_arrays(self.path / POLICY, arrays, {"policy": json.dumps(described)})

    def save_base(self, artefact: Artefact) -> None:
        """Save the base, so that the policy can be used without anything outside the run."""
        save_artefact(self.path / BASE, artefact, prepared=False)

    def save_encoder(self, artefact: Artefact) -> None:
        """Keep the encoder whose features are the learner's observation."""
        save_artefact(self.path / ENCODER, artefact, prepared=False)

    def save_first_look(self, look: FirstLook) -> None:
        """Save the steps that distinguish base and environment from others of the same name."""
        save_first_look(self.path, look)

    def save_environment(self, description: dict[str, Any]) -> None:
        """Save the description of a user-supplied environment."""
        write_json(self.path / ENVIRONMENT, formatted(description))

    def save_repeatability(self, found: Repeatability) -> None:
        """Save whether the environment repeats itself, which decides how base and policy are compared."""
        write_json(self.path / REPEATABILITY, storage.to_json(found))

    def save_diagnosis(self, diagnosis: Diagnosis) -> None:
        """Save the diagnosis, since learner and replay are deleted when the run is finished."""
        write_json(self.path / DIAGNOSIS, formatted(diagnosis.to_json()))

    def finish(self, verdict: Verdict) -> None:
        """Write the verdict and delete the checkpoint: a finished run does not resume."""
        write_json(self.path / VERDICT, formatted(verdict.to_json()))
        if self.log is not None:
            self.log.finish(verdict_numbers(verdict.to_json()))
        self._free_checkpoint()

    def _free_checkpoint(self) -> None:
        for path in (self.path / CHECKPOINT, *judged_policies(self.path)):
            path.unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether the verdict has been written."""
        return (self.path / VERDICT).exists()

    def verdict(self) -> Verdict:
        """Return the verdict, see `read_verdict`."""
        return reading.read_verdict(self.path)

    def judge(self, controller: Any = None, **arguments: Any) -> Verdict:
        """Judge the policy selected so far while the run is unfinished, see `residual_rl.judge`."""
        return residual_rl.judge(self, controller, **arguments)

    def reevaluate(self, controller: Any = None, **arguments: Any) -> Comparison:
        """Compare the selected policy with its base once more, see `residual_rl.reevaluate`."""
        return residual_rl.reevaluate(self, controller, **arguments)


def strangers_in(path: Path) -> list[str]:
    """Return the names of files in a directory that do not belong to a run that is about to begin."""
    ours = {".lock", BASE} if (path / BASE / PREPARATION).exists() else {".lock"}
    return [one.name for one in path.iterdir() if one.name not in ours and one.suffix != PARTIAL]


def save_artefact(directory: Path, artefact: Artefact, prepared: bool) -> None:
    """Write a base or an encoder into its directory, and its metadata last.

    Raises:
        RunError: it cannot be written.
    """
    make_directory(directory)
    with disk_errors(directory):
        artefact.save(directory)
    kept = KeptBase(artefact.kind, artefact.digest, prepared)
    write_json(directory / ARTEFACT, storage.to_json(kept))
