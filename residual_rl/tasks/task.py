"""The record of a task of the library, and the interface that training and evaluation use."""

import sys
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
    """A task: a world, its rules, and its usual controller."""

    name: str
    summary: str
    """One line for `residual-rl list`."""
    gymnasium_id: str
    spec: Spec
    default_controller: str
    """A key of `CONTROLLERS`."""
    make_world: Callable[[int | None], World]
    """Makes the world with a number of physics threads (None: one per core)."""
    reward: RewardFunction
    """`achieved_goal [B, G], desired_goal [B, G], info -> [B]`; hindsight calls it with other goals."""
    success: SuccessFunction
    """`achieved_goal [B, G], desired_goal [B, G] -> [B]` bool; an episode succeeds by its last step."""
    measured_by: Measure = "success"
    """The measure of an episode: its success, or, if hardly any policy succeeds, its return."""
    published: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Fields of `Config` that the preset `silver2018` has for this task. Source: the configurations of Silver et al. 2018."""
    view: View | None = None
    """The view for drawing; None for a world that cannot be drawn."""
    selection_task: str | None = None
    """Name of the task whose episodes select a checkpoint, in scenes that training never shows; None for this one."""
    verdict_task: str | None = None
    """Name of the task whose episodes decide the verdict, in scenes that neither training nor selection shows; None for this
    one."""

    @property
    def episode_steps(self) -> float:
        """Mean length of an episode: the horizon, since nothing ends these episodes early."""
        return self.spec.horizon

    def learner_reward(self, reward: Array, discount: Array) -> Array:
        """Return rewards `[B]` as the learner sees them: unchanged, since it was tuned on these tasks."""
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

    def open_lanes(self, wanted: int = 1, *, num_threads: int | None = None, with_state: bool = False) -> Lanes:
        """Return so many lanes to roll out in, each of which stops when its episode ends; see `AnyTask`."""
        disabled = AutoresetMode.DISABLED
        return self.make_envs(wanted, num_threads=num_threads, autoreset_mode=disabled, with_state=with_state)

    def make_env(self, *, with_state: bool = False) -> WorldEnv:
        """Return a single environment of this task, without its time limit (`gymnasium.make` adds that)."""
        disabled, never = AutoresetMode.DISABLED, sys.maxsize
        return WorldEnv(
            self.make_envs(1, num_threads=1, autoreset_mode=disabled, max_episode_steps=never, with_state=with_state)
        )

    def register(self) -> None:
        """Register this task with Gymnasium, as a single and as a vector environment."""
        gymnasium.register(
            self.gymnasium_id,
            entry_point=self.make_env,  # type: ignore[arg-type]
            vector_entry_point=self.make_envs,  # type: ignore[arg-type]
            max_episode_steps=self.spec.horizon,
        )


class AnyTask(Protocol):
    """The interface of a task for training and evaluation, for the library's own and for user-supplied environments."""

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

    def open_lanes(self, wanted: int = 1, *, num_threads: int | None = None, with_state: bool = False) -> Lanes:
        """Return lanes to roll out in. A lane stops when its episode ends.

        Args:
            wanted: number of lanes. A user-supplied environment has as many as it was opened with: read `num_envs`.
            num_threads: threads of the library's own physics; None for one per core.
            with_state: show the simulator's state, for a controller that reads it.
        """
        ...
