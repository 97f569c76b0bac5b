"""Run one trial in this process, and write its outcome to its directory."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from residual_rl.api import improve
from residual_rl.controllers import make_controller
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.evaluation import base_outcome, evaluation_row
from residual_rl.judging.runs import reevaluate
from residual_rl.runs.files import EVALUATIONS, EVALUATIONS_CSV
from residual_rl.seeds import Purpose
from residual_rl.storage import rounded
from residual_rl.studies.importing import imported, imported_or_name, is_importable
from residual_rl.studies.results import rows_of, write_rows
from residual_rl.studies.trial import INITIAL, Trial
from residual_rl.studies.trial_directory import TrialState, begin, confirm, end
from residual_rl.studies.worlds import WORLDS
from residual_rl.tasks import find_task

Rows = list[dict[str, Any]]
RunTrial = Callable[[Trial, Path], Rows]


def run_trial(trial: Trial, directory: Path, checkpoint_seconds: float = 30.0) -> Rows:
    """Run a trial to its end, or resume it; return its rows of `results.csv`.

    `checkpoint_seconds` is as for `improve`. Built-in tasks use one physics thread.

    Writes only the directory `run`, and for worlds `confirmation.json`.

    Raises:
        ResidualRLError: the trial cannot be run, or was interrupted.
    """
    if trial.task in WORLDS:
        _improve_world(trial, directory, checkpoint_seconds)
    elif trial.method == INITIAL:
        _evaluate_initial(trial, directory / "run")
    else:
        improve(
            trial.task if trial.env is None else imported_or_name(trial.env),
            None if trial.controller is None else imported_or_name(trial.controller),
            steps=trial.steps,
            seed=trial.seed,
            out=directory / "run",
            method=trial.method,
            preset=trial.preset,
            num_threads=1,
            checkpoint_seconds=checkpoint_seconds,
            tell=None,
            **trial.fields,
        )
    return rows_of(trial, directory)


def _improve_world(trial: Trial, directory: Path, checkpoint_seconds: float) -> None:
    """Improve a world's controller as a user would; if it is promoted, compare again on fresh states."""
    world = WORLDS[trial.task]
    controller = world.controller()
    run = improve(
        world.make,
        controller,
        steps=trial.steps,
        seed=trial.seed,
        out=directory / "run",
        preset=trial.preset,
        horizon=world.horizon,
        checkpoint_seconds=checkpoint_seconds,
        tell=None,
        **trial.fields,
    )
    verdict = run.verdict()
    if verdict.promoted:
        again = reevaluate(run, controller, env=world.make, episodes=verdict.episodes, horizon=world.horizon, fresh=True)
        confirm(again, directory)


def _evaluate_initial(trial: Trial, path: Path) -> None:
    """Evaluate the controller alone, once."""
    config, task = trial.config(), find_task(trial.task)
    own = is_importable(config.controller)
    controller = imported(config.controller) if own else make_controller(config.controller, task.spec, 1)
    started = time.monotonic()
    base = base_outcome(task, controller, config.algorithm.composition, config.evaluation_episodes, 1, Purpose.SELECTION)
    row = evaluation_row(0, time.monotonic() - started, base, base)
    path.mkdir(parents=True, exist_ok=True)
    write_rows(path / EVALUATIONS_CSV, EVALUATIONS, [rounded(row)])


def attempt(trial: Trial, directory: Path, run: RunTrial = run_trial) -> Rows:
    """Run a trial and write its outcome to its directory.

    Raises:
        Interrupted: it was interrupted; nothing is written, and it stays unfinished.
        Exception: the error that made it fail.
    """
    begin(trial, directory)
    try:
        rows = run(trial, directory)
    except Interrupted:
        raise
    except Exception as error:
        message = str(error) if isinstance(error, ResidualRLError) else f"{type(error).__name__}: {error}"
        end(directory, TrialState.FAILED, message)
        raise
    end(directory, TrialState.FINISHED)
    return rows
