"""Gymnasium's two interfaces to a batched world: a vector environment, and a single environment as a batch of one."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from residual_rl.types import Observation, RewardFunction, Spec, StepInfo, SuccessFunction, select

State = Any  # a NamedTuple of arrays with leading axis [E]; only its world looks inside


class World(Protocol):
    """Physics and rules of a task, for a batch of episodes. Stateless: states are arguments and results."""

    spec: Spec

    def reset(self, rngs: Sequence[np.random.Generator]) -> tuple[State, np.ndarray]:
        """Start an episode for each generator; return state and desired goals `[E, G]`."""
        ...

    def step(self, state: State, action: np.ndarray) -> State:
        """Return the state after one action `[E, A]` in [-1, 1]."""
        ...

    def observe(self, state: State, goal: np.ndarray) -> Observation:
        """Return the observation of a state."""
        ...

    def model_of(self, state: State, lane: int) -> Any:
        """Return the MuJoCo model of one lane's episode, with the physics state `state.physics[lane]`, for drawing."""
        ...

    def close(self) -> None:
        """Free threads."""
        ...


class WorldVectorEnv(gymnasium.vector.VectorEnv):
    """All lanes of a world, stepped together.

    The `info` of a step holds `is_success` `[E]` bool, whether the goal is reached at this step, and the arguments of
    `compute_reward`: `observation` `[E, O]` and `action` `[E, A]`, clipped. Episodes end only by the time limit.

    Args:
        world: the physics; may be shared between environments.
        reward: `[B, G], [B, G], info -> [B]`.
        success: `[B, G], [B, G] -> [B]` bool.
        num_envs: number of lanes E.
        autoreset_mode: NEXT_STEP (Gymnasium's default) resets a finished lane at the next `step`, whose action is
            ignored. DISABLED leaves that to the caller: `reset(options={"reset_mask": mask})`.
        max_episode_steps: length of an episode; None for the task's horizon.
        with_state: whether observations hold the simulator's state too, `[E, S]`; for controllers that plan.

    Raises:
        ValueError: an autoreset mode, or a state that this world does not have.
    """

    def __init__(
        self,
        world: World,
        reward: RewardFunction,
        success: SuccessFunction,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        with_state: bool = False,
    ):
        if autoreset_mode == AutoresetMode.SAME_STEP:
            raise ValueError("autoreset_mode must be NEXT_STEP or DISABLED, not SAME_STEP")
        self.world = world
        self.reward = reward
        self.success = success
        self.num_envs = num_envs
        self.horizon = world.spec.horizon if max_episode_steps is None else max_episode_steps
        self.metadata = {"autoreset_mode": autoreset_mode, "render_modes": []}
        self.with_state = with_state
        self.single_observation_space = observation_space(world.spec, self._state_size() if with_state else None)
        self.single_action_space = action_space(world.spec)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._state: State = None
        self._goal = np.zeros((num_envs, world.spec.goal_size))
        self._elapsed = np.zeros(num_envs, dtype=int)

    @property
    def task_spec(self) -> Spec:
        """The spec of the task whose world this is."""
        return self.world.spec

    @property
    def state(self) -> State:
        """The state of the episodes, as the world's own `step` takes and returns it."""
        return self._state

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start new episodes, in all lanes or in those of `options["reset_mask"]` (`[E]` bool).

        An integer seed gives lane i the seed `seed + i`. The same seed gives the same episode in any lane.

        Raises:
            ValueError: the mask, or a sequence of seeds, is not one for each lane.
        """
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        if mask.shape != (self.num_envs,) or mask.dtype != bool:
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},), not {mask.dtype}{mask.shape}")
        seeds = self._seeds(seed)
        lanes = np.flatnonzero(mask).tolist()
        for lane in lanes:
            if seeds[lane] is not None:
                self._rngs[lane] = np.random.default_rng(seeds[lane])
        self._restart(lanes)
        return self._observe(), {}

    def _seeds(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [int(seed) + lane for lane in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"one seed for each of the {self.num_envs} lanes is needed, got {len(seed)}")
        return seed

    def _restart(self, lanes: list[int]) -> None:
        fresh, goal = self.world.reset([self._rngs[lane] for lane in lanes])
        if self._state is None:
            if len(lanes) < self.num_envs:
                raise gymnasium.error.ResetNeeded("the first reset must be of all lanes")
            self._state = fresh
        else:
            for kept, new in zip(self._state, fresh, strict=True):
                kept[lanes] = new
        self._goal[lanes] = goal
        self._elapsed[lanes] = 0

    def _observe(self) -> Observation:
        observation = self.world.observe(self._state, self._goal)
        if self.with_state:
            observation["state"] = self._shown_state()
        return observation

    def _state_size(self) -> int:
        """Return S, the size of the state that is shown; raise ValueError if the world's states hold none."""
        return state_size(self.world)

    def _shown_state(self) -> np.ndarray:
        """Return the state that is shown, if it is: `[E, S]`."""
        return self._state.physics.copy()

    def step(self, actions: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply one action `[E, A]` in every lane; values beyond the action space are clipped to it.

        Returns:
            `Observation[E]`, reward, terminated and truncated `[E]`, and an info with `is_success` `[E]`.

        Raises:
            ResetNeeded: there was no reset yet, or episodes have ended that only `reset` restarts.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        finished = self._elapsed >= self.horizon
        if finished.any() and self.metadata["autoreset_mode"] == AutoresetMode.DISABLED:
            raise gymnasium.error.ResetNeeded(f"lanes {np.flatnonzero(finished).tolist()} have ended: reset them first")
        action = np.clip(np.asarray(actions, dtype=np.float64), -1.0, 1.0)
        self._state = self.world.step(self._state, action)
        self._elapsed += 1
        if finished.any():
            self._restart(np.flatnonzero(finished).tolist())
        observation = self._observe()
        achieved, desired = observation["achieved_goal"], observation["desired_goal"]
        info = {
            "is_success": self.success(achieved, desired),
            "observation": observation["observation"].copy(),
            "action": action,
        }
        reward = np.where(finished, 0.0, self.reward(achieved, desired, info))
        truncated = self._elapsed >= self.horizon
        return observation, reward, np.zeros(self.num_envs, dtype=bool), truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        """End the physics threads."""
        self.world.close()


class WorldEnv(gymnasium.Env):
    """A single environment, a batch of one, as `gymnasium.make` returns it. Gymnasium's own time limit ends episodes.

    Args:
        envs: one lane, with autoreset DISABLED and a time limit that is never reached.
    """

    def __init__(self, envs: WorldVectorEnv):
        self._envs = envs
        self.observation_space = envs.single_observation_space
        self.action_space = envs.single_action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start a new episode."""
        super().reset(seed=seed)
        observation, _ = self._envs.reset(seed=None if seed is None else [seed])
        return select(observation, 0), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Apply one action `[A]` in [-1, 1]; the info is that of the vector environment, without its axis of lanes."""
        observation, rewards, terminated, truncated, info = self._envs.step(np.asarray(action)[None])
        of_lane = {name: value[0].item() if value.ndim == 1 else value[0] for name, value in info.items()}
        return select(observation, 0), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), of_lane

    def compute_reward(
        self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: StepInfo | Sequence[StepInfo] | None = None
    ) -> np.ndarray:
        """Return the reward of `achieved_goal` `[..., G]` for the goal `desired_goal` `[..., G]`.

        Args:
            achieved_goal: one goal, or a batch of them.
            desired_goal: the same.
            info: of that `step`. For a batch: arrays `[B, ...]` in one mapping, or one mapping for each row.
        """
        return self._envs.reward(achieved_goal, desired_goal, _batched_info(info))

    def close(self) -> None:
        """End the physics threads."""
        self._envs.close()


