"""Run the trials of a study, each in its own process, on all cores. If a process fails, the others go on.

A trial is plain data and `run_trial` a plain function of it, so another scheduler could run them too.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from filelock import FileLock

from residual_rl.api import improve
from residual_rl.controllers import make_controller
from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.evaluation import base_outcome, evaluation_row
from residual_rl.judging.runs import reevaluate
from residual_rl.processes import call_when_parent_ends, stop_requested, usable_cores
from residual_rl.runs.files import EVALUATIONS, EVALUATIONS_CSV
from residual_rl.seeds import Purpose
from residual_rl.storage import acquire, make_directory, rounded
from residual_rl.studies.results import rows_of, write_rows
from residual_rl.studies.trial import INITIAL, Trial
from residual_rl.studies.trial_directory import TrialState, begin, check_same, confirm, end, error_of, forget_failure, state_of
from residual_rl.studies.worlds import WORLDS
from residual_rl.tasks import find_task

Rows = list[dict[str, Any]]
RunTrial = Callable[[Trial, Path], Rows]

STOPPED = 130  # exit status of a process that stopped on request
GRACE = 60.0  # seconds to write a checkpoint before a process is killed
POLL_SECONDS = 0.5


def run_trial(trial: Trial, directory: Path) -> Rows:
    """Run a trial to its end, or resume it; return its rows of `results.csv`.

    Built-in tasks use one physics thread. Writes only the directory `run`, and for worlds `confirmation.json`.

    Raises:
        ResidualRLError: the trial cannot be run, or was interrupted.
    """
    if trial.task in WORLDS:
        _improve_world(trial, directory)
    elif trial.method == INITIAL:
        _evaluate_initial(trial, directory / "run")
    else:
        improve(
            trial.task,
            trial.controller,
            steps=trial.steps,
            seed=trial.seed,
            out=directory / "run",
            method=trial.method,
            preset=trial.preset,
            num_threads=1,
            tell=None,
            **trial.fields,
        )
    return rows_of(trial, directory)


def _improve_world(trial: Trial, directory: Path) -> None:
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
    controller = make_controller(config.controller, task.spec, 1)
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


def run_study(
    trials: Sequence[Trial],
    out: Path,
    *,
    jobs: int | None = None,
    retry: bool = False,
    run: RunTrial = run_trial,
    watch: Callable[[Mapping[Trial, TrialState]], None] = lambda states: None,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[Trial, TrialState]:
    """Run the trials that are not finished, and return the state of each trial.

    After a kill, the same call resumes. A trial whose process is killed stays unfinished; a trial that raises has failed. The
    others go on.

    Args:
        trials: the trials to run, in this order.
        out: the study's directory; each trial has a subdirectory with its name.
        jobs: number of parallel processes; None for one per usable core.
        retry: whether to repeat failed trials, from their last checkpoint.
        run: a function that a new process can import.
        watch: called about twice a second.
        tell: called with a line about each trial that ends.

    Raises:
        RunError: another process runs a study in `out`, or a trial differs from the one that started there.
        Interrupted: SIGINT or SIGTERM arrived. All trials have stopped with a checkpoint; if an evaluation took longer than
            `GRACE`, it is the checkpoint before that evaluation.
    """
    jobs = jobs or usable_cores()
    directories = {trial: out / trial.name for trial in trials}
    make_directory(out)
    lock = FileLock(out / ".lock")
    acquire(lock, out)
    states: dict[Trial, TrialState] = {}
    running: dict[Trial, SpawnProcess] = {}
    try:
        with stop_requested() as stopped:
            for trial, directory in directories.items():
                check_same(trial, directory)
                if retry:
                    forget_failure(directory)
                states[trial] = state_of(directory)
            waiting = [trial for trial, state in states.items() if state in (TrialState.WAITING, TrialState.UNFINISHED)]
            while running or (waiting and not stopped()):
                while waiting and len(running) < jobs and not stopped():
                    trial = waiting.pop(0)
                    running[trial] = _start(trial, directories[trial], run)
                    states[trial] = TrialState.RUNNING
                watch(states)
                connection.wait([process.sentinel for process in running.values()], timeout=POLL_SECONDS)
                for trial in [trial for trial, process in running.items() if not process.is_alive()]:
                    states[trial] = _settle(trial, directories[trial], running.pop(trial), stopped(), tell)
                if stopped() and running:
                    tell(f"stopping {len(running)} trials at their next checkpoint")
                    _stop(list(running.values()))
            watch(states)
            if stopped():
                raise Interrupted("stopped; run the same command again to resume")
    finally:
        for process in running.values():
            process.kill()
        lock.release()
    return states


def _start(trial: Trial, directory: Path, run: RunTrial) -> SpawnProcess:
    # Spawned: threads of JAX and MuJoCo do not survive a fork.
    process = get_context("spawn").Process(target=_work, args=(trial, directory, run), name=trial.name, daemon=True)
    process.start()
    return process


def _stop(processes: Sequence[SpawnProcess]) -> None:
    """Ask all processes to write a checkpoint and end; kill those that take too long. A second Ctrl-C kills them at once."""
    for process in processes:
        process.terminate()
    try:
        deadline = time.monotonic() + GRACE
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            process.kill()
            process.join()


def _settle(trial: Trial, directory: Path, process: SpawnProcess, stopped: bool, tell: Callable[[str], None]) -> TrialState:
    """Return the state of a trial whose process has ended; if it left no outcome, write the failure."""
    process.join()
    code, state = process.exitcode or 0, state_of(directory)
    if state == TrialState.UNFINISHED and code < 0 and not stopped:
        tell(f"{trial.name}: killed by {signal.Signals(-code).name}; run the same command again to resume it")
    elif state in (TrialState.UNFINISHED, TrialState.WAITING) and code >= 0 and code != STOPPED:
        end(directory, TrialState.FAILED, f"its process ended with status {code}; see {directory / 'log.txt'}")
        state = TrialState.FAILED
    if state == TrialState.FAILED:
        tell(f"{trial.name}: failed: {error_of(directory)}")
    elif state == TrialState.FINISHED:
        tell(f"{trial.name}: finished")
    return state


def _work(trial: Trial, directory: Path, run: RunTrial) -> None:
    """Run one trial; the main function of its process."""
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C must reach only the process of the study, which then asks the others to stop
    call_when_parent_ends(_stop_with_the_study)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "log.txt").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        # A process of an earlier, killed study may still be writing its last checkpoint.
        with FileLock(directory / ".lock", timeout=2 * GRACE):
            attempt(trial, directory, run)
    except Interrupted as stop:
        print(stop, flush=True)
        sys.exit(STOPPED)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def _stop_with_the_study() -> None:
    """Stop this process at its next checkpoint, after the study's process has ended."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(STOPPED)
