"""What a user-supplied environment is to the rest of the library."""

from dataclasses import dataclass

import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.errors import ResidualRLError
from residual_rl.spaces import Layout
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import Array, Measure, RewardFunction, Spec, SuccessFunction


@dataclass(frozen=True)
class CustomTask:
    """To the rest of the library what a `Task` is: its environments are the user's, and all uses share them."""

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
        """Rewards `[B]` as the learner sees them, if the next state's value counts for `discount` `[B]`: float64.

        Every value is then `scale * (value - usual_value)`, and nothing is preferred that was not: with `V = r + d V'`, it is
        `V - u = r - (1 - d) u + d (V' - u)`, also if the world ended the episode (d = 0). A constant that is added to
        every reward is in u, and leaves what is learned from as it was; not so if the world can end an episode early, for then
        the constant pays for every step that the end is put off.
        """
        return self.reward_scale * (np.asarray(reward, np.float64) - self._usual_reward(discount))

    def own_reward(self, reward: Array, discount: Array) -> Array:
        """The inverse of `learner_reward`: rewards `[B]` as the environment gave them, float64."""
        return np.asarray(reward, np.float64) / self.reward_scale + self._usual_reward(discount)

    def _usual_reward(self, discount: Array) -> Array:
        """What a step must pay so that the values before and after it are usual. The replay's discounts are rounded: not so."""
        return np.where(np.asarray(discount) > 0.0, 1.0 - self.spec.discount, 1.0) * self.usual_value

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
