"""Roll a policy out on given initial states and record the outcome of each episode."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple
from warnings import warn

import numpy as np

from residual_rl.controllers import Controller, reads_state, start_episodes
from residual_rl.errors import ControllerError, EpisodesLost
from residual_rl.residual import Composition
from residual_rl.rollout import FAILED, Watch, base_policy
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.statistics import mean_interval, wilson_interval
from residual_rl.tasks import find_task
from residual_rl.tasks.lanes import Lanes, timing_of
from residual_rl.tasks.task import AnyTask, Task
from residual_rl.types import Measure, Observation

MAX_LANES = 64
GIVES_UP = 40  # times in a row that all episodes of a batch are lost

Note = Callable[[Observation, np.ndarray, np.ndarray], None]
"""Called with the observations `[E]`, the latest rewards `[E]`, and whether each lane's episode is running `[E]` bool."""


def nothing_to_reset(episodes: int) -> None:
    """Start episodes of a policy without a state."""


@dataclass(frozen=True)
class Act:
    """A policy of a batch: `Observation[B] -> base_action [B, A], action [B, A]`."""

    call: Callable[[Observation], tuple[np.ndarray, np.ndarray]]
    start: Callable[[int], None] = nothing_to_reset
    """Called when an episode starts in each of so many lanes: it resets what is stateful."""

    def __call__(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        """Return base action and action."""
        return self.call(observation)


class Outcome(NamedTuple):
    """The outcome of each episode: `[N]`, in the order of the seeds."""

    success: np.ndarray
    """bool, the task's predicate at the last step."""
    returns: np.ndarray
    """Undiscounted sum of rewards; the worst possible if the environment failed: -inf if rewards have no lower bound."""
    steps_to_success: np.ndarray
    """Steps until the goal was first reached; NaN if it never was."""
    deviation: np.ndarray
    """Mean |action - base action| over steps and components, in units where the action box is [-1, 1]."""
    jerk: np.ndarray
    """Mean |change of the action| from one step to the next, in the same units."""
    time: np.ndarray
    """What an episode took until it succeeded, in the task's unit; if it failed, `FAILED` times what the longest one takes."""
    scene: np.ndarray
    """int, the number of the scene that it was in; 0 if there is only one, -1 if it is not known."""

    @property
    def success_rate(self) -> float:
        """Share of episodes that ended in success."""
        return float(self.success.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the success rate."""
        return wilson_interval(int(self.success.sum()), len(self.success))

    @property
    def mean_return(self) -> float:
        """Mean of the returns, `bounded`."""
        return float(bounded(self)[0].returns.mean())

    @property
    def return_interval(self) -> tuple[float, float]:
        """95 % interval of the mean return."""
        return mean_interval(bounded(self)[0].returns)

    def fixed_and_broken(self, base: "Outcome") -> tuple[int, int]:
        """Return how many episodes only this one solves, and how many only the base, from the same initial states."""
        return int((self.success & ~base.success).sum()), int((base.success & ~self.success).sum())

    @property
    def mean_time(self) -> float:
        """Mean of the times, in which a failure counts for more than any success."""
        return float(self.time.mean())

    @property
    def time_interval(self) -> tuple[float, float]:
        """95 % interval of the mean time."""
        return mean_interval(self.time)

    def measured(self, by: Measure) -> float:
        """Return the success rate, the mean return, or minus the mean time; higher is better."""
        if by == "time":
            return -self.mean_time
        return self.success_rate if by == "success" else self.mean_return


def bounded(*outcomes: Outcome) -> tuple[Outcome, ...]:
    """Return the outcomes with -inf replaced by one number: the lowest of all their other returns, or 0.

    So an episode that fails under two policies does not affect their difference, and one that fails under only one of them
    never counts in its favour.
    """
    returns = np.concatenate([outcome.returns for outcome in outcomes])
    least = min(returns[np.isfinite(returns)], default=0.0)
    return tuple(outcome._replace(returns=np.maximum(outcome.returns, least)) for outcome in outcomes)


def evaluation_row(step: int, wall_seconds: float, policy: Outcome, base: Outcome) -> dict[str, float]:
    """Return an evaluation as a row of `evaluations.csv`: a policy beside its base, from the same initial states."""
    base, policy = bounded(base, policy)
    (low, high), (return_low, return_high) = policy.interval, policy.return_interval
    base_return_low, base_return_high = base.return_interval
    time_low, time_high = policy.time_interval
    fixed, broken = policy.fixed_and_broken(base)
    return {
        "step": step,
        "wall_seconds": wall_seconds,
        "episodes": len(policy.success),
        "success_rate": policy.success_rate,
        "low": low,
        "high": high,
        "mean_return": policy.mean_return,
        "return_low": return_low,
        "return_high": return_high,
        "deviation": float(policy.deviation.mean()),
        "base_success_rate": base.success_rate,
        "base_mean_return": base.mean_return,
        "base_return_low": base_return_low,
        "base_return_high": base_return_high,
        "fixed": fixed,
        "broken": broken,
        "mean_time": policy.mean_time,
        "time_low": time_low,
        "time_high": time_high,
        "base_mean_time": base.mean_time,
    }


def base_alone(controller: Controller, composition: Composition, action_size: int) -> Act:
    """Return the controller as a policy."""
    base = base_policy(controller, composition, action_size)

    def act(observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        base_action = base(observation)
        return base_action, base_action.clip(-1.0, 1.0)

    return Act(act, lambda episodes: start_episodes(controller, episodes))


def base_outcome(
    task: AnyTask, controller: Controller, composition: Composition, episodes: int, num_threads: int | None, purpose: Purpose
) -> Outcome:
    """Return the outcome of the controller alone on the initial states of a purpose."""
    act, task = base_alone(controller, composition, task.spec.action_size), judged_in(task, purpose)
    with closing(evaluation_envs(task, episodes, num_threads, reads_state(controller))) as envs:
        return roll_out(envs, act, evaluation_seeds(purpose, episodes))


def judged_in(task: AnyTask, purpose: Purpose) -> AnyTask:
    """Return the task whose episodes serve a purpose: `task` itself, unless it has others for selection and verdict.

    What selects a policy also judges an unfinished run, so that the scenes of the verdict stay unseen.
    """
    if not isinstance(task, Task):
        return task
    selects = purpose in (Purpose.SELECTION, Purpose.INTERIM)
    decides = purpose in (Purpose.VERDICT, Purpose.CONFIRMATION)
    name = task.selection_task if selects else task.verdict_task if decides else None
    return task if name is None else find_task(name)


def evaluation_envs(task: AnyTask, episodes: int, num_threads: int | None, with_state: bool = False) -> Any:
    """Make lanes for `roll_out`: no more than are useful for so many episodes."""
    lanes = min(episodes, MAX_LANES)
    return task.open_lanes(lanes, num_threads=num_threads, with_state=with_state)


def roll_out(envs: Lanes, act: Act, seeds: Sequence[int]) -> Outcome:
    """Roll out one episode from each seed and return the outcomes.

    If the environment raises, an observation is not finite, or the controller fails, the episode is a failure with the lowest
    possible return: the lowest reward of the task in every step of the horizon. A warning gives their number and the reason.

    Raises:
        ControllerError: the controller fails at the start of every episode; names it and what is wrong with its proposal.
        WorldError: no environment is left, or whole batches of episodes were lost `GIVES_UP` times in a row or from the first
            seed to the last.
    """
    parts: list[Outcome] = []
    failures: list[EpisodesLost | ControllerError] = []
    reasons: list[str] = []
    for start in range(0, len(seeds), envs.num_envs):
        chunk = list(seeds[start : start + envs.num_envs])
        padded = chunk + chunk[:1] * (envs.num_envs - len(chunk))  # the last lanes repeat an episode and are not counted
        try:
            outcome, why = play(envs, act, padded)
            reasons += [reason for lane, reason in why.items() if lane < len(chunk)]
            failures = []
        except (EpisodesLost, ControllerError) as error:
            failures.append(error)
            if gives_up(error, len(failures), len(failures) * envs.num_envs >= len(seeds)):
                raise
            outcome = lost(envs)
            reasons += [str(error)] * len(chunk)
        parts.append(Outcome(*(value[: len(chunk)] for value in outcome)))
    if reasons:
        warn(f"{len(reasons)} of {len(seeds)} episodes broke and count as failures: {reasons[0]}", RuntimeWarning, stacklevel=2)
    return joined(parts)


def gives_up(error: EpisodesLost | ControllerError, in_a_row: int, all_lost: bool) -> bool:
    """Return whether an evaluation ends with the error that lost a whole batch.

    Args:
        error: the error.
        in_a_row: batches lost in a row, this one included.
        all_lost: whether all batches from the first seed to the last are lost.
    """
    if isinstance(error, EpisodesLost):
        return in_a_row == GIVES_UP or all_lost
    # A failure at the start of an episode does not depend on the policy; a later one may.
    return error.step == 0 and all_lost


def joined(parts: Sequence[Outcome]) -> Outcome:
    """Concatenate the outcomes of several batches."""
    return Outcome(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _broken_return(envs: Lanes) -> float:
    """Return the return of an episode in which the environment fails: at most 0, since its end is unknown."""
    return envs.horizon * min(0.0, envs.task_spec.reward_range[0])


def lost(envs: Lanes) -> Outcome:
    """Return failures in all lanes."""
    zero, never = np.zeros(envs.num_envs), np.full(envs.num_envs, np.nan)
    unknown, time = np.full(envs.num_envs, -1), zero + _failed_time(envs)
    return Outcome(np.zeros(envs.num_envs, dtype=bool), zero + _broken_return(envs), never, zero, zero, time, unknown)


def _failed_time(envs: Lanes) -> float:
    """Return what a failed episode counts as, in the task's unit of time."""
    return FAILED * envs.horizon * timing_of(envs).step


def play(envs: Lanes, act: Act, seeds: list[int], note: Note = lambda *shown: None) -> tuple[Outcome, dict[int, str]]:
    """Roll out one episode in each lane; return the outcomes, and the reasons of failures by lane.

    Raises:
        EpisodesLost: all of them are lost.
        ControllerError: names the controller, the step and what is wrong with its proposal.
        WorldError: no environment is left.
    """
    watch = Watch(envs)
    observation = watch.reset(seeds)
    with watch.asking():
        act.start(envs.num_envs)
    lanes = envs.num_envs
    returns, deviation, jerk = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
    steps_to_success = np.full(lanes, np.nan)
    success = np.zeros(lanes, dtype=bool)
    previous = None
    note(observation, returns, ~watch.ended)
    while not watch.all_ended:
        live = ~watch.ended
        with watch.asking():
            base_action, action = act(observation)
        observation, reward, _, _, success = watch.step(action)
        note(observation, reward, live)
        returns += reward
        steps_to_success = np.where(np.isnan(steps_to_success) & success, watch.steps, steps_to_success)
        deviation += live * np.abs(action - base_action.clip(-1.0, 1.0)).mean(axis=1)
        if previous is not None:
            jerk += live * np.abs(action - previous).mean(axis=1)
        previous = action
    returns = np.where(watch.broken, _broken_return(envs), returns)
    lengths, timing = watch.lengths, timing_of(envs)
    time = steps_to_success * timing.step if timing.entry is None else watch.info[timing.entry]
    scene = np.zeros(lanes, dtype=int) if timing.scene is None else watch.info[timing.scene]
    outcome = Outcome(
        success=success,
        returns=returns,
        steps_to_success=steps_to_success,
        deviation=deviation / lengths,
        jerk=jerk / np.maximum(lengths - 1, 1),
        time=np.where(success, time, _failed_time(envs)),
        scene=np.where(watch.broken, -1, scene),
    )
    return outcome, watch.why()
