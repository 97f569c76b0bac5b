"""One cycle of training: collect episodes with base plus residual, and learn from what the replay holds.

Both can go on at once. The updates are one compiled call that needs no Python, and stepping the worlds leaves cores idle that
they can use; then they learn from all episodes but those that are just being collected.

All chance of a cycle is derived from the run's seed and the cycle's number.
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
from residual_rl.learning.algorithm import Learner, Metrics, Roles
from residual_rl.learning.replay import Replay
from residual_rl.rollout import ControllerFailure, Episode, base_policy, collect
from residual_rl.seeds import training_seed
from residual_rl.tasks.lanes import Lanes
from residual_rl.training.experiment import Experiment
from residual_rl.training.state import State
from residual_rl.types import Observation, StepInfo, Transition

MOST_UPDATES = 2000  # whose batches are in memory at once
MAX_DROPPED_IN_A_ROW = 40  # episodes; an environment or a controller that fails so often will not recover


class Collected(NamedTuple):
    """What came of a cycle's lanes."""

    episodes: list[Episode]
    dropped: list[str]
    """Why other episodes are missing."""
    roles: Roles


class Learned(NamedTuple):
    """What came of a cycle's updates. They may still be under way; whoever looks at the numbers waits for them."""

    learner: Learner
    metrics: Metrics


def gave_up(state: State) -> bool:
    """Whether the controller failed in so many episodes in a row that training ends."""
    return state.dropped_in_a_row >= MAX_DROPPED_IN_A_ROW


