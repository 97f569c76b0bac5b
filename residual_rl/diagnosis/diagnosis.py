"""The record of a diagnosis. `evidence` measures, `findings` and `gains` interpret."""

import json
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from residual_rl import storage

Standing = Literal["sound", "warning", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One question about a run, and its measurement."""

    name: str
    standing: Standing
    """Unknown if it could not be measured, or if the question makes no sense for this run."""
    measured: str
    """The numbers as text."""
    meaning: str
    """The interpretation and, if it is a warning, a suggestion."""
    numbers: dict[str, float]


def finding(name: str, warns: bool, measured: str, sound: str, warning: str, **numbers: float) -> Finding:
    """Return a measured finding; `sound` and `warning` are its interpretations."""
    standing, meaning = ("warning", warning) if warns else ("sound", sound)
    return Finding(name, standing, measured, meaning, {key: round(float(value), 6) for key, value in numbers.items()})


def unknown(name: str, why: str) -> Finding:
    """Return a finding that could not be measured, with the reason."""
    return Finding(name, "unknown", "", why, {})


def to_type(path: str, value: Any) -> str:
    """Return how to set a field of the configuration, on the command line and in Python."""
    text = json.dumps(value)
    return f'`--set {path}={text}`, in Python `improve(..., **{{"{path}": {text}}})`'


@dataclass(frozen=True)
class Diagnosis:
    """All findings about a run."""

    step: int
    """Environment steps at which it was made."""
    findings: tuple[Finding, ...]
    calibration: tuple[tuple[float, float], ...]
    """Points of the first halves of the latest episodes: the predicted value, and the discounted rewards that followed."""

    @property
    def warnings(self) -> list[Finding]:
        """The findings that may be why learning did not help."""
        return [finding for finding in self.findings if finding.standing == "warning"]

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis as plain JSON values."""
        return storage.to_json(self)
