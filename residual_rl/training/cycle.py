"""One cycle of training: collect episodes with base plus residual, and learn from what the replay holds.

The two can overlap. The updates are one compiled call that needs no Python, and stepping the environments leaves cores idle
that they can use; they then learn from all episodes except those that are being collected.

All randomness of a cycle is derived from the run's seed and the cycle's number.
"""

import time
from typing import Any, Literal, NamedTuple
from warnings import warn

import equinox as eqx
import jax
import numpy as np

from residual_rl.config import Config
from residual_rl.controllers.answers import tolerating_failures
from residual_rl.errors import ControllerError, ResidualRLError, WorldError
from residual_rl.learning import algorithm as learning
from residual_rl.learning.algorithm import Learner, Metrics
from residual_rl.learning.exploration import Roles
from residual_rl.learning.history import History
from residual_rl.learning.replay import Replay
from residual_rl.rollout import ControllerFailure, Episode, base_policy, collect
from residual_rl.runs.files import METRICS_CSV
from residual_rl.seeds import training_seed
from residual_rl.tasks.lanes import Lanes
from residual_rl.training.experiment import Experiment
from residual_rl.training.state import TrainingState
from residual_rl.types import Acted, Observation, StepInfo, Transition

CYCLE_KEYS = 0xC7C1E  # sets the keys of cycles apart from all others that come from the run's seed
MOST_UPDATES = 2000  # whose batches are in memory at once
MOST_BYTES = 1 << 30  # of these batches, but for a single one that is larger
MAX_DROPPED_IN_A_ROW = 40  # episodes; an environment or a controller that fails this often will not recover


class Collected(NamedTuple):
    """The result of a cycle's rollouts."""

    episodes: list[Episode]
    dropped: list[str]
    """The reason for each episode that was dropped."""
    roles: Roles


class Learned(NamedTuple):
    """The result of a cycle's updates. They may still be running: reading a number waits for them."""

    learner: Learner
    metrics: Metrics


def gave_up(state: TrainingState) -> bool:
    """Return whether the controller failed in so many episodes in a row that training ends."""
    return state.dropped_in_a_row >= MAX_DROPPED_IN_A_ROW


def next_cycle(training: Experiment, envs: Lanes, state: TrainingState, started: float) -> TrainingState:
    """Run one cycle, append a row to `metrics.csv`, and return the new state.

    `started` is the time at which the run would have begun if it had never been stopped.

    Raises:
        ControllerError, WorldError: the controller or the environment failed; the state is as it was.
        ResidualRLError: learning diverged.
    """
    config, replay = training.config, state.replay
    rng, key = _chance(config, state.cycle, "learn")
    actor_learns = config.algorithm.burn_in.is_over(state.mean_values)
    state = state._replace(learner=config.algorithm.informed(state.learner, state.scores))
    under_way = _run_updates(training, state, rng, key, actor_learns) if config.overlap and len(replay) else None
    episodes, dropped, roles = _collect_cycle(training, envs, state, actor_learns)
    new = sum(len(episode.transitions.reward) for episode in episodes)
    with replay.adding([_for_learner(training, episode.transitions) for episode in episodes]):
        fresh = _sample(training, replay, rng, new, latest=new) if new else None
        if under_way:
            learned = under_way._replace(learner=_count_in(config, under_way.learner, fresh))
        else:
            learner = _count_in(config, state.learner, fresh)
            learned = _run_updates(training, state._replace(learner=learner), rng, key, actor_learns)
        metrics = {name: float(value) for name, value in learned.metrics.items()}
        _check_finite(learned.learner, state.step)
        arm = roles.arm if actor_learns else np.zeros_like(roles.arm)
        scores = [
            (_score(training, episode, envs.horizon), int(arm[episode.lane]))
            for episode in episodes
            if not roles.explore[episode.lane]
        ]
        state = state._replace(
            learner=learned.learner,
            cycle=state.cycle + 1,
            step=state.step + new + len(dropped) * training.task.spec.horizon,
            mean_values=[*state.mean_values, metrics.get("mean_value", np.nan)],
            wall_seconds=time.monotonic() - started,
            dropped_in_a_row=0 if episodes else state.dropped_in_a_row + len(dropped),
            scores=config.algorithm.exploration.after(state.scores, scores),
        )
        training.run.append(
            METRICS_CSV,
            {
                "step": state.step,
                "wall_seconds": state.wall_seconds,
                "acting_success_rate": float(np.mean([episode.success for episode in episodes] or [np.nan])),
                "acting_mean_return": float(np.mean([episode.transitions.reward.sum() for episode in episodes] or [np.nan])),
                "burn_in": int(not actor_learns),
                "driven_by_residual": float((arm > 0).mean()),
                "dropped_episodes": len(dropped),
                **metrics,
            },
        )
    return state


