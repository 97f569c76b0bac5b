"""The loop: one cycle after another, evaluations between them, and checkpoints from which a stopped run goes on.

A run that was stopped goes on with the same numbers: nothing that is not in its state decides what comes next.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from gymnasium.vector import AutoresetMode

from residual_rl.controllers import reads_state
from residual_rl.diagnosis.diagnosis import Diagnosis
from residual_rl.diagnosis.evidence import gather
from residual_rl.diagnosis.findings import diagnose
from residual_rl.errors import Interrupted, ResidualRLError, RunError
from residual_rl.evaluation import Outcome, base_alone, bounded, evaluation_envs, evaluation_row, roll_out
from residual_rl.learning.serialization import to_arrays
from residual_rl.policy import Residual, base_plus_residual
from residual_rl.processes import stop_requested
from residual_rl.rollout import base_policy
from residual_rl.runs.reading import read_rows
from residual_rl.runs.run import Run
from residual_rl.seeds import Purpose, evaluation_seeds
from residual_rl.tasks.lanes import Lanes
from residual_rl.training.cycle import gave_up, next_cycle
from residual_rl.training.experiment import Experiment
from residual_rl.training.state import State, fresh, restored, save
from residual_rl.types import Measure

DISABLED = AutoresetMode.DISABLED


class Progress(NamedTuple):
    """Where a run stands: what a progress bar shows."""

    step: int
    steps: int
    measured_by: Measure
    base: float
    """Its success rate or mean return, as the task is measured."""
    policy: float
    """The same of the policy, in the last evaluation."""


class Selection(NamedTuple):
    """What every evaluation of a run is made with: the states that select the checkpoint, and how the base does from them."""

    envs: Lanes
    seeds: list[int]
    base: Outcome


def train(
    training: Experiment,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    num_threads: int | None = None,
    checkpoint_seconds: float = 30.0,
    tell: Callable[[str], None] = print,
) -> None:
    """Trains until the budget is spent; continues from the run's checkpoint where there is one.

    If the controller fails in too many episodes in a row, it ends with what was learned until then.

    `tell` is told at the start if hindsight has to keep base actions because the controller cannot be asked again, and if the
    budget may end before the burn-in does.

    Raises:
        Interrupted: SIGINT or SIGTERM arrived; a checkpoint was written.
        ControllerError, WorldError: the controller or the environment failed; a checkpoint was written.
        RunError: the run's files cannot be read or written.
    """
    config, task, controller, run = training.config, training.task, training.controller, training.run
    if training.keeps_base_actions:
        tell(f"{training.base.name} cannot be asked again at relabelled goals: hindsight keeps the recorded base actions")
    if config.steps - training.steps_prepared <= training.burn_in_steps:
        tell(
            f"the burn-in, in which the residual stays zero, can take {training.burn_in_steps:,} steps: with "
            f"{config.steps - training.steps_prepared:,} the base may be all that comes out"
        )
    lanes, with_state = config.episodes_per_cycle, reads_state(controller)
    with (
        closing(task.make_envs(lanes, num_threads=num_threads, autoreset_mode=DISABLED, with_state=with_state)) as envs,
        closing(evaluation_envs(task, config.evaluation_episodes, num_threads, with_state)) as judges,
        stop_requested() as stopped,
    ):
        seeds = evaluation_seeds(Purpose.SELECTION, config.evaluation_episodes)
        state = restored(training) or fresh(training)
        run.forget_after(state.step, evaluated=state.evaluated)
        alone = base_alone(controller, config.algorithm.composition, task.spec.action_size)
        base = state.base or roll_out(judges, alone, seeds)
        selection, state = Selection(judges, seeds, base), state._replace(base=base)
        started, saved = time.monotonic() - state.wall_seconds, time.monotonic()
        while True:
            step, over = state.step, training.is_over(state.step) or gave_up(state)
            with _saved_on_error(run, state):
                if _evaluation_is_due(training, state, over) and not stopped():
                    state = _evaluated(training, selection, state)
            measured_by, steps = config.measured_by, max(config.steps, step)
            if state.evaluated >= 0:
                on_progress(Progress(step, steps, measured_by, base.measured(measured_by), state.measured))
            if stopped():
                save(run, state)
                raise Interrupted(f"stopped at step {step}; the same command goes on from there")
            if time.monotonic() - saved > checkpoint_seconds or over:
                save(run, state)
                saved = time.monotonic()
            if over:
                run.save_diagnosis(_diagnosis(training, state))
                if stopped():
                    raise Interrupted("stopped before the verdict; the same command goes on from there")
                return
            with _saved_on_error(run, state):
                state = next_cycle(training, envs, state, started)


def _evaluation_is_due(training: Experiment, state: State, over: bool) -> bool:
    """Once for the base alone, once in each interval, once at the end."""
    if state.evaluated == state.step:
        return False
    interval = training.config.evaluation_interval
    return state.step // interval > state.evaluated // interval or over


def _evaluated(training: Experiment, selection: Selection, state: State) -> State:
    """Evaluates the learner as it is, and keeps it as the selected policy if none was better."""
    algorithm = training.config.algorithm.delivered(state.scores)
    residual = Residual(algorithm, state.learner.averaged)
    policy = base_plus_residual(training.controller, algorithm.composition, residual, training.task.spec.action_size)
    outcome, base = roll_out(selection.envs, policy, selection.seeds), selection.base
    step = state.step
    training.run.append("evaluations.csv", evaluation_row(step, state.wall_seconds, outcome, base))
    measured = bounded(base, outcome)[1].measured(training.config.measured_by)
    state = state._replace(measured=measured, evaluated=step)
    if measured >= state.best[0]:
        training.run.save_policy(to_arrays(state.learner.averaged, "networks"), algorithm, step)
        state = state._replace(best=(measured, step))
    return state


def diagnosis_so_far(training: Experiment) -> Diagnosis:
    """What a look at the checkpoint of an unfinished run finds.

    Raises:
        RunError: there is none yet, or it is damaged.
    """
    state = restored(training)
    if state is None:
        raise RunError(
            f"{training.run.path} has no checkpoint to look at: its learner and replay are not there yet, or no more"
        )
    return _diagnosis(training, state)


def _diagnosis(training: Experiment, state: State) -> Diagnosis:
    config, task, path = training.config, training.task, training.run.path
    asked = training.base.traits.reads_goal and training.base.traits.can_be_asked_again
    base = base_policy(training.controller, config.algorithm.composition, task.spec.action_size) if asked else None
    algorithm, networks = config.algorithm.delivered(state.scores), state.learner.averaged
    evidence = gather(algorithm, networks, state.replay, task.spec, task.success, base, task.learner_reward)
    evaluations, metrics = (read_rows(path / name) for name in ("evaluations.csv", "metrics.csv"))
    return diagnose(config, state.step, evidence, evaluations, metrics)


@contextmanager
def _saved_on_error(run: Run, state: State) -> Iterator[None]:
    """Whatever a controller or a world does wrong: what was learned before is kept."""
    try:
        yield
    except ResidualRLError:
        save(run, state)
        raise