def next_cycle(training: Experiment, envs: Lanes, state: State, started: float) -> State:
    """The state after another cycle, and a row in `metrics.csv`. `started` is when the run began, had it never stopped.

    Raises:
        ControllerError, WorldError: the controller or the environment failed; the state is as it was.
        ResidualRLError: learning diverged.
    """
    config, replay = training.config, state.replay
    rng, _ = _chance(config, state.cycle, "learn")
    actor_learns = config.algorithm.burn_in.is_over(state.mean_values)
    under_way = _updated(training, state, rng, actor_learns) if config.overlap and len(replay) else None
    episodes, dropped, roles = _collected(training, envs, state, actor_learns)
    new = sum(len(episode.transitions.reward) for episode in episodes)
    with replay.adding([episode.transitions for episode in episodes]):
        counted = state._replace(learner=_counted_in(training, state, rng, new))
        learned = under_way or _updated(training, counted, rng, actor_learns)
        metrics = {name: float(value) for name, value in learned.metrics.items()}
        _check_finite(learned.learner, state.step)
        arm = roles.arm if actor_learns else np.zeros_like(roles.arm)
        scores = [(episode.score(config.measured_by), int(arm[episode.lane])) for episode in episodes]
        state = state._replace(
            learner=learned.learner._replace(normalizer=counted.learner.normalizer),
            cycle=state.cycle + 1,
            step=state.step + new + len(dropped) * training.task.spec.horizon,
            mean_values=[*state.mean_values, metrics["mean_value"]],
            wall_seconds=time.monotonic() - started,
            dropped_in_a_row=0 if episodes else state.dropped_in_a_row + len(dropped),
            scores=config.algorithm.after(state.scores, scores),
        )
        training.run.append(
            "metrics.csv",
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


def _collected(training: Experiment, envs: Lanes, state: State, actor_learns: bool) -> Collected:
    """The next cycle's episodes, one a lane."""
    config = training.config
    rng, key = _chance(config, state.cycle, "collect")
    roles = config.algorithm.roles(rng, envs.num_envs, not actor_learns, state.scores)
    keys = list(jax.random.split(key, envs.horizon))  # at once: to take them one by one costs as much as acting
    networks = state.learner.current

    def act(observation: Observation, base_action: np.ndarray, step: int) -> np.ndarray:
        return np.asarray(learning.act(config.algorithm, networks, observation, base_action, keys[step], roles))

    first = state.cycle * envs.num_envs
    seeds = [training_seed(config.seed, first + lane) for lane in range(envs.num_envs)]
    episodes, reasons = collect(envs, training.controller, config.algorithm.composition, act, seeds)
    if reasons:
        what = reasons[0].partition(" raised ")[2] or reasons[0]  # without the step: a text is shown once
        warn(f"episodes that break in training are dropped: {what}", RuntimeWarning, stacklevel=2)
    dropped = state.dropped_in_a_row + len(reasons)
    if not episodes and dropped >= MAX_DROPPED_IN_A_ROW:
        what = f"{dropped} episodes in a row had to be dropped; the last one because {reasons[-1]}"
        if not isinstance(reasons[-1], ControllerFailure):
            raise WorldError(what)
        if not len(state.replay) or all(isinstance(one, ControllerFailure) and one.is_at_start for one in reasons):
            raise ControllerError(what)  # it fails whatever the residual does: nobody could say what was learned
        warn(f"training ends with what was learned: {what}", RuntimeWarning, stacklevel=2)
    return Collected(episodes, reasons, roles)


def _counted_in(training: Experiment, state: State, rng: np.random.Generator, new: int) -> Learner:
    """The learner after its normalizer has seen the `new` rows of the replay."""
    if not new:
        return state.learner
    return learning.count_in(training.config.algorithm, state.learner, _sampled(training, state.replay, rng, new, latest=new))


def _updated(training: Experiment, state: State, rng: np.random.Generator, actor_learns: bool) -> Learned:
    """A cycle's updates, started."""
    config, algorithm, learner = training.config, training.config.algorithm, state.learner
    if not len(state.replay):
        return Learned(learner, {"critic_loss": np.array(np.nan), "mean_value": np.array(np.nan)})
    updates = config.updates_per_cycle if actor_learns else algorithm.burn_in.updates
    counts = [len(part) for part in np.array_split(np.arange(updates), -(-updates // MOST_UPDATES))]
    means: list[Metrics] = []
    for count in counts:
        jax.block_until_ready(learner)  # else what all the parts have sampled would wait in memory
        batches = _batches(_sampled(training, state.replay, rng, count * config.batch_size), count)
        learner, metrics = learning.update_many(algorithm, learner, batches, training.task.learner_spec, actor_learns)
        means.append(metrics)
    shares = [count / updates for count in counts]
    metrics = {name: sum(share * mean[name] for share, mean in zip(shares, means, strict=True)) for name in means[0]}
    return Learned(learner, metrics)


def _batches(transitions: Transition, count: int) -> Transition:
    """`[count * B] -> [count, B]`."""
    return jax.tree.map(lambda leaf: leaf.reshape(count, len(leaf) // count, *leaf.shape[1:]), transitions)


def _check_finite(learner: Learner, step: int) -> None:
    """Learning that diverged is no policy, and is never delivered."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(learner, eqx.is_inexact_array))):
        raise ResidualRLError(
            f"learning diverged after step {step}: the networks hold numbers that are not finite. What was learned before is"
            " kept; lower learning rates help, or observations and rewards of moderate size"
        )


def _sampled(
    training: Experiment, replay: Replay, rng: np.random.Generator, size: int, latest: int | None = None
) -> Transition:
    """Transitions `[size]` from the replay, or from the `latest` rows added: relabelled, rewards as they are learned from."""
    task, controller = training.task, training.controller
    base = base_policy(controller, training.config.algorithm.composition, task.spec.action_size)

    def base_at_goal(observation: Observation) -> np.ndarray:
        with tolerating_failures() as failed:
            proposals = base(observation)
        if failed:
            # Without numbers that differ from time to time: a text is shown once.
            warn(
                f"where {training.base.name!r} fails at goals that were achieved, hindsight keeps what it proposed: "
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
            raise WorldError(f"the reward is {reward[row]} where {achieved[row]} is achieved and {desired[row]} desired")
        return reward

    ask = base_at_goal if training.asks_again else None
    batch = training.config.hindsight.sample(replay, rng, size, reward_at_goal, task.success, ask, latest)
    return batch._replace(reward=task.learner_reward(batch.reward, batch.discount))


def _chance(config: Config, cycle: int, use: Literal["collect", "learn"]) -> tuple[np.random.Generator, Any]:
    """A NumPy generator and a JAX key that belong to this run, this cycle and this use alone."""
    number = ("collect", "learn").index(use)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), 2 * cycle + number), 0xC7C1E)
    return np.random.default_rng([config.seed, cycle, number]), key