def _collect_cycle(training: Experiment, envs: Lanes, state: TrainingState, actor_learns: bool) -> Collected:
    """Collect the next cycle's episodes, one in each lane."""
    config = training.config
    rng, key = _chance(config, state.cycle, "collect")
    share = share_of_base(training, state, actor_learns)
    algorithm = config.algorithm.without_base() if share < 1.0 else config.algorithm
    roles = algorithm.exploration.roles(rng, envs.num_envs, not actor_learns, state.scores)
    shares = np.where(roles.arm > 0, share, 1.0)[:, None]  # where the base drives, it has all of it
    keys = list(jax.random.split(key, envs.horizon))  # at once: taking them one by one costs as much as acting
    networks, rule, settings = algorithm.acting(state.learner), algorithm.rule, algorithm.settings()

    history = History(algorithm.history)

    def act(observation: Observation, base_action: np.ndarray, step: int) -> Acted:
        acted = learning.act(rule, networks, history(observation), base_action, keys[step], roles, settings)
        return Acted(np.asarray(acted.residual), {name: np.asarray(array) for name, array in acted.extras.items()})

    first = state.cycle * envs.num_envs
    seeds = [training_seed(config.seed, first + lane) for lane in range(envs.num_envs)]
    episodes, reasons = collect(envs, training.controller, algorithm.composition, act, seeds, shares)
    if reasons:
        what = reasons[0].partition(" raised ")[2] or reasons[0].partition(": step ")[0]  # so that a message is shown once
        warn(f"episodes that break in training are dropped: {what}", RuntimeWarning, stacklevel=2)
    dropped = state.dropped_in_a_row + len(reasons)
    if not episodes and dropped >= MAX_DROPPED_IN_A_ROW:
        what = f"{dropped} episodes in a row had to be dropped; the last one because {reasons[-1]}"
        if not isinstance(reasons[-1], ControllerFailure):
            raise WorldError(what)
        if not len(state.replay) or all(isinstance(one, ControllerFailure) and one.is_at_start for one in reasons):
            raise ControllerError(what)  # it fails for any residual: there is nothing to evaluate
        warn(f"training ends with the policy so far: {what}", RuntimeWarning, stacklevel=2)
    return Collected(episodes, reasons, roles)


def _count_in(config: Config, learner: Learner, fresh: Transition | None) -> Learner:
    """Return the learner after it has seen the transitions that the cycle added to the replay."""
    return learner if fresh is None else learning.count_in(config.algorithm, learner, fresh)


