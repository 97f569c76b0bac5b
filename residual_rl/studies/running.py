"""Run a list of trials, on this machine or on a cluster, and gather their results as they come."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from residual_rl.errors import Interrupted, ResidualRLError, RunError
from residual_rl.studies.ray_runner import run_on_ray
from residual_rl.studies.results import collect_results
from residual_rl.studies.runner import run_study
from residual_rl.studies.trial import Study, Trial
from residual_rl.studies.trial_directory import TrialState

OVER = TrialState.FINISHED, TrialState.FAILED


def run(
    trials: Sequence[Trial],
    out: str | Path,
    *,
    ray: str | None = None,
    cpus: float = 1.0,
    jobs: int | None = None,
    retry: bool = False,
    study: Study | None = None,
    watch: Callable[[Mapping[Trial, TrialState]], None] = lambda states: None,
    tell: Callable[[str], None] = print,
) -> dict[Trial, TrialState]:
    """Run the trials that are not finished, and return the state of each trial.

    Each time that a trial ends, its results are added to the tables `results.csv` and `verdicts.csv` in `out`. After an
    interrupt or a kill, the same call resumes. A trial that raises has failed, and the others go on. If this is called in a
    script, the script needs an `if __name__ == "__main__":`, since each trial runs in a process of its own.

    Args:
        trials: the trials to run, in this order; each has a name of its own.
        out: the directory of the trials and tables; with `ray`, in a folder that has the same path on every node.
        ray: None to run on this machine alone; else the address of a Ray cluster, see `run_on_ray`: "local", "auto" or
            "HOST:PORT".
        cpus: CPUs of a trial, by which Ray places it; without `ray` it has no effect.
        jobs: the most trials at a time; None for one per core of this machine, or as many as the cluster has CPUs for.
        retry: whether to repeat failed trials, from their last checkpoint.
        study: what the trials belong to, for the order and the published numbers in the tables.
        watch: called about twice a second with the states.
        tell: called with a line about each trial that ends.

    Raises:
        ResidualRLError: a trial cannot run, Ray is not installed, or no cluster answers.
        RunError: another process runs a study in `out`, or a trial differs from the one that started there.
        Interrupted: SIGINT or SIGTERM arrived. All trials have stopped with a checkpoint.
    """
    out, study = Path(out), study or Study("study", "", tuple(trials))
    _check(trials, jobs, cpus)
    over: dict[Trial, TrialState] = {}

    def gather_and_watch(states: Mapping[Trial, TrialState]) -> None:
        now = {trial: state for trial, state in states.items() if state in OVER}
        if now != over:
            over.clear()
            over.update(now)
            with suppress(RunError):  # another trial is writing a file at this moment; the next time it will be there
                collect_results(study, out)
        watch(states)

    try:
        if ray is None:
            states = run_study(trials, out, jobs=jobs, retry=retry, watch=gather_and_watch, tell=tell)
        else:
            states = run_on_ray(trials, out, address=ray, cpus=cpus, jobs=jobs, retry=retry, watch=gather_and_watch, tell=tell)
    except Interrupted:
        collect_results(study, out)
        raise
    collect_results(study, out)
    return states


def _check(trials: Sequence[Trial], jobs: int | None, cpus: float) -> None:
    """Raise ResidualRLError if the trials cannot run together."""
    if jobs is not None and jobs < 1:
        raise ResidualRLError(f"jobs must be at least 1, not {jobs}")
    if not 0.0 < cpus < float("inf"):
        raise ResidualRLError(f"cpus must be more than 0, not {cpus}")
    twice = [name for name, count in Counter(trial.name for trial in trials).items() if count > 1]
    if twice:
        raise ResidualRLError(f"{len(twice)} names belong to several trials, such as {twice[0]}: give them different variants")
    for trial in trials:
        trial.config()
