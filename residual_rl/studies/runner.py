"""Run the trials of a study, each in its own process, on all cores. If a process fails, the others go on.

`ray_runner` runs the same trials on a cluster.
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

from filelock import FileLock

from residual_rl.errors import Interrupted
from residual_rl.processes import call_when_parent_ends, stop_requested, usable_cores
from residual_rl.studies.attempt import RunTrial, attempt, run_trial
from residual_rl.studies.study_directory import open_study
from residual_rl.studies.trial import Trial
from residual_rl.studies.trial_directory import TrialState, end, error_of, state_of

STOPPED = 130  # exit status of a process that stopped on request
GRACE = 60.0  # seconds to write a checkpoint before a process is killed
POLL_SECONDS = 0.5


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
    running: dict[Trial, SpawnProcess] = {}
    with open_study(trials, out, retry) as states:
        waiting = [trial for trial, state in states.items() if state in (TrialState.WAITING, TrialState.UNFINISHED)]
        try:
            with stop_requested() as stopped:
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