def _run_updates(training: Experiment, state: TrainingState, rng: np.random.Generator, key: Any, actor_learns: bool) -> Learned:
    """Start a cycle's updates."""
    config, share, learner = training.config, share_of_base(training, state, actor_learns), state.learner
    algorithm = config.algorithm.without_base() if share < 1.0 else config.algorithm
    if not len(state.replay):
        return Learned(learner, dict.fromkeys(algorithm.metrics, np.array(np.nan)))
    updates = config.updates_per_cycle if actor_learns else algorithm.burn_in.updates
    most = updates_at_once(state.replay.row_bytes * max(algorithm.steps, algorithm.history), config.batch_size)
    counts = [len(part) for part in np.array_split(np.arange(updates), -(-updates // most))]
    means: list[Metrics] = []
    for number, count in enumerate(counts):
        jax.block_until_ready(learner)  # else the samples of all parts would be in memory at once
        sampled = _sample(training, state.replay, rng, count * config.batch_size)
        batches = _batches(_with_share(sampled, share), count)
        spec, part_key = training.task.learner_spec, jax.random.fold_in(key, number)
        learner, metrics = learning.update_many(algorithm, learner, batches, spec, part_key, actor_learns)
        means.append(metrics)
    shares = [count / updates for count in counts]
    metrics = {name: sum(share * mean[name] for share, mean in zip(shares, means, strict=True)) for name in means[0]}
    return Learned(learner, metrics)


def share_of_base(training: Experiment, state: TrainingState, actor_learns: bool) -> float:
    """Return the base's share of the action in the next cycle: all of it during burn-in, in which it acts alone."""
    return training.config.algorithm.composition.share(state.step / training.config.steps) if actor_learns else 1.0


def _with_share(transitions: Transition, share: float) -> Transition:
    """Return transitions with a share of their base actions, which the learner then takes for the base.

    What was executed is unchanged, so a critic of executed actions can learn from any of them.
    """
    if share == 1.0:
        return transitions
    now, after = (np.float32(share) * one for one in (transitions.base_action, transitions.next_base_action))
    return transitions._replace(base_action=now, next_base_action=after)


def updates_at_once(row_bytes: int, batch_size: int) -> int:
    """Return how many updates' batches, at least 1, may be in memory at once for rows of `row_bytes`."""
    return min(MOST_UPDATES, max(1, MOST_BYTES // max(1, row_bytes * batch_size)))


def _batches(transitions: Transition, count: int) -> Transition:
    """`[count * B] -> [count, B]`."""
    return jax.tree.map(lambda leaf: leaf.reshape(count, len(leaf) // count, *leaf.shape[1:]), transitions)


def _check_finite(learner: Learner, step: int) -> None:
    """Raise ResidualRLError if learning diverged."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(learner, eqx.is_inexact_array))):
        raise ResidualRLError(
            f"learning diverged after step {step}: the networks hold numbers that are not finite. The last checkpoint is"
            " kept; lower learning rates help, or observations and rewards of moderate size"
        )


def _sample(training: Experiment, replay: Replay, rng: np.random.Generator, size: int, latest: int | None = None) -> Transition:
    """Draw transitions `[size]` from the replay, or from the `latest` rows added, relabelled and with the learner's rewards."""
    task, controller = training.task, training.controller
    base = base_policy(controller, training.config.algorithm.composition, task.spec.action_size)

    def base_at_goal(observation: Observation) -> np.ndarray:
        with tolerating_failures() as failed:
            proposals = base(observation)
        if failed:
            # Without numbers, which differ between calls, so that the message is shown once.
            warn(
                f"if {training.base.name!r} fails at goals that were achieved, hindsight keeps what it proposed: "
                f"{next(iter(failed.values()))}",
                RuntimeWarning,
                stacklevel=2,
            )
            proposals[list(failed)] = np.nan
        return proposals

    def reward_at_goal(achieved: np.ndarray, desired: np.ndarray, info: StepInfo) -> np.ndarray:
        try:
            reward = task.reward(achieved, desired, info)
        except Exception as error:
            raise WorldError(f"the reward at goals that were achieved raised {type(error).__name__}: {error}") from error
        if not np.isfinite(reward).all():
            row = int(np.argmin(np.isfinite(reward)))
            raise WorldError(f"the reward is {reward[row]} if {achieved[row]} is achieved and {desired[row]} desired")
        return task.learner_reward(reward, info["discount"])

    ask = base_at_goal if training.requeries_base else None
    algorithm = training.config.algorithm
    steps = algorithm.steps if latest is None else 1
    return training.config.hindsight.sample(
        replay, rng, size, reward_at_goal, task.success, ask, latest, steps, algorithm.history
    )


def _score(training: Experiment, episode: Episode, horizon: int) -> float:
    """Return what an episode was worth, for the bandit; higher is better.

    A return is that of the learner's rewards: it does not change with the unit of rewards. A constant in every reward would
    otherwise hide all differences behind those of the episodes' lengths.
    """
    if training.config.measured_by == "return":
        return float(_for_learner(training, episode.transitions).reward.sum())
    return episode.score(training.config.measured_by, horizon)


def _for_learner(training: Experiment, steps: Transition) -> Transition:
    """Return an episode `[T]` with rewards as the learner sees them, converted in double precision."""
    return steps._replace(reward=training.task.learner_reward(steps.reward, steps.discount))


def _chance(config: Config, cycle: int, use: Literal["collect", "learn"]) -> tuple[np.random.Generator, Any]:
    """Return a NumPy generator and a JAX key for this run, this cycle and this use only."""
    number = ("collect", "learn").index(use)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 2 * cycle + number), CYCLE_KEYS)
    return np.random.default_rng([config.seed, cycle, number]), key
