"""What a look at a run's learning found. What is measured: `evidence`; what is made of it: `findings`."""

from typing import Any, Literal

from pydantic.dataclasses import dataclass

from residual_rl import storage

Standing = Literal["sound", "warning", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One question about a run, and what was measured."""

    name: str
    standing: Standing
    """Unknown where it could not be measured, or where the question has no sense."""
    measured: str
    """The numbers as text."""
    meaning: str
    """What that means and, if it is a warning, what to try."""
    numbers: dict[str, float]


@dataclass(frozen=True)
class Diagnosis:
    """All findings about a run."""

    step: int
    """Environment steps after which it was made."""
    findings: tuple[Finding, ...]
    calibration: tuple[tuple[float, float], ...]
    """Points of the first halves of the latest episodes: the predicted value, and the discounted rewards that followed."""

    @property
    def warnings(self) -> list[Finding]:
        """The findings that may be why learning did not help."""
        return [finding for finding in self.findings if finding.standing == "warning"]

    def to_json(self) -> dict[str, Any]:
        """The diagnosis as plain JSON values."""
        return storage.to_json(self)
