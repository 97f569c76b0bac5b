"""Call slow controllers in worker processes, for several observations at a time."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Self

import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper

from residual_rl.controllers.adapted import PerLane
from residual_rl.controllers.answers import reason_of, stacked, tolerated, tolerating_failures
from residual_rl.controllers.controller import declared_traits, each, is_stateful, name_of
from residual_rl.errors import ControllerError
from residual_rl.processes import call_when_parent_ends, ignore_interrupts, usable_cores
from residual_rl.types import row_of, size_of

Call = Callable[[Any], Any]


class InProcesses:
    """Controllers of single observations in worker processes, which share a batch.

    If they are stateful, each lane has its own, which stays in the same process.
    """

    takes_batch = True
    makes_each = True

    def __init__(self, make: Callable[[], Call], workers: int):
        if workers < 1:
            raise ControllerError(f"workers must be at least 1, not {workers}")
        self.__name__ = name_of(make)
        # One pool per process, because a lane's state is in one of them. Spawned: JAX has threads, which do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._pools = [ProcessPoolExecutor(1, context, initializer=_begin) for _ in range(workers)]
        wrapped: Any = make  # the wrapper is typed for functions that make environments, but works for any callable
        about = self._ask_workers([(_make, CloudpickleWrapper(wrapped))] * workers)[0]
        self.__name__ = about.pop("name")
        if about.pop("has_memory"):
            self.reset = self._reset
        for name, value in about.items():
            setattr(self, name, value)

    def __call__(self, shown: Any) -> np.ndarray:
        """Return one action for each observation of a batch.

        Raises:
            ControllerError: a controller raised, or its process has ended.
        """
        parts, failed = self._parts(size_of(shown)), tolerated()
        questions = [(_ask if failed is None else _ask_tolerantly, row_of(shown, part)) for part in parts]
        answers: list[np.ndarray | None] = []
        for part, (rows, reasons) in zip(parts, self._ask_workers(questions), strict=True):
            answers += [None if row in reasons else one for row, one in enumerate(rows)]
            if failed is not None:
                failed.update({part.start + row: reason for row, reason in reasons.items()})
        return stacked(answers, self.__name__)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        """Return itself: a process and the pipes to it cannot be copied. The episodes of a copy reset it."""
        return self

    def _reset(self, mask: np.ndarray) -> None:
        """Reset the lanes `[E]` of the mask."""
        self._ask_workers([(_reset, mask[part]) for part in self._parts(len(mask))])

    def _parts(self, size: int) -> list[slice]:
        """Return the rows of each process; with fewer rows than processes, some have none."""
        ends = [size * number // len(self._pools) for number in range(len(self._pools) + 1)]
        return [slice(start, end) for start, end in pairwise(ends) if end > start]

    def _ask_workers(self, questions: list[tuple[Callable[[Any], Any], Any]]) -> list[Any]:
        """Return the answers of the first processes, one question each."""
        try:
            futures = [pool.submit(*question) for pool, question in zip(self._pools, questions, strict=False)]
            return [future.result() for future in futures]
        except BrokenProcessPool:
            raise ControllerError(
                f"a process of controller {self.__name__!r} has ended: it was killed, perhaps for its memory, or could not"
                ' begin (a script that calls in_processes needs an `if __name__ == "__main__":`)'
            ) from None

    def close(self) -> None:
        """End the processes, which else end with the program."""
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    def __enter__(self) -> "InProcesses":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def in_processes(make: Callable[[], Call], workers: int | None = None) -> InProcesses:
    """Run a slow controller, one that takes milliseconds for a proposal, in several processes.

    Its proposals are those of `batched(make())`, or, if it is stateful, of `per_lane(make)`.

    Args:
        make: called once in each process (for a stateful controller: once for each lane); returns a callable of one
            observation. It is stateful if it has a method `reset()`, which is called when an episode starts.
        workers: processes; None for one per core.

    Returns:
        The controller. `close()`, or `with`, ends its processes; else they end with the program.

    Raises:
        ControllerError: `make` raised in its process, or its process could not begin.
    """
    return InProcesses(make, usable_cores() if workers is None else workers)


# --- in a process ---

_here: dict[str, Any] = {}
"""`name`, and `controller`: of a batch."""


def _begin() -> None:
    ignore_interrupts()
    call_when_parent_ends(lambda: os._exit(1))


def _make(make: CloudpickleWrapper) -> dict[str, Any]:
    """Make the controller; return its name, whether it is stateful, and the traits that it declares."""
    made: Any = make.fn
    _here["name"] = name_of(made)
    with _naming():
        call = made()
    _here["name"] = name_of(call)
    _here["controller"] = PerLane(made) if is_stateful(call) else each(call)
    return {"name": name_of(call), "has_memory": is_stateful(call), **declared_traits(call)}


def _ask(shown: Any) -> tuple[np.ndarray, dict[int, str]]:
    with _naming():
        return _here["controller"](shown), {}


def _ask_tolerantly(shown: Any) -> tuple[np.ndarray, dict[int, str]]:
    """Return the actions of a part of a batch, and the reasons of the rows that have none."""
    with _naming(), tolerating_failures() as failed:
        return _here["controller"](shown), dict(failed)


def _reset(mask: np.ndarray) -> None:
    with _naming():
        _here["controller"].reset(mask)


@contextmanager
def _naming() -> Iterator[None]:
    """Convert an exception of a controller into one that can be sent to another process."""
    try:
        yield
    except Exception as error:
        raise ControllerError(reason_of(error, _here["name"])) from None
