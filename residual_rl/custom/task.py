"""What an environment that somebody brings is to the rest of the library."""

from dataclasses import dataclass

import numpy as np
from gymnasium.vector import AutoresetMode
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as record

from residual_rl.custom.goals import GoalRules
from residual_rl.errors import ResidualRLError
from residual_rl.spaces import Layout
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import Array, Measure, RewardFunction, Spec, SuccessFunction


@record(frozen=True, config=ConfigDict(extra="forbid"))
class Findings:
    """What the base's first episodes showed about an environment."""

    measured_by: Measure
    """Success where the environment tells of it, else return."""
    reward_scale: float
    sparse: bool
    """Whether rewards are -1 or 0."""
    episode_steps: float
    """Mean length of the episodes."""
    goal_rules: GoalRules | None
    """None where hindsight has nothing to ask."""
    usual_value: float = 0.0
    """What the base's states are worth on average, in the environment's rewards: the zero of the learner's values."""


@dataclass(frozen=True)
class CustomTask:
    """To the rest of the library what a `Task` is: its environments come from somebody else, and are shared by all uses."""

    name: str
    spec: Spec
    layout: Layout
    lanes: Lanes
    reward: RewardFunction
    success: SuccessFunction | None
    measured_by: Measure
    reward_scale: float
    """What rewards are multiplied by for the learner."""
    usual_value: float
    """What is zero for the learner."""
    episode_steps: float
    """Mean length of an episode of the base."""

    @property
    def learner_spec(self) -> Spec:
        """The spec with rewards as the learner sees them."""
        low, high = self.spec.reward_range
        return self.spec._replace(reward_range=(low * self.reward_scale, high * self.reward_scale))

    def learner_reward(self, reward: Array, discount: Array) -> Array:
        """Rewards `[B]` as the learner sees them, where the next state's value counts for `discount` `[B]`.

        Every value is then `scale * (value - usual_value)`, and nothing is preferred that was not: with `V = r + d V'`, it is
        `V - u = r - (1 - d) u + d (V' - u)`, also where the world ended the episode (d = 0) or several steps are summed up.
        """
        scale, usual = np.float32(self.reward_scale), np.float32(self.usual_value)
        return scale * (reward - (1 - discount) * usual)

    def make_envs(
        self,
        num_envs: int = 1,
        *,
        num_threads: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        with_state: bool = False,
    ) -> Lanes:
        """The lanes that there are; the arguments of `Task.make_envs` are for worlds of the library.

        Raises:
            ResidualRLError: a controller wants to see the simulator's state.
        """
        if with_state:
            raise ResidualRLError(
                f"{self.name} shows no simulator state: a controller that reads it works in its own task only"
            )
        return self.lanes
