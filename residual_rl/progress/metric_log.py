"""Write a run's metrics and evaluations for TensorBoard or Weights & Biases, beside the run's own CSV files."""

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from residual_rl.errors import UnknownName
from residual_rl.optional import need

WANDB_PROJECT = "residual-rl"
TRAINING, EVALUATION = "training", "evaluation"
"""Groups of numbers: the prefixes of their names."""


class MetricLog(Protocol):
    """A destination of numbers besides the run directory."""

    def resume(self, step: int) -> None:
        """Begin, or resume after `step`: rows of later steps no longer count."""
        ...

    def add(self, group: str, row: Mapping[str, Any]) -> None:
        """Write a row of numbers of a group."""
        ...

    def finish(self, verdict: Mapping[str, Any]) -> None:
        """Write the numbers of the verdict."""
        ...

    def close(self) -> None:
        """Write everything that is still in memory."""
        ...


class TensorBoard:
    """Event files in the folder `tensorboard` of a run, see https://www.tensorflow.org/tensorboard."""

    def __init__(self, path: Path, config: Mapping[str, Any]):
        self._package = need("tensorboardX", "tensorboard", "TensorBoard logs")
        self._directory = path / "tensorboard"
        self._writer: Any = None

    def resume(self, step: int) -> None:
        """Open a file; TensorBoard then hides the points of earlier files beyond `step`."""
        self.close()
        self._writer = self._new_file(purge_step=step + 1 if step else None)

    def add(self, group: str, row: Mapping[str, Any]) -> None:
        """Write a row of numbers of a group."""
        for key, value in numbers(group, row).items():
            self._writer.add_scalar(key, value, int(row["step"]))

    def finish(self, verdict: Mapping[str, Any]) -> None:
        """Write the numbers of the verdict."""
        if self._writer is None:  # the run was trained in an earlier process
            self._writer = self._new_file()
        for key, value in verdict.items():
            self._writer.add_scalar(f"verdict/{key}", value, 0)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _new_file(self, **arguments: Any) -> Any:
        """Open a new file. The package names it by the second, so a number keeps two files of one second apart."""
        number = len(list(self._directory.glob("*")))
        return self._package.SummaryWriter(str(self._directory), filename_suffix=f".{number}", **arguments)


class WeightsAndBiases:
    """A run of Weights & Biases, see https://docs.wandb.ai. `WANDB_MODE=offline` keeps it in the run directory.

    The same run directory is the same run there: a resumed training continues it.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]):
        wandb = need("wandb", "wandb", "logs of Weights & Biases")
        identity = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
        self._run = wandb.init(
            project=WANDB_PROJECT, name=str(path), id=identity, resume="allow", dir=str(path), config=dict(config)
        )
        self._run.define_metric("step")
        for group in (TRAINING, EVALUATION):
            self._run.define_metric(f"{group}/*", step_metric="step")

    def resume(self, step: int) -> None:
        """Do nothing: a point that is written again for a step stands for that step."""

    def add(self, group: str, row: Mapping[str, Any]) -> None:
        """Write a row of numbers of a group."""
        self._run.log(numbers(group, row) | {"step": int(row["step"])})

    def finish(self, verdict: Mapping[str, Any]) -> None:
        """Write the numbers of the verdict into the summary."""
        self._run.summary.update({f"verdict/{key}": value for key, value in verdict.items()})

    def close(self) -> None:
        """Finish the run there, or leave it for `wandb sync`."""
        self._run.finish()


LOGS: dict[str, Callable[[Path, Mapping[str, Any]], MetricLog]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def open_log(name: str, path: Path, config: Mapping[str, Any]) -> MetricLog:
    """Return the log of this name.

    Args:
        name: a key of `LOGS`.
        path: the run directory.
        config: the run's configuration as JSON values.

    Raises:
        UnknownName: there is no such log.
        ResidualRLError: its package is not installed; the message says how to install it.
    """
    if name not in LOGS:
        raise UnknownName("log", name, LOGS)
    return LOGS[name](path, config)


def verdict_numbers(verdict: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a verdict's JSON, `{"difference": ..., "base/success_rate": ...}`."""
    found: dict[str, float] = {}
    for key, value in verdict.items():
        if isinstance(value, Mapping):
            found |= {f"{key}/{inner}": number for inner, number in verdict_numbers(value).items()}
        elif isinstance(value, bool | int | float) and math.isfinite(value):
            found[key] = float(value)
    return found


def numbers(group: str, row: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a row, `{"training/critic_loss": ...}`; its step is not one of them."""
    values = {key: float(value) for key, value in row.items() if key != "step"}
    return {f"{group}/{key}": value for key, value in values.items() if math.isfinite(value)}
