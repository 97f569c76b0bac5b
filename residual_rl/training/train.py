"""The training loop: cycles, evaluations between them, and checkpoints from which a stopped run resumes.

A resumed run gives the same numbers as one that was never stopped: everything that decides what comes next is in its state.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from gymnasium.vector import AutoresetMode

from residual_rl.controllers import reads_state
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.diagnosis.evidence import gather_evidence
from residual_rl.diagnosis.findings import find_causes
from residual_rl.errors import Interrupted, ResidualRLError, RunError, WorldError
from residual_rl.evaluation import Act, base_alone, bounded, evaluation_envs, evaluation_row, judged_in, roll_out
from residual_rl.learning.algorithm import Algorithm, Networks
from residual_rl.learning.serialization import to_arrays
from residual_rl.pairing.repeatability import repeatability
from residual_rl.pairing.turns import Pairs, Turns
from residual_rl.policy import Residual, base_plus_residual
from residual_rl.processes import stop_requested
from residual_rl.progress.plan import Clock, plan_of
from residual_rl.progress.reporter import Progress, Reporter
from residual_rl.rollout import base_policy
from residual_rl.runs.files import EVALUATIONS_CSV, METRICS_CSV
from residual_rl.runs.reading import read_rows
from residual_rl.runs.run import Run
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.tasks.lanes import Lanes
from residual_rl.training.cycle import gave_up, next_cycle
from residual_rl.training.experiment import Experiment
from residual_rl.training.same_starts import compare_from_same_starts
from residual_rl.training.state import TrainingState, fresh, restored, save

DISABLED = AutoresetMode.DISABLED


class Selection(NamedTuple):
    """The parts of every evaluation of a run: its environments and the initial states that select the checkpoint."""

    envs: Lanes
    seeds: list[int]
    tell: Callable[[str], None]


def train(
    training: Experiment,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    num_threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    report: Reporter | None = None,
) -> None:
    """Train until the budget is spent; continue from the run's checkpoint if there is one.

    If the controller fails in too many episodes in a row, training ends with the policy selected so far.

    `report` prints at the start the cost of the run, whether HER has to reuse base actions because the controller cannot be
    re-queried, and whether the budget may end before burn-in does; during the run, its progress, and a warning if the
    environment does not repeat itself.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
        ControllerError, WorldError: the controller or the environment failed, or all episodes of training broke; a checkpoint
            was written.
        RunError: the run's files cannot be read or written.
    """
    config, task, controller, run = training.config, training.task, training.controller, training.run
    report = report or Reporter()
    if training.keeps_base_actions:
        report.line(
            f"{training.base.name} cannot be re-queried at relabelled goals; HER reuses the base actions recorded during the "
            "rollout"
        )
    left = config.steps - training.steps_prepared
    if left <= training.burn_in_steps:
        report.line(
            f"burn-in (residual held at zero) can use {training.burn_in_steps:,} of the {left:,} steps, so the result "
            "may be the base itself; increase steps"
        )
    plan = plan_of(config, task.episode_steps)
    clock = Clock(plan, config.evaluation_interval)
    report.plan(plan)
    lanes, with_state = config.episodes_per_cycle, reads_state(controller)
    with (
        closing(task.open_lanes(lanes, num_threads=num_threads, with_state=with_state)) as envs,
        closing(
            evaluation_envs(judged_in(task, Purpose.SELECTION), config.evaluation_episodes, num_threads, with_state)
        ) as selection_envs,
        stop_requested() as stopped,
    ):
        seeds = evaluation_seeds(Purpose.SELECTION, config.evaluation_episodes)
        state = restored(training) or fresh(training)
        run.forget_after(state.step, evaluated=state.evaluated_at)
        if state.step:
            report.line(f"resuming at step {state.step:,}")
        selection = Selection(selection_envs, seeds, report.line)
        started, saved = time.monotonic() - state.wall_seconds, time.monotonic()
        while True:
            step, over = state.step, training.is_over(state.step) or gave_up(state)
            evaluates, began = _evaluation_is_due(training, state, over) and not stopped(), time.monotonic()
            with _save_on_error(run, state):
                if evaluates:
                    state = _evaluate(training, selection, state)
                    clock.add_evaluation(time.monotonic() - began)
            if state.base is not None:
                progress = Progress(
                    step,
                    max(config.steps, step),
                    config.measured_by,
                    state.base.measured(config.measured_by),
                    state.score,
                    evaluates,
                    clock.steps_per_second,
                    clock.seconds_left(step),
                )
                report.progress(progress)
                on_progress(progress)
            if stopped():
                save(run, state)
                raise Interrupted(f"stopped at step {step}; the same command resumes from there")
            if time.monotonic() - saved > checkpoint_seconds or over:
                save(run, state)
                saved = time.monotonic()
            if over:
                if not len(state.replay):
                    raise WorldError(
                        f"all {step:,} steps of training were in episodes that broke and were dropped: nothing was learned, so "
                        "there is nothing to judge. What broke them is in the warnings"
                    )
                run.save_diagnosis(_diagnosis(training, state, envs))
                if stopped():
                    raise Interrupted("stopped before the verdict; the same command resumes from there")
                return
            with _save_on_error(run, state):
                began = time.monotonic()
                state = next_cycle(training, envs, state, started)
                clock.add_cycle(state.step - step, time.monotonic() - began)


def _evaluation_is_due(training: Experiment, state: TrainingState, over: bool) -> bool:
    """Return whether to evaluate now: once for the base alone, once in each interval, once at the end."""
    if state.evaluated_at == state.step:
        return False
    interval = training.config.evaluation_interval
    return state.step // interval > state.evaluated_at // interval or over


def delivered(training: Experiment, state: TrainingState) -> tuple[Algorithm, Networks]:
    """Return the rule and the networks of the policy that would be delivered now if it had shown that it is better."""
    algorithm = training.config.algorithm
    rule, networks = algorithm.delivered(algorithm.averaged(state.learner), state.scores)
    return (rule.without_base() if rule.composition.stands_alone else rule), networks


def _evaluate(training: Experiment, selection: Selection, state: TrainingState) -> TrainingState:
    """Evaluate the present policy, and make it the selected one if none was better.

    If no arm has shown in training that it is better than the base, the policy is the base.
    """
    measured_by, algorithm, controller = training.config.measured_by, training.config.algorithm, training.controller
    residual = Residual(*delivered(training, state))
    acts = state.base is None or algorithm.exploration.is_better(state.scores)
    if acts:
        policy = base_plus_residual(controller, residual, training.task.spec.action_size)
    else:
        policy = base_alone(controller, algorithm.composition, training.task.spec.action_size)
    if state.repeats and state.base is not None:
        base = state.base
        outcome = roll_out(selection.envs, policy, selection.seeds) if acts else base
    else:
        pairs = Turns(selection.envs, policy, state.step).play(selection.seeds)
        base, outcome = pairs.base, pairs.policy
        if state.base is None:
            state = state._replace(repeats=_repeats(training, selection, policy, pairs))
    step = state.step
    training.run.append(EVALUATIONS_CSV, evaluation_row(step, state.wall_seconds, outcome, base))
    deviates = bool(outcome.deviation.any())
    bounded_base, outcome = bounded(base, outcome)
    score = worth = outcome.measured(measured_by)
    if not state.repeats:  # a base that changes with time must not select a checkpoint
        worth = score - bounded_base.measured(measured_by) if deviates else 0.0
    state = state._replace(score=score, evaluated_at=step, base=base)
    if acts and worth >= state.best_score:
        training.run.save_policy(to_arrays(residual.networks, "networks"), residual.algorithm, step)
        state = state._replace(best_score=worth, best_step=step)
    return state


def _repeats(training: Experiment, selection: Selection, policy: Act, pairs: Pairs) -> bool:
    """Roll the base out again from the same initial states, record in the run whether it did the same, and warn if not."""
    if pairs.policy.deviation.any():  # the policy does not begin as the base
        alone = base_alone(training.controller, training.config.algorithm.composition, training.task.spec.action_size)
        pairs = Turns(selection.envs, alone, 0).play(selection.seeds)
    found = repeatability(pairs, training.base.traits.is_random)
    training.run.save_repeatability(found)
    if found.warning:
        selection.tell(f"{training.task.name}: {found.warning}")
    return found.holds


def diagnosis_so_far(training: Experiment, base_is_known: bool) -> Diagnosis:
    """Diagnose an unfinished run from its checkpoint; without its base, some findings are unknown.

    Raises:
        RunError: there is none yet, or it is damaged.
    """
    state = restored(training)
    if state is None:
        raise RunError(f"{training.run.path} has no checkpoint to diagnose: it has been training for too short a time")
    if not base_is_known:
        return _diagnosis(training, state, None)
    with_state = reads_state(training.controller)
    with closing(training.task.open_lanes(training.config.episodes_per_cycle, with_state=with_state)) as envs:
        return _diagnosis(training, state, envs)


def _diagnosis(training: Experiment, state: TrainingState, envs: Lanes | None) -> Diagnosis:
    config, task, path = training.config, training.task, training.run.path
    asked = training.base.traits.reads_goal and training.base.traits.can_be_requeried
    base = base_policy(training.controller, config.algorithm.composition, task.spec.action_size) if asked else None
    algorithm, networks = delivered(training, state)
    # The findings compare a residual with the base that it corrects, and a network that stands alone has none.
    alone = algorithm.composition.stands_alone
    evidence = (
        None if alone else gather_evidence(algorithm, networks, state.replay, task.spec, task.success, base, task.own_reward)
    )
    evaluations, metrics = (read_rows(path / name) for name in (EVALUATIONS_CSV, METRICS_CSV))
    starts = None if evidence is None or envs is None else compare_from_same_starts(training, state, envs, evidence)
    return find_causes(config, state.step, evidence, evaluations, metrics, starts)


@contextmanager
def _save_on_error(run: Run, state: TrainingState) -> Iterator[None]:
    """Write a checkpoint if the controller or the environment raises."""
    try:
        yield
    except ResidualRLError:
        if state.base is not None:  # before the first evaluation there is nothing worth keeping
            save(run, state)
        raise
