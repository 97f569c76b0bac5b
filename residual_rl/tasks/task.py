"""What a task is to the rest of the library."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium
from gymnasium.vector import AutoresetMode

from residual_rl.tasks.gymnasium_envs import World, WorldEnv, WorldVectorEnv
from residual_rl.tasks.lanes import Lanes
from residual_rl.tasks.view import View
from residual_rl.types import Array, Measure, RewardFunction, Spec, SuccessFunction


@dataclass(frozen=True)
class Task:
    """The problem: a world, its rules, and the controller that it is usually given to."""

    name: str
    summary: str
    """One line for `residual-rl list`."""
    gymnasium_id: str
    spec: Spec
    default_controller: str
    """A key of `CONTROLLERS`."""
    make_world: Callable[[int | None], World]
    """From a number of physics threads (None: one for each core)."""
    reward: RewardFunction
    """`achieved_goal [B, G], desired_goal [B, G], info -> [B]`: what hindsight asks with other goals."""
    success: SuccessFunction
    """`achieved_goal [B, G], desired_goal [B, G] -> [B]` bool; an episode succeeds by its last step."""
    measured_by: Measure = "success"
    """What tells a good episode from a bad one: its success, or, where hardly any policy succeeds, its return."""
    published: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Fields of `Config` that the preset `silver2018` has for this task. Source: the configurations of Silver et al. 2018."""
    view: View | None = None
    """How it is looked at; None for a world that cannot be drawn."""

    @property
    def episode_steps(self) -> float:
        """Mean length of an episode: that of the longest, which nothing in these worlds ends early."""
        return self.spec.horizon

    def learner_reward(self, reward: Array, discount: Array) -> Array:
        """Return rewards `[B]` as the learner sees them, which was tuned on the tasks of this library: as they are."""
        return reward

    def own_reward(self, reward: Array, discount: Array) -> Array:
        """Return the inverse of `learner_reward`."""
        return reward

    @property
    def learner_spec(self) -> Spec:
        """The spec with rewards as the learner sees them."""
        return self.spec

    def make_envs(
        self,
        num_envs: int = 1,
        *,
        num_threads: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        with_state: bool = False,
    ) -> WorldVectorEnv:
        """Return a vector environment of this task; its arguments are `WorldVectorEnv`'s."""
        world = self.make_world(num_threads)
        return WorldVectorEnv(world, self.reward, self.success, num_envs, autoreset_mode, max_episode_steps, with_state)

    def make_env(self, *, with_state: bool = False) -> WorldEnv:
        """Return a single environment of this task, without its time limit (`gymnasium.make` adds that)."""
        return WorldEnv(self.make_world(1), self.reward, self.success, with_state)

    def register(self) -> None:
        """Opens both of Gymnasium's doors to this task."""
        gymnasium.register(
            self.gymnasium_id,
            entry_point=self.make_env,  # type: ignore[arg-type]
            vector_entry_point=self.make_envs,  # type: ignore[arg-type]
            max_episode_steps=self.spec.horizon,
        )


class AnyTask(Protocol):
    """What training and evaluation need to know of a task: the library's own and user-supplied environments have it."""

    @property
    def name(self) -> str:
        """The task's name."""
        ...

    @property
    def spec(self) -> Spec:
        """Sizes, horizon and rewards as the environment has them."""
        ...

    @property
    def episode_steps(self) -> float:
        """Mean length of an episode of the base."""
        ...

    @property
    def learner_spec(self) -> Spec:
        """The spec with rewards as the learner sees them."""
        ...

    @property
    def measured_by(self) -> Measure:
        """Success rate or return."""
        ...

    @property
    def reward(self) -> RewardFunction:
        """`achieved_goal [B, G], desired_goal [B, G], info -> [B]`."""
        ...

    @property
    def success(self) -> SuccessFunction | None:
        """`achieved_goal [B, G], desired_goal [B, G] -> [B]` bool; None if the environment has no such predicate."""
        ...

    def learner_reward(self, reward: Array, discount: Array) -> Array:
        """Return rewards `[B]` as the learner sees them, if the next state's value counts for `discount` `[B]`."""
        ...

    def own_reward(self, reward: Array, discount: Array) -> Array:
        """Return the inverse of `learner_reward`: rewards `[B]` as the environment gave them."""
        ...

    def make_envs(
        self,
        num_envs: int = 1,
        *,
        num_threads: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        with_state: bool = False,
    ) -> Lanes:
        """Environments to roll out in."""
        ...
