"""Measure the parts of a training cycle, in sequence and overlapped, with the default preset on SlipperyPush.

    python studies/cycle_profile.py [--cycles 24]

Prints milliseconds a cycle, medians of cycles after burn-in in alternating runs: the table in docs/learner.md.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from unittest import mock

import jax

import residual_rl
from residual_rl.runs.reading import read_rows
from residual_rl.training import cycle

BURN_IN = 15  # cycles of the default preset on episodes of 50 steps
ROUNDS = 3
PARTS = {
    "_collect_cycle": "collecting: physics, base, networks",
    "_sample": "sampling and relabelling",
    "update_many": "waiting for updates",
}


def profiled(cycles: int, overlap: bool) -> dict[str, float]:
    """Milliseconds of a cycle, in all and of each part."""
    spent: dict[str, float] = defaultdict(float)
    began: list[dict[str, float]] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **fields: Any) -> Any:
            started = time.perf_counter()
            result = function(*args, **fields)
            if not overlap:
                jax.block_until_ready(result)
            spent[name] += time.perf_counter() - started
            return result

        return call

    rooms = {"_collect_cycle": cycle, "_sample": cycle, "update_many": cycle.learning}
    with tempfile.TemporaryDirectory() as out:
        patches = [mock.patch.object(room, name, timed(name, getattr(room, name))) for name, room in rooms.items()]
        for patch in patches:
            patch.start()
        residual_rl.improve(
            "slippery-push",
            out=out,
            steps=(BURN_IN + 1 + cycles) * 800,
            overlap=overlap,
            evaluation_interval=1_000_000,
            evaluation_episodes=2,
            verdict_episodes=2,
            on_progress=lambda progress: began.append(dict(spent) | {"all": time.perf_counter()}),
        )
        for patch in patches:
            patch.stop()
        assert sum(row["burn_in"] for row in read_rows(f"{out}/metrics.csv")) == BURN_IN
    rows = began[BURN_IN + 1 : BURN_IN + 1 + cycles]  # the last cycle ends with an evaluation
    return {name: statistics.median(1e3 * (after[name] - before[name]) for before, after in pairwise(rows)) for name in rows[0]}


def main() -> None:
    """Both, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=24)
    cycles = parser.parse_args().cycles
    found: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for number in range(ROUNDS):
        for overlap in (False, True) if number % 2 else (True, False):
            found[overlap].append(profiled(cycles, overlap))
    print("| milliseconds a cycle | one after the other | overlapped |\n|---|---|---|")
    for name, label in (PARTS | {"all": "a whole cycle"}).items():
        medians = (statistics.median(run[name] for run in found[overlap]) for overlap in (False, True))
        print(f"| {label} | {' | '.join(f'{value:.0f}' for value in medians)} |")


if __name__ == "__main__":
    main()
