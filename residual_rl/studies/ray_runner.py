"""Run the trials of a study as tasks of a Ray cluster. Their directories lie in a folder that every node reaches."""

import math
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from residual_rl.errors import Interrupted, ResidualRLError
from residual_rl.optional import RAY, need
from residual_rl.processes import stop_requested, usable_cores
from residual_rl.storage import write_whole
from residual_rl.studies.attempt import RunTrial, run_trial
from residual_rl.studies.ray_task import SHARED, Place, forget_place, perform, read_place
from residual_rl.studies.study_directory import open_study
from residual_rl.studies.trial import Trial
from residual_rl.studies.trial_directory import TrialState, error_of, state_of

LOCAL = "local"
RETRIES = 20  # how often Ray starts a trial again whose worker or node is lost
GRACE = 60.0  # seconds to write a checkpoint before a worker is killed
ANSWER_SECONDS = 10.0
POLL_SECONDS = 0.5

Tell = Callable[[str], None]


def run_on_ray(
    trials: Sequence[Trial],
    out: Path,
    *,
    address: str,
    cpus: float = 1.0,
    jobs: int | None = None,
    retry: bool = False,
    run: RunTrial = run_trial,
    watch: Callable[[Mapping[Trial, TrialState]], None] = lambda states: None,
    tell: Tell = lambda line: None,
) -> dict[Trial, TrialState]:
    """Run the trials that are not finished on a Ray cluster, and return the state of each trial.

    If a worker or a node is lost, Ray starts its trials again elsewhere, and they resume from their last checkpoint. A trial
    that raises has failed; the others go on. After an interrupt or a kill of this process, the same call resumes.

    Args:
        trials: the trials to run, in this order.
        out: the study's directory, in a folder that has the same path on every node.
        address: "local" to start a cluster on this machine for the time of this call; "auto" for the one that this machine
            belongs to; else as for `ray.init`, such as "10.0.0.1:6379". If this process is already connected to Ray, that
            connection is used.
        cpus: CPUs of a trial, by which Ray places it.
        jobs: the most trials at a time; None for as many as the cluster has CPUs for.
        retry: whether to repeat failed trials, from their last checkpoint.
        run: a function that the workers can import.
        watch: called about twice a second.
        tell: called with a line about each trial that ends, or that Ray starts again.

    Raises:
        ResidualRLError: Ray is not installed, or no cluster answers at the address.
        RunError: another process runs a study in `out`, or a trial differs from the one that started there.
        Interrupted: SIGINT or SIGTERM arrived. All trials have stopped with a checkpoint, see `run_study`.
    """
    out = out.absolute()
    with open_study(trials, out, retry) as states, _connected(address, jobs, cpus) as ray, stop_requested() as stopped:
        _Tasks(ray, states, out, cpus, run, tell).run_all(jobs or len(trials), stopped, watch)
        if stopped():
            raise Interrupted("stopped; run the same command again to resume")
    return states


class _Tasks:
    """The trials of one call as tasks of Ray."""

    def __init__(self, ray: Any, states: dict[Trial, TrialState], out: Path, cpus: float, run: RunTrial, tell: Tell):
        self._ray, self._states, self._out, self._run, self._tell = ray, states, out, run, tell
        self._token = token_hex(8)
        write_whole(out / SHARED, lambda beside: beside.write_text(self._token))
        # One call a worker: as with local processes, no trial inherits what another left in memory.
        self._task = ray.remote(num_cpus=cpus, max_retries=RETRIES, max_calls=1)(perform)
        self._pending: dict[Any, Trial] = {}
        self._told: dict[Trial, int] = {}
        largest = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        if largest < cpus:
            tell(f"no node has {cpus:g} CPUs; Ray waits until one joins")

    def run_all(self, jobs: int, stopped: Callable[[], bool], watch: Callable[[Mapping[Trial, TrialState]], None]) -> None:
        """Run all trials without an outcome, `jobs` at a time; if `stopped`, stop them at their next checkpoint."""
        waiting = [trial for trial, state in self._states.items() if state in (TrialState.WAITING, TrialState.UNFINISHED)]
        while self._pending or (waiting and not stopped()):
            while waiting and len(self._pending) < jobs and not stopped():
                self._submit(waiting.pop(0))
            watch(self._states)
            done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=POLL_SECONDS)
            for reference in done:
                self._settle(reference)
            self._look()
            if stopped() and self._pending:
                self._tell(f"stopping {len(self._pending)} trials at their next checkpoint")
                self._stop()
        watch(self._states)

    def _submit(self, trial: Trial) -> None:
        forget_place(self._out / trial.name)
        path = [os.path.abspath(folder) for folder in sys.path]
        reference = self._task.remote(trial.to_json(), str(self._out), self._token, path, self._run)
        self._pending[reference] = trial

    def _look(self) -> None:
        """Read from the directories which trials run, and say which of them Ray has started again."""
        alive = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        for trial in self._pending.values():
            place = read_place(self._out / trial.name)
            runs = place is not None and place.node in alive
            self._states[trial] = TrialState.RUNNING if runs else state_of(self._out / trial.name)
            if place is not None and place.attempt > self._told.get(trial, 1):
                self._told[trial] = place.attempt
                self._tell(f"{trial.name}: its worker was lost; {_resumed(place)}")

    def _settle(self, reference: Any) -> None:
        """Take the outcome of a task that has ended."""
        trial = self._pending.pop(reference)
        try:
            problem = self._ray.get(reference)
        except self._ray.exceptions.TaskCancelledError:
            problem = ""
        except self._ray.exceptions.RayError as error:
            problem = f"Ray gave it up: {str(error).strip().splitlines()[-1]}"
        directory = self._out / trial.name
        self._states[trial] = state = state_of(directory)
        if state == TrialState.FAILED:
            self._tell(f"{trial.name}: failed: {error_of(directory)}")
        elif state == TrialState.FINISHED:
            self._tell(f"{trial.name}: finished")
        elif problem:
            self._tell(f"{trial.name}: {problem}; run the same command again to resume it")

    def _stop(self) -> None:
        """Ask all tasks to write a checkpoint and end; kill those that take too long. A second Ctrl-C kills them at once."""
        ray, references = self._ray, list(self._pending)
        try:
            for reference in references:
                ray.cancel(reference)  # in the worker this is SIGINT
            ray.wait(references, num_returns=len(references), timeout=GRACE)
        finally:
            for reference in references:
                ray.cancel(reference, force=True)
        for reference in references:
            self._settle(reference)


def _resumed(place: Place) -> str:
    return f"Ray started it again on {place.host}, attempt {place.attempt}"


@contextmanager
def _connected(address: str, jobs: int | None, cpus: float) -> Iterator[Any]:
    """Yield the module `ray`, connected to a cluster."""
    ray = need("ray", *RAY)
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a library does not report its user's machines
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == LOCAL:
        cores = math.ceil(jobs * cpus) if jobs else max(usable_cores(), math.ceil(cpus))
        options |= {"num_cpus": cores, "include_dashboard": False}
    else:
        _check_answers(address)
    try:
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise _no_answer(address, str(error).strip().splitlines()[0]) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise ResidualRLError if nothing listens at an address with a port; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _no_answer(address, str(error)) from error


def _no_answer(address: str, reason: str) -> ResidualRLError:
    return ResidualRLError(
        f"no Ray cluster answers at {address!r}: {reason}. Give the address that `ray start --head` printed, such as "
        "10.0.0.1:6379; 'auto' on a machine of the cluster; or 'local' to start one here"
    )