def _batched_info(info: StepInfo | Sequence[StepInfo] | None) -> StepInfo:
    """Return one mapping of arrays from the infos of a batch in any of their forms."""
    if info is None or isinstance(info, Mapping):
        return info or {}
    keys = [key for key in ("observation", "action") if all(key in one for one in info)]
    return {key: np.stack([one[key] for one in info]) for key in keys}


def state_size(world: World) -> int:
    """Return S, the size of the physics state in a world's `State.physics` `[E, S]`.

    Raises:
        ValueError: its states hold none.
    """
    state, _ = world.reset([np.random.default_rng(0)])
    if not hasattr(state, "physics"):
        raise ValueError(f"with_state: {type(world).__name__} has no physics state that could be shown")
    return state.physics.shape[1]


def observation_space(spec: Spec, state_size: int | None = None) -> spaces.Dict:
    """Return Gymnasium's space of one observation; with a state if its size is given."""

    def unbounded(size: int) -> spaces.Box:
        return spaces.Box(-np.inf, np.inf, (size,), np.float64)

    entries: dict[str, spaces.Space[Any]] = {
        "observation": unbounded(spec.observation_size),
        "achieved_goal": unbounded(spec.goal_size),
        "desired_goal": unbounded(spec.goal_size),
    }
    if state_size is not None:
        entries["state"] = unbounded(state_size)
    return spaces.Dict(entries)


def action_space(spec: Spec) -> spaces.Box:
    """Return Gymnasium's space of one action."""
    return spaces.Box(-1.0, 1.0, (spec.action_size,), np.float32)
