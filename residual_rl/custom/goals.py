"""Reward and success of a user-supplied goal environment at other goals, checked against its own steps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as record

from residual_rl.errors import WorldError
from residual_rl.spaces import Layout
from residual_rl.types import RewardFunction, SuccessFunction, Transition, row_of

SuccessName = Literal["is_success", "_is_success"]
"""Methods `achieved_goal, desired_goal -> bool`; gymnasium-robotics has the second.

A run's file names one of them; no other is ever called.
"""


@record(frozen=True, config=ConfigDict(extra="forbid"))
class GoalRules:
    """How to compute an environment's reward and success at other goals."""

    in_batches: bool
    """Whether its compute_reward takes many goals at once."""
    success: SuccessName | None
    """The method that decides whether a goal is reached; without one, hindsight uses every goal."""


@dataclass(frozen=True)
class Goals:
    """Reward and success as functions of goals, for hindsight."""

    reward: RewardFunction
    success: SuccessFunction | None
    """None if it is unknown."""


NO_GOALS = Goals(reward=lambda achieved, desired, info: np.zeros(len(achieved)), success=None)


def goals_of(env: gymnasium.Env | None, layout: Layout, rules: GoalRules | None) -> Goals:
    """Return an environment's reward and success as functions of flat goals."""
    if rules is None:
        return NO_GOALS
    compute = _attribute(env, "compute_reward")
    assert compute is not None
    reward = _in_batches(compute, layout) if rules.in_batches else _one_by_one(compute, layout)
    method = rules.success and _attribute(env, rules.success)
    return Goals(reward, _success(method, layout) if method else None)


def find_rules(
    env: gymnasium.Env | None, layout: Layout, episodes: Sequence[Transition], succeeded: list[bool] | None
) -> tuple[GoalRules | None, str]:
    """Return how to compute an environment's reward at other goals, or None and the reason why that is impossible.

    Args:
        env: one of the environments; None for a vector environment that hides them.
        layout: of the environment.
        episodes: the first episodes, `[T]` each.
        succeeded: which of them succeeded, as the environment reported; None if it reports nothing.
    """
    if _attribute(env, "compute_reward") is None:
        return None, "it has no compute_reward"
    steps = [episode.next_observation for episode in episodes]
    achieved, desired = (np.concatenate([one[key] for one in steps]) for key in ("achieved_goal", "desired_goal"))
    live = np.concatenate([episode.reward for episode in episodes])
    why = ""
    for in_batches in (True, False):
        try:
            reward = goals_of(env, layout, GoalRules(in_batches, None)).reward
            computed = reward(achieved, desired, {})
            elsewhere = reward(achieved, achieved, {}), reward(achieved, achieved[::-1].copy(), {})
        except Exception as error:
            why = f"its compute_reward raised {type(error).__name__}: {error}"
            continue
        if not np.isfinite(elsewhere).all():
            why = "its compute_reward is not finite at goals that were reached"
        elif np.allclose(computed, live, rtol=1e-4, atol=1e-5):
            return GoalRules(in_batches, _success_name(env, layout, episodes, succeeded)), ""
        else:
            index = int(np.argmax(np.abs(computed - live)))
            why = f"its compute_reward gives {computed[index]:g} where step gave {live[index]:g}"
    return None, why


def is_sparse(goals: Goals, episodes: Sequence[Transition]) -> bool:
    """Return whether rewards are -1 or 0: observed ones, those at reached goals, and those at goals of other steps."""

    def seen() -> Iterator[np.ndarray]:
        for steps in episodes:
            achieved = steps.next_observation["achieved_goal"]
            yield from (steps.reward, goals.reward(achieved, achieved, {}), goals.reward(achieved, achieved[::-1].copy(), {}))

    return set(np.unique(np.concatenate(list(seen()))).tolist()) <= {-1.0, 0.0}


def _success_name(
    env: gymnasium.Env | None, layout: Layout, episodes: Sequence[Transition], succeeded: list[bool] | None
) -> SuccessName | None:
    """Return the environment's own predicate, if it has one that agrees with the reported successes."""
    last = [steps.next_observation for steps in episodes]
    achieved, desired = (np.stack([one[key][-1] for one in last]) for key in ("achieved_goal", "desired_goal"))
    for name in get_args(SuccessName):
        method = _attribute(env, name)
        if method is None or succeeded is None:
            continue
        success = _success(method, layout)
        twice = np.concatenate([achieved, achieved])  # with a single goal, a predicate that is not batched would pass
        try:
            if success(twice, np.concatenate([desired, desired])).tolist() == 2 * succeeded and success(twice, twice).all():
                return name
        except WorldError:  # then it is not the predicate that is searched
            continue
    return None


def _attribute(env: gymnasium.Env | None, name: str) -> Callable[..., Any] | None:
    if env is None:
        return None
    try:
        found = env.get_wrapper_attr(name)
    except AttributeError:
        return None
    return found if callable(found) else None


def _success(method: Callable[..., Any], layout: Layout) -> SuccessFunction:
    def success(achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        try:
            reached = np.asarray(method(layout.goals(achieved), layout.goals(desired)))
            return reached.astype(bool).reshape(len(achieved))
        except Exception as error:
            name = getattr(method, "__name__", "the predicate of success")
            raise WorldError(f"{name} raised {type(error).__name__} at goals that were achieved: {error}") from error

    return success


def _in_batches(compute: Callable[..., Any], layout: Layout) -> RewardFunction:
    def reward(achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        infos: list[dict[str, Any]] = [{}] * len(achieved)
        values = np.asarray(compute(layout.goals(achieved), layout.goals(desired), infos), np.float64)
        if values.shape != (len(achieved),):
            raise ValueError(f"shape {values.shape} for {len(achieved)} goals")
        return values

    return reward


def _one_by_one(compute: Callable[..., Any], layout: Layout) -> RewardFunction:
    def reward(achieved: np.ndarray, desired: np.ndarray, info: Any) -> np.ndarray:
        ours, theirs = layout.goals(achieved), layout.goals(desired)
        return np.array([float(compute(row_of(ours, i), row_of(theirs, i), {})) for i in range(len(achieved))])

    return reward
