"""A run's description of a user-supplied environment and its controller, in `environment.json`."""

from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl import storage
from residual_rl.controllers.adapted import Character
from residual_rl.custom.goals import GoalRules
from residual_rl.custom.success import LAST, Rule
from residual_rl.spaces import Layout
from residual_rl.types import Measure, Spec


@dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))
class Findings:
    """The properties of an environment that were found in the first episodes."""

    measured_by: Measure
    """Success if the environment reports it, else return."""
    reward_scale: float
    """Factor of the rewards for the learner."""
    sparse: bool
    """Whether rewards are -1 or 0."""
    episode_steps: float
    """Mean length of the base's episodes."""
    goal_rules: GoalRules | None
    """None if there is no hindsight."""
    usual_value: float = 0.0
    """Mean value of the base's states, in the environment's rewards: the zero of the learner's values."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Description:
    """Everything that a run needs to know about an environment and its controller."""

    task: str
    layout: Layout
    """With the units in which the learner sees observations."""
    horizon: Annotated[int, Field(ge=1)]
    findings: Findings
    character: Character | None
    """None for a controller of the library."""
    success: Rule = LAST
    """Which steps decide whether an episode is a success."""

    @property
    def spec(self) -> Spec:
        """The environment's spec."""
        reward_range = (-1.0, 0.0) if self.findings.sparse else (-np.inf, np.inf)
        layout = self.layout
        return Spec(layout.observation_size, layout.goal_size, layout.action_size, self.horizon, reward_range)

    def to_json(self) -> dict[str, Any]:
        """Return the description as plain JSON values."""
        return storage.to_json(self)


def description_from(values: Any, source: str) -> Description:
    """Restore the description that `to_json` wrote.

    Raises:
        RunError: it is damaged; names `source`.
    """
    return storage.record_of(Description, values, source)
