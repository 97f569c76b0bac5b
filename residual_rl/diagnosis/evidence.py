"""Collect evidence about a run's learning: its latest episodes, and the outputs of critics, actor and base on them.

`findings` interprets it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from residual_rl.errors import ControllerError
from residual_rl.learning import algorithm as learning
from residual_rl.learning.algorithm import Algorithm, Networks
from residual_rl.learning.history import with_history
from residual_rl.learning.replay import Replay
from residual_rl.policy import Residual
from residual_rl.types import Observation, Spec, SuccessFunction, Transition, map_observation, select, with_goal

EPISODES = 100
"""Latest training episodes that are used."""
STATES = 256
"""Number of their states in which other residuals and other goals are tried."""
TRIED = 16
"""Residuals, and goals, tried in each state."""
CHUNK = 1024
"""Rows per call of the networks: with one shape they are compiled once."""


class Evidence(NamedTuple):
    """The latest episodes, concatenated, and their evaluation. Letters: N rows, E episodes, S states, K tried in each."""

    rows: Transition
    """[N] exploration included, with the original goals and the environment's rewards."""
    starts: np.ndarray
    """[E] where in `rows` each episode begins."""
    success: np.ndarray | None
    """[E] bool, at the last step; None in an environment without goals."""
    moved: np.ndarray | None
    """[E] bool, whether the achieved goals at the start and at the end differ; None in an environment without goals."""
    predicted: np.ndarray | None
    """[N] the critics' mean value of the executed actions; None, like all other values, if the algorithm has no critic."""
    followed: np.ndarray
    """[N] the discounted rewards that followed, as the learner sees them; beyond a time limit, the critics' own value."""
    residual: np.ndarray
    """[N, A] the residual of the learned policy, exactly 0 if its gate is shut."""
    advantage: np.ndarray | None
    """[N] the critics' mean value of that residual, minus that of a zero residual."""
    residual_values: np.ndarray | None
    """[S, K] mean values of residuals drawn uniformly."""
    disagreement: np.ndarray | None
    """[S, K] how much the critics disagree about the advantage of each of these residuals over the K of its state: the standard
    deviation over the critics, 0 for a single one."""
    goal_values: np.ndarray | None
    """[S, K] mean values of the executed actions at goals of other episodes; None in an environment without goals."""
    goal_base_actions: np.ndarray | None
    """[S, K, A] the base's proposals at these goals; None if it was not queried."""

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted sum of the rewards of each episode: `[E]`."""
        return np.add.reduceat(self.rows.reward.astype(np.float64), self.starts)

    @property
    def early(self) -> np.ndarray:
        """Whether a row is in the first half of its episode, after which most rewards were observed: `[N]` bool."""
        lengths = np.diff([*self.starts, len(self.rows.reward)])
        step = np.arange(len(self.rows.reward)) - np.repeat(self.starts, lengths)
        return step < np.repeat(lengths, lengths) / 2


def gather_evidence(
    algorithm: Algorithm,
    networks: Networks,
    replay: Replay,
    spec: Spec,
    success: SuccessFunction | None,
    base: Callable[[Observation], np.ndarray] | None,
    own_reward: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda reward, discount: reward,
) -> Evidence | None:
    """Return the evidence from replay and networks; None if the replay holds no complete episode.

    Args:
        algorithm: of the networks.
        networks: of the policy.
        replay: with the training episodes.
        spec: of the task.
        success: `achieved_goal [B, G], desired_goal [B, G] -> [B]` bool; None if it is unknown.
        base: `Observation[B] -> base_action [B, A]`, re-queried at other goals; None if it cannot be re-queried.
        own_reward: `reward [B], discount [B] -> [B]`, the environment's rewards from those in the replay.
    """
    episodes = replay.latest_episodes(EPISODES)
    if not episodes:
        return None
    rng = np.random.default_rng(0)
    numbers = np.concatenate(episodes)
    rows = replay.rows(numbers)
    seen = with_history(rows, replay, numbers, numbers, algorithm.history)
    lengths = np.array([len(episode) for episode in episodes])
    starts, lasts = np.cumsum(lengths) - lengths, np.cumsum(lengths) - 1
    greedy = Residual(algorithm, networks)

    def act(observation: Observation, base_action: np.ndarray) -> np.ndarray:
        return np.concatenate(_in_chunks(greedy, observation, base_action))[: len(base_action)]

    def values_of_each(observation: Observation, base_action: np.ndarray, residual: np.ndarray) -> np.ndarray | None:
        """Return each critic's value: `[Q, B]`; None if the algorithm has no critics."""
        values = _in_chunks(lambda *chunk: learning.values(algorithm, networks, *chunk), observation, base_action, residual)
        return None if values[0] is None else np.concatenate(values, axis=1)[:, : len(base_action)]

    def value(observation: Observation, base_action: np.ndarray, residual: np.ndarray) -> np.ndarray | None:
        values = values_of_each(observation, base_action, residual)
        return None if values is None else values.mean(axis=0)

    def differing(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
        return None if first is None or second is None else first - second

    def in_table(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values.reshape(tried)

    residual = act(seen.observation, rows.base_action)
    none = np.zeros_like(rows.residual)
    after = select(seen.next_observation, lasts), rows.next_base_action[lasts]
    value_after = value(*after, act(*after))
    final_values = np.where(rows.terminated[lasts], 0.0, 0.0 if value_after is None else value_after)
    states = np.sort(rng.choice(len(rows.reward), min(STATES, len(rows.reward)), replace=False))
    repeated = np.repeat(states, TRIED)
    at_states, base_there = select(seen.observation, repeated), rows.base_action[repeated]
    drawn = rng.uniform(-1.0, 1.0, (len(repeated), spec.action_size)).astype(np.float32)
    tried = len(states), TRIED
    drawn_values = values_of_each(at_states, base_there, drawn)
    each = None if drawn_values is None else drawn_values.T.reshape(*tried, -1)
    with_goals = elsewhere = None
    if spec.goal_size:
        goals = rows.observation["desired_goal"][rng.choice(starts, len(repeated))]
        with_goals = with_goal(at_states, goals)
        elsewhere = _query(base, with_goal(select(rows.observation, repeated), goals))
    first_achieved = rows.observation["achieved_goal"][starts]
    achieved, desired = (rows.next_observation[key][lasts] for key in ("achieved_goal", "desired_goal"))
    return Evidence(
        rows=rows._replace(reward=own_reward(rows.reward, rows.discount)),
        starts=starts,
        success=success(achieved, desired).astype(bool) if success and spec.goal_size else None,
        moved=~success(first_achieved, achieved).astype(bool) if success and spec.goal_size else None,
        predicted=value(seen.observation, rows.base_action, rows.residual),
        followed=_discounted_sums(rows.reward, starts, final_values, spec.discount),
        residual=residual,
        advantage=differing(
            value(seen.observation, rows.base_action, residual), value(seen.observation, rows.base_action, none)
        ),
        residual_values=None if each is None else each.mean(axis=2),
        disagreement=None if each is None else (each - each.mean(axis=1, keepdims=True)).std(axis=2),
        goal_values=in_table(value(with_goals, base_there, rows.residual[repeated])) if with_goals else None,
        goal_base_actions=None if elsewhere is None else elsewhere.reshape(*tried, spec.action_size),
    )


def _in_chunks(function: Callable[..., Any], observation: Observation, *others: np.ndarray) -> list[Any]:
    """Apply a function to chunks of `CHUNK` rows; the last one is padded with its last row."""
    size = len(others[0])
    rows = np.minimum(np.arange(-(-size // CHUNK) * CHUNK), size - 1).reshape(-1, CHUNK)
    return [function(select(observation, chunk), *(other[chunk] for other in others)) for chunk in rows]


def _query(base: Callable[[Observation], np.ndarray] | None, observation: Observation) -> np.ndarray | None:
    """Return the base's proposals `[B, A]`; None if it cannot be re-queried, or fails at these goals."""
    if base is None:
        return None
    try:
        return base(map_observation(lambda array: array.astype(np.float64), observation))
    except ControllerError:
        return None


def _discounted_sums(reward: np.ndarray, starts: np.ndarray, final_values: np.ndarray, discount: float) -> np.ndarray:
    """Return the discounted sums of the rewards after each row `[N]`, with the value after each episode's last row `[E]`."""
    followed = np.zeros(len(reward))
    for start, end, value in zip(starts, [*starts[1:], len(reward)], final_values, strict=True):
        for row in reversed(range(start, end)):
            followed[row] = value = reward[row] + discount * value
    return followed
