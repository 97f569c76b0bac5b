"""Hindsight: relabel transitions with goals that were achieved later in the episode.

A residual needs more care than an action. The executed action does not depend on the goal, but the base action does, and so
does the residual that together with it gives the executed action. So the critic scores executed actions, and the base is
re-queried at the new goal, for this observation and for the next.
"""

from collections.abc import Callable

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from residual_rl.learning.history import with_history
from residual_rl.learning.replay import Replay, Windows
from residual_rl.types import Observation, RewardFunction, SuccessFunction, Transition, map_observation, with_goal

Base = Callable[[Observation], np.ndarray]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Hindsight:
    """Which transitions are relabelled. Source: Andrychowicz et al. 2017, strategy "future"."""

    relabel_ratio: float = Field(default=0.8, ge=0, le=1)
    """Share of a batch that gets a goal achieved later in its episode."""
    keep_achieved_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of the new goals that is used if the transition already starts at its new goal; the others keep their goal. Such
    transitions teach little but standing still, and a block that is never touched yields thousands of them."""

    def sample(
        self,
        replay: Replay,
        rng: np.random.Generator,
        size: int,
        reward: RewardFunction,
        success: SuccessFunction | None,
        base: Base | None,
        latest: int | None = None,
        steps: int = 1,
        history: int = 1,
    ) -> Transition:
        """Return transitions `[size]`, relabelled.

        Args:
            replay: the source of transitions.
            rng: the only source of randomness.
            size: number of transitions.
            reward: `achieved_goal [B, G], desired_goal [B, G], info -> [B]`, as the learner sees it; `info` also holds the
                transitions' discounts.
            success: `achieved_goal [B, G], desired_goal [B, G] -> [B]` bool; None if it is unknown: then every goal is used.
            base: `Observation[B] -> base_action [B, A]`, re-queried at the new goals; rows for which it returns NaN keep the
                stored base actions; None keeps all of them.
            latest: draw only from this many of the rows added last.
            steps: of each transition, fewer at the end of an episode. The reward is the discounted sum of theirs, the discount
                their product, the next observation that after the last of them.
            history: observations that the learner sees, joined. The base sees the present one.
        """
        numbers = replay.draw(rng, size, latest)
        goal = replay.later_achieved_goal(rng, numbers)
        chosen = rng.random(size) < self.relabel_ratio
        kept = rng.random(size) < self.keep_achieved_ratio
        batch = replay.rows(numbers)
        if success is not None:
            chosen &= ~success(batch.observation["achieved_goal"], goal) | kept
        rows = np.flatnonzero(chosen)
        lasts = numbers
        if steps == 1:
            batch = rewarded(batch, rows, goal[rows], reward)
        else:
            windows = replay.windows(numbers, steps)
            lasts = windows.last
            batch = _over_steps(replay, batch, windows, rows, goal[rows], reward)
        return with_history(relabel(batch, rows, goal[rows], base), replay, numbers, lasts, history)


def _over_steps(
    replay: Replay,
    batch: Transition,
    windows: Windows,
    rows: np.ndarray,
    goal: np.ndarray,
    reward: RewardFunction,
) -> Transition:
    """Return transitions over the windows `[B, N]` that begin with those of a batch `[B]`."""
    size, steps = windows.numbers.shape
    every = replay.rows(windows.numbers.ravel())
    of_windows = (rows[:, None] * steps + np.arange(steps)).ravel()
    every = rewarded(every, of_windows, np.repeat(goal, steps, axis=0), reward)
    rewards = every.reward.reshape(size, steps)
    discounts = np.where(windows.inside, every.discount.reshape(size, steps), 1.0).cumprod(axis=1)
    before = np.concatenate([np.ones((size, 1)), discounts[:, :-1]], axis=1)
    last = replay.rows(windows.last)
    return batch._replace(
        reward=np.where(windows.inside, before * rewards, 0.0).sum(axis=1).astype(batch.reward.dtype),
        discount=discounts[:, -1].astype(batch.discount.dtype),
        terminated=last.terminated,
        truncated=last.truncated,
        next_observation=last.next_observation,
        next_base_action=last.next_base_action,
    )


def rewarded(steps: Transition, rows: np.ndarray, goal: np.ndarray, reward: RewardFunction) -> Transition:
    """Return the steps `[B]` with the rewards of some rows `[R]` computed for other goals `[R, G]`."""
    if not len(rows):
        return steps
    after = steps.next_observation
    info = {"observation": after["observation"][rows], "action": steps.action[rows], "discount": steps.discount[rows]}
    return steps._replace(reward=_replace_rows(steps.reward, rows, reward(after["achieved_goal"][rows], goal, info)))


def relabel(batch: Transition, rows: np.ndarray, goal: np.ndarray, base: Base | None) -> Transition:
    """Return the batch with other goals `[R, G]` in some of its rows `[R]`; all other rows, and all rewards, are untouched."""
    if not len(rows):
        return batch
    observation = with_goal(batch.observation, _replace_rows(batch.observation["desired_goal"], rows, goal))
    next_observation = with_goal(batch.next_observation, _replace_rows(batch.next_observation["desired_goal"], rows, goal))
    batch = batch._replace(observation=observation, next_observation=next_observation)
    if base is None:
        return batch
    now, after = base(_rows(observation, rows)), base(_rows(next_observation, rows))
    answered = np.isfinite(now[:, 0]) & np.isfinite(after[:, 0])
    if not answered.all():
        rows, now, after = rows[answered], now[answered], after[answered]
    return batch._replace(
        base_action=_replace_rows(batch.base_action, rows, now),
        next_base_action=_replace_rows(batch.next_base_action, rows, after),
    )


def _rows(observation: Observation, rows: np.ndarray) -> Observation:
    # Controllers get double precision, as during the rollout; images keep their dtype.
    def at_rows(array: np.ndarray) -> np.ndarray:
        return array[rows].astype(np.float64) if array.dtype.kind == "f" else array[rows]

    return map_observation(at_rows, observation)


def _replace_rows(array: np.ndarray, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    array = array.copy()
    array[rows] = values
    return array
