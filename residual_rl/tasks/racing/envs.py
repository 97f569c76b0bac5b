"""Racing through Gymnasium's doors: episodes end by a collision or with their second lap, not by time alone."""

import sys
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from residual_rl.tasks.gymnasium_envs import WorldVectorEnv, observation_space
from residual_rl.tasks.racing.car import STEP_SECONDS
from residual_rl.tasks.racing.world import COLLISION_COST, MOST_PROGRESS, STATE_SIZE, RacingWorld, State
from residual_rl.types import Observation, StepInfo, Timing, select


def reward(achieved_goal: np.ndarray, desired_goal: np.ndarray, info: StepInfo) -> np.ndarray:
    """Return what steps are worth, in metres: `[B]`, from `progress` and `collision` `[B]` in their info.

    Progress along the centre line, minus 20 m for a collision.
    """
    progress = np.clip(info["progress"], -MOST_PROGRESS, MOST_PROGRESS)
    return progress - COLLISION_COST * np.asarray(info["collision"], dtype=float)


def success(achieved_goal: np.ndarray, desired_goal: np.ndarray) -> np.ndarray:
    """Return False for each row: goals of width 0 tell nothing; the info's `is_success` says who has finished."""
    return np.zeros(np.shape(achieved_goal)[:-1], dtype=bool)


class RacingVectorEnv(WorldVectorEnv):
    """All cars of a world, stepped together.

    A collision terminates an episode; its second lap truncates it, since the race could go on, as does the horizon. With
    autoreset DISABLED a lane that has ended shows the same again, with reward 0, until it is reset.

    The `info` of a step holds `is_success` `[E]` bool (the race is finished), `observation` and `action` as everywhere, and
    `progress` `[E]` m in this step, `collision` `[E]` bool, `track` `[E]` number of the track, `lap_times` `[E, 2]` s since the
    start when each lap was completed and `race_time` `[E]` s when the race was finished; infinite if that has not happened.

    Args:
        world: the cars and their tracks.
        num_envs: number of lanes E.
        autoreset_mode: NEXT_STEP or DISABLED.
        max_episode_steps: when episodes end that did not end before; None for the horizon.
        with_state: whether observations hold what a driver with a map is shown, `[E, 256]`.
    """

    world: RacingWorld

    def __init__(
        self,
        world: RacingWorld,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        with_state: bool = False,
    ):
        super().__init__(world, reward, success, num_envs, autoreset_mode, max_episode_steps)
        self.with_state = with_state
        self.single_observation_space = observation_space(world.spec, STATE_SIZE if with_state else None)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    @property
    def timing(self) -> Timing:
        """Seconds until the race is finished, track by track."""
        names = tuple(track.name for track in self.world.circuits.tracks)
        return Timing(unit="s", step=STEP_SECONDS, entry="race_time", scene="track", scenes=names)

    def _observe(self) -> Observation:
        observation = self.world.observe(self._state, self._goal)
        if self.with_state:
            observation["state"] = self.world.with_map(self._state.physics)
        return observation

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action `[E, 2]` in every lane; values beyond the action space are clipped to it.

        Raises:
            ResetNeeded: nothing was reset yet.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        before: State = self._state
        over = np.logical_or(*self._ends())
        action = np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0)
        self._state = self.world.step(before, action)
        self._elapsed += 1
        if over.any():
            if self.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
                for fresh, kept in zip(self._state, before, strict=True):
                    fresh[over] = kept[over]
                self._elapsed[over] -= 1
            else:
                self._restart(np.flatnonzero(over).tolist())
        state: State = self._state
        terminated, truncated = self._ends()
        observation = self._observe()
        info = {
            "is_success": state.finished,
            "observation": observation["observation"].copy(),
            "action": action,
            "progress": state.progress,
            "collision": state.collided,
            "track": state.physics[:, 8].astype(np.int64),
            "lap_times": state.lap_times,
            "race_time": np.where(state.finished, state.lap_times[:, -1], np.inf),
        }
        rewards = np.where(over, 0.0, self.reward(observation["achieved_goal"], observation["desired_goal"], info))
        return observation, rewards, terminated, truncated, info

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Which episodes are terminated, and which truncated: `[E]` bool each."""
        state: State = self._state
        return state.collided, ~state.collided & (state.finished | (self._elapsed >= self.horizon))


class RacingEnv(gymnasium.Env):
    """One car: a batch of one, as `gymnasium.make` gives it."""

    def __init__(self, world: RacingWorld, with_state: bool = False):
        self._envs = RacingVectorEnv(world, 1, AutoresetMode.DISABLED, sys.maxsize, with_state)
        self.observation_space = self._envs.single_observation_space
        self.action_space = self._envs.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """A new episode."""
        super().reset(seed=seed)
        observation, _ = self._envs.reset(seed=None if seed is None else [seed])
        return select(observation, 0), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One action `[2]` in [-1, 1]; the info is that of `RacingVectorEnv`, without its axis of lanes."""
        observation, rewards, terminated, truncated, info = self._envs.step(np.asarray(action)[None])
        of_lane = {name: value[0] for name, value in info.items()}
        flags = {name: bool(of_lane[name]) for name in ("is_success", "collision")}
        return select(observation, 0), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), of_lane | flags

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: StepInfo) -> np.ndarray:
        """The reward of a step with this info."""
        return reward(achieved_goal, desired_goal, info)

    def close(self) -> None:
        """End the threads."""
        self._envs.close()
