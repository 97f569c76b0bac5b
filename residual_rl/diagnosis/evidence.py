"""What a run knows about its own learning: its latest episodes, and what critics, actor and base say of them.

Nothing is judged here; `findings` says what the numbers mean.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from residual_rl.errors import ControllerError
from residual_rl.learning import algorithm as learning
from residual_rl.learning.algorithm import Algorithm, Networks
from residual_rl.learning.replay import Replay
from residual_rl.policy import Residual
from residual_rl.types import Observation, Spec, SuccessFunction, Transition, map_observation, select, with_goal

EPISODES = 100
"""Latest training episodes that are looked at."""
STATES = 256
"""Of their states, those in which other residuals and other goals are tried."""
TRIED = 16
"""Residuals, and goals, tried in each."""
CHUNK = 1024
"""Rows of which the networks are asked at a time: with one shape they are compiled once."""


class Evidence(NamedTuple):
    """The latest episodes, one after the other, and what is said of them. Letters: N rows, E episodes, S states, K tried."""

    rows: Transition
    """[N] exploration included, under the goals that were asked for, with the environment's rewards."""
    starts: np.ndarray
    """[E] where in `rows` each episode begins."""
    success: np.ndarray | None
    """[E] bool, at the last step; None in a world without goals."""
    moved: np.ndarray | None
    """[E] bool, whether what was achieved at the end is not what was achieved at the start; None in a world without goals."""
    predicted: np.ndarray | None
    """[N] the critics' mean value of what was done; None, like all other values, if the algorithm has no critic to ask."""
    followed: np.ndarray
    """[N] the discounted rewards that followed, as the learner sees them; beyond a time limit, the critics' own value of what
    would have."""
    residual: np.ndarray
    """[N, A] what the learned policy adds there, exactly 0 where its gate is shut."""
    advantage: np.ndarray | None
    """[N] the critics' mean value of that residual, minus that of none."""
    residual_values: np.ndarray | None
    """[S, K] mean values of residuals drawn uniformly."""
    disagreement: np.ndarray | None
    """[S, K] how much the critics disagree about the advantage of each of these residuals over the K of its state: the standard
    deviation over the critics, 0 for a single one."""
    goal_values: np.ndarray | None
    """[S, K] mean values of doing what was done under goals of other episodes; None in a world without goals."""
    goal_base_actions: np.ndarray | None
    """[S, K, A] what the base proposes under these goals; None where it was not asked."""

    @property
    def returns(self) -> np.ndarray:
        """Undiscounted sum of the rewards of each episode: `[E]`."""
        return np.add.reduceat(self.rows.reward.astype(np.float64), self.starts)

    @property
    def early(self) -> np.ndarray:
        """Whether a row is in the first half of its episode, where most of what followed was seen: `[N]` bool."""
        lengths = np.diff([*self.starts, len(self.rows.reward)])
        step = np.arange(len(self.rows.reward)) - np.repeat(self.starts, lengths)
        return step < np.repeat(lengths, lengths) / 2


