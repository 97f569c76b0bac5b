"""The directory of a study: one process at a time runs trials in it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from residual_rl.storage import acquire, make_directory
from residual_rl.studies.trial import Trial
from residual_rl.studies.trial_directory import TrialState, check_same, forget_failure, state_of


@contextmanager
def open_study(trials: Sequence[Trial], out: Path, retry: bool) -> Iterator[dict[Trial, TrialState]]:
    """Lock the directory of a study, and yield the state of each trial.

    Args:
        trials: each has a subdirectory with its name.
        out: the directory; it is created if necessary.
        retry: whether failed trials count as unfinished.

    Raises:
        RunError: another process runs a study in `out`, or a trial differs from the one that started there.
    """
    make_directory(out)
    lock = FileLock(out / ".lock")
    acquire(lock, out)
    try:
        states: dict[Trial, TrialState] = {}
        for trial in trials:
            check_same(trial, out / trial.name)
            if retry:
                forget_failure(out / trial.name)
            states[trial] = state_of(out / trial.name)
        yield states
    finally:
        lock.release()
