"""Count usable cores, stop work on a signal, and keep worker processes from disturbing or outliving their parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Catch the first SIGINT or SIGTERM, and yield a function that returns whether it arrived."""
    arrived = []
    previous = {}

    def note(number: int, frame: Any) -> None:
        arrived.append(number)
        signal.signal(number, previous[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, note)
    try:
        yield lambda: bool(arrived)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def ignore_interrupts() -> None:
    """Ignore Ctrl-C in a worker process.

    A terminal sends SIGINT to all of its processes. Training needs its workers until it has stopped at a checkpoint.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def call_when_parent_ends(act: Callable[[], object]) -> None:
    """Call a function from a thread as soon as the process that spawned this one has ended, even if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        act()

    threading.Thread(target=wait, daemon=True).start()
