"""When the actor may start to learn: the gradient of an untrained critic would only lead away from the base."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FixedBurnIn:
    """The critic alone learns for a number of cycles."""

    rule: Literal["fixed"] = "fixed"
    """The kind of burn-in."""
    cycles: int = Field(default=15, ge=0)
    """Cycles in which the residual stays zero."""
    updates: int = Field(default=120, gt=0)
    """Updates a cycle while it lasts."""

    @property
    def least_cycles(self) -> int:
        """Cycles that it lasts at least."""
        return self.cycles

    def is_over(self, mean_values: Sequence[float]) -> bool:
        """Return whether the actor learns in the next cycle. `mean_values` has the mean Q of each cycle so far."""
        return len(mean_values) >= self.cycles


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ValueChangeBurnIn:
    """The actor is frozen in the first epoch, and after every epoch in which the mean Q moved by more than a threshold.

    Source: the code published with Silver et al. 2018.
    Differs: the paper waits until the critic's loss falls below the threshold.
    """

    rule: Literal["value-change"] = "value-change"
    """The kind of burn-in."""
    threshold: float = Field(default=1.0, gt=0)
    """The change of the mean Q below which the actor may learn."""
    epoch_cycles: int = Field(default=50, gt=0)
    """Cycles of an epoch."""
    updates: int = Field(default=40, gt=0)
    """Updates a cycle while it lasts."""

    @property
    def least_cycles(self) -> int:
        """Cycles that it lasts at least."""
        return self.epoch_cycles

    def is_over(self, mean_values: Sequence[float]) -> bool:
        """Return whether the actor learns in the next cycle. `mean_values` has the mean Q of each cycle so far."""
        epochs = len(mean_values) // self.epoch_cycles
        if epochs == 0:
            return False
        means = np.nanmean(np.asarray(mean_values[: epochs * self.epoch_cycles]).reshape(epochs, -1), axis=1)
        before = means[-2] if epochs > 1 else 0.0
        return abs(means[-1] - before) <= self.threshold
