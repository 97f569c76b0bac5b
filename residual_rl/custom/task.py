"""The task of a user-supplied environment."""

from dataclasses import dataclass

import numpy as np

from residual_rl.errors import ResidualRLError
from residual_rl.spaces import Layout
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import Array, Measure, RewardFunction, Spec, SuccessFunction


@dataclass(frozen=True)
class CustomTask:
    """An `AnyTask` whose environments are user-supplied, and shared by all uses."""

    name: str
    spec: Spec
    layout: Layout
    shared_lanes: Lanes
    """The lanes of all uses. Their number was decided when the environment was opened."""
    reward: RewardFunction
    success: SuccessFunction | None
    measured_by: Measure
    reward_scale: float
    """Factor of the rewards for the learner."""
    usual_value: float
    """The value that is zero for the learner."""
    episode_steps: float
    """Mean length of an episode of the base."""

    @property
    def learner_spec(self) -> Spec:
        """The spec with rewards as the learner sees them."""
        low, high = self.spec.reward_range
        return self.spec._replace(reward_range=(low * self.reward_scale, high * self.reward_scale))

    def learner_reward(self, reward: Array, discount: Array) -> Array:
        """Return rewards `[B]` as the learner sees them, if the next state's value counts for `discount` `[B]`: float64.

        Every value is then `scale * (value - usual_value)`, and preferences do not change: with `V = r + d V'`, it is
        `V - u = r - (1 - d) u + d (V' - u)`, also if the environment ended the episode (d = 0). A constant added to every
        reward is in u and does not change the learner's rewards; unless the environment can end an episode early, because then
        the constant pays for every further step.
        """
        return self.reward_scale * (np.asarray(reward, np.float64) - self._usual_reward(discount))

    def own_reward(self, reward: Array, discount: Array) -> Array:
        """Return the inverse of `learner_reward`: rewards `[B]` as the environment gave them, float64."""
        return np.asarray(reward, np.float64) / self.reward_scale + self._usual_reward(discount)

    def _usual_reward(self, discount: Array) -> Array:
        """Return the reward of a step with the usual value before and after it, by discounts without the replay's rounding."""
        return np.where(np.asarray(discount) > 0.0, 1.0 - self.spec.discount, 1.0) * self.usual_value

    def open_lanes(self, wanted: int = 1, *, num_threads: int | None = None, with_state: bool = False) -> Lanes:
        """Return the shared lanes, however many are wanted. `Opened` closes them; closing them here does nothing.

        Raises:
            ResidualRLError: a controller needs the simulator's state.
        """
        if with_state:
            raise ResidualRLError(
                f"{self.name} shows no simulator state: a controller that reads it works in its own task only"
            )
        return self.shared_lanes
