"""One cycle of episodes with base plus residual; the one place that knows how episodes end.

Environments do not reset themselves here (autoreset mode DISABLED): what `step` returns is always what followed the action,
also when the episode ends there, and the base is asked about it like about any other observation. Where episodes end at
different times, a lane that has ended shows the same until the last one has; what it shows then is not recorded.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from residual_rl.controllers import Controller, naming_step, propose, start_episodes
from residual_rl.errors import WorldError
from residual_rl.residual import Composition
from residual_rl.tasks.lanes import Lanes
from residual_rl.types import Observation, Transition, map_observation, select, without_state

Actor = Callable[[Observation, np.ndarray, int], np.ndarray]
"""`Observation[E], base_action [E, A], step -> residual [E, A]`."""


class Episode(NamedTuple):
    """One episode, as it was."""

    transitions: Transition
    """[T]"""
    success: bool
    """Whether the goal was reached at the last step."""


class Watch:
    """Steps environments and keeps an eye on them.

    A lane that shows something not finite is broken from then on. Its controller is shown sound observations instead, so that
    it is not blamed for what the world did, and the other lanes can go on.
    """

    def __init__(self, envs: Lanes):
        self.envs = envs
        self.broken = np.zeros(envs.num_envs, dtype=bool)
        self.ended = np.zeros(envs.num_envs, dtype=bool)
        self.lengths = np.zeros(envs.num_envs, dtype=int)
        """Steps of each lane's episode."""
        self.reasons: dict[int, str] = {}
        """Of broken lanes, where more is known than that something was not finite."""
        self.steps = 0
        self._shown: Observation | None = None

    def reset(self, seeds: Sequence[int]) -> Observation:
        """Starts an episode in each lane.

        Raises:
            WorldError: the environment raised, or no lane is sound.
        """
        try:
            observation, info = self.envs.reset(seed=list(seeds))
        except Exception as error:
            raise WorldError(f"reset raised {type(error).__name__}: {error}") from error
        self.broken = ~_finite(observation, np.zeros(self.envs.num_envs))
        self.ended = np.zeros(self.envs.num_envs, dtype=bool)
        self.lengths = np.zeros(self.envs.num_envs, dtype=int)
        self.reasons = dict(info.get("errors", {}))
        self.steps = 0
        if self.broken.all():
            raise WorldError(next(iter(self.reasons.values()), "what reset shows is not finite"))
        sound = np.where(self.broken, np.argmin(self.broken), np.arange(self.envs.num_envs))
        self._shown = select(observation, sound)
        return self._shown

    def step(self, action: np.ndarray) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What `envs.step` gives, with success `[E]` for its info. A broken lane has reward 0 and no success.

        Raises:
            WorldError: the environment raised.
        """
        try:
            observation, reward, terminated, truncated, info = self.envs.step(action)
        except Exception as error:
            raise WorldError(f"step {self.steps} raised {type(error).__name__}: {error}") from error
        self.steps += 1
        self.lengths = self.lengths + ~self.ended
        self.ended = self.ended | terminated | truncated
        self.reasons = info.get("errors", {}) | self.reasons
        self.broken = self.broken | ~_finite(observation, reward)
        self._shown = _where(self.broken, self._shown or observation, observation)
        reward = np.where(self.broken, 0.0, reward)
        return self._shown, reward, terminated, truncated, info["is_success"] & ~self.broken


def base_policy(controller: Controller, composition: Composition, action_size: int) -> Callable[[Observation], np.ndarray]:
    """`Observation[B] -> base_action [B, A]`: the controller's proposal, checked, as it takes part in the sum."""
    return lambda observation: composition.base_action(propose(controller, observation, action_size))


def collect(
    envs: Lanes, controller: Controller, composition: Composition, act: Actor, seeds: list[int]
) -> tuple[list[Episode], list[str]]:
    """One episode in each lane, from `seeds` `[E]`.

    Returns:
        The episodes, and why others were dropped: the environment raised, or showed something that is not finite.

    Raises:
        ControllerError: names the controller, the step and what is wrong with its proposal.
    """
    base = base_policy(controller, composition, envs.task_spec.action_size)
    watch = Watch(envs)
    steps: list[Transition] = []
    success = np.zeros(envs.num_envs, dtype=bool)
    try:
        observation = watch.reset(seeds)
        with naming_step(0):
            start_episodes(controller, envs.num_envs)
            base_action = base(observation)
        while not watch.ended.all():
            residual = act(without_state(observation), base_action, len(steps))
            action = composition.action(base_action, residual)
            next_observation, reward, terminated, truncated, success = watch.step(action)
            with naming_step(watch.steps):
                next_base_action = base(next_observation)
            steps.append(
                Transition(
                    observation=without_state(observation),
                    base_action=base_action,
                    residual=residual,
                    action=action,
                    reward=reward,
                    terminated=terminated,
                    truncated=truncated,
                    next_observation=without_state(next_observation),
                    next_base_action=next_base_action,
                )
            )
            observation, base_action = next_observation, next_base_action
    except WorldError as error:
        return [], [str(error)] * envs.num_envs
    over_time = _over_time(steps)
    sound = [
        Episode(_lane(over_time, lane, int(watch.lengths[lane])), bool(success[lane]))
        for lane in np.flatnonzero(~watch.broken).tolist()
    ]
    why = [watch.reasons.get(lane, "an observation or reward was not finite") for lane in np.flatnonzero(watch.broken).tolist()]
    return sound, why


def _finite(observation: Observation, reward: np.ndarray) -> np.ndarray:
    sound = map_observation(lambda array: np.isfinite(array).all(axis=1), observation)
    shown = sound["observation"] & sound["achieved_goal"] & sound["desired_goal"] & sound.get("state", True)
    return np.isfinite(reward) & shown


def _where(mask: np.ndarray, first: Observation, second: Observation) -> Observation:
    return map_observation(lambda one, other: np.where(mask[:, None], one, other), first, second)


def _over_time(steps: list[Transition]) -> Transition:
    """What happened in all lanes: leading axes `[T, E]`."""

    def stacked(values: Sequence[Any]) -> Any:
        if isinstance(values[0], dict):
            return map_observation(lambda *arrays: np.stack(arrays), *values)
        return np.stack(values)

    return Transition(*(stacked(values) for values in zip(*steps, strict=True)))


def _lane(steps: Transition, lane: int, length: int) -> Transition:
    """What happened in one lane until its end: leading axis `[T]`."""

    def of_lane(values: Any) -> Any:
        if isinstance(values, dict):
            return map_observation(lambda array: array[:length, lane], values)  # type: ignore[arg-type]
        return values[:length, lane]

    return Transition(*(of_lane(values) for values in steps))
