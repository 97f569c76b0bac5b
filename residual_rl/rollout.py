"""One cycle of episodes with base plus residual; the one place that knows how episodes end.

Environments do not reset themselves here (autoreset mode DISABLED): what `step` returns is always what followed the action,
also when the episode ends there, and the base is asked about it like about any other observation.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from residual_rl.controllers import Controller, naming_step, propose
from residual_rl.residual import Composition
from residual_rl.tasks.vector import WorldVectorEnv
from residual_rl.types import Observation, Transition, map_observation, select

Actor = Callable[[Observation, np.ndarray, int], np.ndarray]
"""`Observation[E], base_action [E, A], step -> residual [E, A]`."""


class Episode(NamedTuple):
    """One episode, as it was."""

    transitions: Transition
    """[T]"""
    success: bool
    """Whether the goal was reached at the last step."""


def collect(
    envs: WorldVectorEnv, controller: Controller, composition: Composition, act: Actor, seeds: list[int]
) -> tuple[list[Episode], list[str]]:
    """One episode in each lane, from `seeds` `[E]`. All lanes' episodes have the same length.

    Returns:
        The episodes, and why others were dropped: the environment raised, or showed something that is not finite.

    Raises:
        ControllerError: names the controller, the step and what is wrong with its proposal.
    """
    action_size = envs.world.spec.action_size

    def base(observation: Observation, step: int) -> np.ndarray:
        with naming_step(step):
            return composition.base_action(propose(controller, observation, action_size))

    steps: list[Transition] = []
    ended = success = np.zeros(envs.num_envs, dtype=bool)
    try:
        observation, _ = envs.reset(seed=seeds)
    except Exception as error:
        return [], [f"reset raised {type(error).__name__}: {error}"] * envs.num_envs
    broken = ~_finite(observation, np.zeros(envs.num_envs))
    if broken.all():
        return [], ["an observation was not finite"] * envs.num_envs
    if broken.any():
        # A broken lane is shown something sound throughout, so that its controller is not blamed for what the world did.
        observation = select(observation, np.where(broken, np.argmin(broken), np.arange(envs.num_envs)))
    base_action = base(observation, 0)
    while not ended.all():
        residual = act(observation, base_action, len(steps))
        action = composition.action(base_action, residual)
        try:
            next_observation, reward, terminated, truncated, info = envs.step(action)
        except Exception as error:
            return [], [f"step {len(steps)} raised {type(error).__name__}: {error}"] * envs.num_envs
        broken = broken | ~_finite(next_observation, reward)
        if broken.any():
            next_observation = _where(broken, observation, next_observation)
        next_base_action = base(next_observation, len(steps) + 1)
        steps.append(
            Transition(
                observation=observation,
                base_action=base_action,
                residual=residual,
                action=action,
                reward=reward,
                terminated=terminated,
                truncated=truncated,
                next_observation=next_observation,
                next_base_action=next_base_action,
            )
        )
        observation, base_action = next_observation, next_base_action
        ended, success = terminated | truncated, info["is_success"]
    sound = [Episode(_lane(steps, lane), bool(success[lane])) for lane in np.flatnonzero(~broken).tolist()]
    return sound, ["an observation or reward was not finite"] * int(broken.sum())


def _finite(observation: Observation, reward: np.ndarray) -> np.ndarray:
    sound = map_observation(lambda array: np.isfinite(array).all(axis=1), observation)
    return np.isfinite(reward) & sound["observation"] & sound["achieved_goal"] & sound["desired_goal"]


def _where(mask: np.ndarray, first: Observation, second: Observation) -> Observation:
    return map_observation(lambda one, other: np.where(mask[:, None], one, other), first, second)


def _lane(steps: list[Transition], lane: int) -> Transition:
    """What happened in one lane: leading axis `[T]`."""

    def over_time(values: Sequence[Any]) -> Any:
        if isinstance(values[0], dict):
            return map_observation(lambda *arrays: np.stack([array[lane] for array in arrays]), *values)
        return np.stack([value[lane] for value in values])

    return Transition(*(over_time(values) for values in zip(*steps, strict=True)))
