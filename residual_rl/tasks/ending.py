"""Worlds that end their own episodes: by a success, or when it can no longer come. Without goals, as Gymnasium environments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from residual_rl.tasks.gymnasium_envs import State, World, WorldVectorEnv
from residual_rl.tasks.task import Task
from residual_rl.types import Observation, StepInfo

ENDS = "terminated", "truncated"
"""Signals that are returned beside the info, not in it."""
StepReward = Callable[[StepInfo], np.ndarray]
"""The reward of a step `[E]` from its info, which holds what `EndingWorld.signals` returned."""


class EndingWorld(World, Protocol):
    """A world that knows when an episode is over. Its goals have width 0."""

    def signals(self, state: State) -> Mapping[str, np.ndarray]:
        """Return the outcome of the last step: `is_success` and `terminated` `[E]` bool; more entries go into the info.

        If it has `truncated` `[E]` bool, these episodes end too, although they could go on.
        """
        ...


def reward_success(info: StepInfo) -> np.ndarray:
    """Return 1 for the step that ends an episode with success, else 0: `[E]`."""
    return np.asarray(info["is_success"], np.float64)


def reward_time(info: StepInfo) -> np.ndarray:
    """Return 0 for the step that ends an episode with success, else -1: `[E]`."""
    return reward_success(info) - 1.0


def reward_shaped(info: StepInfo) -> np.ndarray:
    """Return the world's own dense reward: `[E]`."""
    return np.asarray(info["dense_reward"], np.float64)


class EndingVectorEnv(WorldVectorEnv):
    """All lanes of a world that ends its own episodes, stepped together.

    With autoreset DISABLED a lane that has ended repeats its last observation, with reward 0, until it is reset.

    The `info` of a step holds `is_success` `[E]` bool, `observation` and `action` as in the other tasks, and other signals of
    the world.

    Args:
        world: the physics; may be shared between environments.
        reward: of a step, from its info.
        num_envs: number of lanes E.
        autoreset_mode: NEXT_STEP or DISABLED.
        max_episode_steps: length of an episode at most; None for the task's horizon.
        with_state: whether observations hold the simulator's state too, `[E, S]`.
    """

    world: EndingWorld

    def __init__(
        self,
        world: EndingWorld,
        reward: StepReward,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        with_state: bool = False,
    ):
        super().__init__(world, no_goal(reward), no_success, num_envs, autoreset_mode, max_episode_steps, with_state)
        self.step_reward = reward

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply one action `[E, A]` in every lane; values beyond the action space are clipped to it.

        Raises:
            ResetNeeded: there was no reset yet.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        before = self._state
        over = np.logical_or(*self._ends())
        action = np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0)
        self._state = self.world.step(before, action)
        self._elapsed += 1
        if over.any():
            if self.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
                for new, kept in zip(self._state, before, strict=True):
                    new[over] = kept[over]
                self._elapsed[over] -= 1
            else:
                self._restart(np.flatnonzero(over).tolist())
        observation = self._observe()
        terminated, truncated = self._ends()
        signals = {name: value for name, value in self.world.signals(self._state).items() if name not in ENDS}
        info = {**signals, "observation": observation["observation"].copy(), "action": action}
        reward = np.where(over, 0.0, self.step_reward(info))
        return observation, reward, terminated, truncated, info

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Return which episodes are terminated, and which truncated: `[E]` bool each."""
        signals, late = self.world.signals(self._state), self._elapsed >= self.horizon
        terminated = signals["terminated"]
        return terminated, ~terminated & (late | signals.get("truncated", False))


def no_goal(reward: StepReward) -> Callable[[np.ndarray, np.ndarray, StepInfo], np.ndarray]:
    """Return a reward of a step as a `RewardFunction`, whose goals have width 0."""
    return lambda achieved_goal, desired_goal, info: reward(info)


def no_success(achieved_goal: np.ndarray, desired_goal: np.ndarray) -> np.ndarray:
    """Return False for each row: goals of width 0 tell nothing; `is_success` in the info does."""
    return np.zeros(np.shape(achieved_goal)[:-1], dtype=bool)


@dataclass(frozen=True)
class EndingTask(Task):
    """A task whose world ends its own episodes."""

    step_reward: StepReward = reward_success
    """The reward of a step, from its info."""

    def make_envs(
        self,
        num_envs: int = 1,
        *,
        num_threads: int | None = None,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        with_state: bool = False,
    ) -> EndingVectorEnv:
        """Return a vector environment of this task; its arguments are `EndingVectorEnv`'s."""
        world: Any = self.make_world(num_threads)
        return EndingVectorEnv(world, self.step_reward, num_envs, autoreset_mode, max_episode_steps, with_state)