def gather(
    algorithm: Algorithm,
    networks: Networks,
    replay: Replay,
    spec: Spec,
    success: SuccessFunction | None,
    base: Callable[[Observation], np.ndarray] | None,
    own_reward: Callable[[np.ndarray, np.ndarray], np.ndarray] = lambda reward, discount: reward,
) -> Evidence | None:
    """Return the evidence that replay and networks hold; None where no episode is held as a whole.

    Args:
        algorithm: whose networks they are.
        networks: those that are delivered.
        replay: what was seen.
        spec: of the task.
        success: `achieved_goal [B, G], desired_goal [B, G] -> [B]` bool; None where nobody can tell.
        base: `Observation[B] -> base_action [B, A]`, asked under other goals; None where it cannot be asked.
        own_reward: `reward [B], discount [B] -> [B]`, the environment's rewards from those that the replay holds.
    """
    episodes = replay.latest_episodes(EPISODES)
    if not episodes:
        return None
    rng = np.random.default_rng(0)
    rows = replay.rows(np.concatenate(episodes))
    lengths = np.array([len(episode) for episode in episodes])
    starts, lasts = np.cumsum(lengths) - lengths, np.cumsum(lengths) - 1
    greedy = Residual(algorithm, networks)

    def act(observation: Observation, base_action: np.ndarray) -> np.ndarray:
        return np.concatenate(_in_chunks(greedy, observation, base_action))[: len(base_action)]

    def values_of_each(observation: Observation, base_action: np.ndarray, residual: np.ndarray) -> np.ndarray | None:
        """Return the value by each critic: `[Q, B]`; None if the algorithm has none to ask."""
        values = _in_chunks(lambda *chunk: learning.values(algorithm, networks, *chunk), observation, base_action, residual)
        return None if values[0] is None else np.concatenate(values, axis=1)[:, : len(base_action)]

    def value(observation: Observation, base_action: np.ndarray, residual: np.ndarray) -> np.ndarray | None:
        values = values_of_each(observation, base_action, residual)
        return None if values is None else values.mean(axis=0)

    def differing(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
        return None if first is None or second is None else first - second

    def in_table(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values.reshape(tried)

    residual = act(rows.observation, rows.base_action)
    none = np.zeros_like(rows.residual)
    after = select(rows.next_observation, lasts), rows.next_base_action[lasts]
    value_after = value(*after, act(*after))
    final_values = np.where(rows.terminated[lasts], 0.0, 0.0 if value_after is None else value_after)
    states = np.sort(rng.choice(len(rows.reward), min(STATES, len(rows.reward)), replace=False))
    repeated = np.repeat(states, TRIED)
    at_states, base_there = select(rows.observation, repeated), rows.base_action[repeated]
    drawn = rng.uniform(-1.0, 1.0, (len(repeated), spec.action_size)).astype(np.float32)
    tried = len(states), TRIED
    drawn_values = values_of_each(at_states, base_there, drawn)
    each = None if drawn_values is None else drawn_values.T.reshape(*tried, -1)
    with_goals = elsewhere = None
    if spec.goal_size:
        goals = rows.observation["desired_goal"][rng.choice(starts, len(repeated))]
        with_goals = with_goal(at_states, goals)
        elsewhere = _asked(base, with_goals)
    first_achieved = rows.observation["achieved_goal"][starts]
    achieved, desired = (rows.next_observation[key][lasts] for key in ("achieved_goal", "desired_goal"))
    return Evidence(
        rows=rows._replace(reward=own_reward(rows.reward, rows.discount)),
        starts=starts,
        success=success(achieved, desired).astype(bool) if success and spec.goal_size else None,
        moved=~success(first_achieved, achieved).astype(bool) if success and spec.goal_size else None,
        predicted=value(rows.observation, rows.base_action, rows.residual),
        followed=_followed(rows.reward, starts, final_values, spec.discount),
        residual=residual,
        advantage=differing(
            value(rows.observation, rows.base_action, residual), value(rows.observation, rows.base_action, none)
        ),
        residual_values=None if each is None else each.mean(axis=2),
        disagreement=None if each is None else (each - each.mean(axis=1, keepdims=True)).std(axis=2),
        goal_values=in_table(value(with_goals, base_there, rows.residual[repeated])) if with_goals else None,
        goal_base_actions=None if elsewhere is None else elsewhere.reshape(*tried, spec.action_size),
    )


def _in_chunks(function: Callable[..., Any], observation: Observation, *others: np.ndarray) -> list[Any]:
    """Return what a function says of each chunk of `CHUNK` rows; the last one repeats the last row."""
    size = len(others[0])
    rows = np.minimum(np.arange(-(-size // CHUNK) * CHUNK), size - 1).reshape(-1, CHUNK)
    return [function(select(observation, chunk), *(other[chunk] for other in others)) for chunk in rows]


def _asked(base: Callable[[Observation], np.ndarray] | None, observation: Observation) -> np.ndarray | None:
    """What the base proposes `[B, A]`; None where it cannot be asked, or fails at goals that it was never given there."""
    if base is None:
        return None
    try:
        return base(map_observation(lambda array: array.astype(np.float64), observation))
    except ControllerError:
        return None


def _followed(reward: np.ndarray, starts: np.ndarray, final_values: np.ndarray, discount: float) -> np.ndarray:
    """Discounted sums of what followed each row `[N]`, episode by episode, from the value after its last row `[E]`."""
    followed = np.zeros(len(reward))
    for start, end, value in zip(starts, [*starts[1:], len(reward)], final_values, strict=True):
        for row in reversed(range(start, end)):
            followed[row] = value = reward[row] + discount * value
    return followed
