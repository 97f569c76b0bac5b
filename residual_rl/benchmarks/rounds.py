"""Compare speeds on a machine with other load.

All contestants of a benchmark are measured in one process, in short alternating rounds, and compared within each round. The
results are medians over the rounds. The ratios depend less on other load than the speeds.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Speed = Callable[[], float]
"""Run one round of one contestant; return environment steps per second, summed over environments."""


def alternate(measures: Mapping[str, Speed], rounds: int) -> dict[str, list[float]]:
    """Return steps per second of each contestant in each round. Every other round is reversed, so that drift favours none."""
    speeds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures)[:: -1 if number % 2 else 1]:
            gc.collect()  # no contestant pays for the garbage of another
            speeds[name].append(measures[name]())
    return speeds


def medians(speeds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the median over the rounds of each contestant."""
    return {name: round(statistics.median(speed), 1) for name, speed in speeds.items()}


def compared_speeds(speeds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return medians over the rounds, and the median of the rounds' ratios `ours / peer`; None if no peer was measured.

    Likewise `ratio_to_raw` is `ours / raw` and `ratio_to_sbx` is `ours / sbx`, if these were measured.
    """
    result: dict[str, Any] = {f"{name}_steps_per_second": speed for name, speed in medians(speeds).items()}
    result["ratio"] = None
    for other, name in (("peer", "ratio"), ("raw", "ratio_to_raw"), ("sbx", "ratio_to_sbx")):
        if other in speeds:
            ratios = [ours / theirs for ours, theirs in zip(speeds["ours"], speeds[other], strict=True)]
            result[name] = round(statistics.median(ratios), 3)
    result["rounds"] = [
        {name: round(speed, 1) for name, speed in zip(speeds, values, strict=True)}
        for values in zip(*speeds.values(), strict=True)
    ]
    return result


def stepper(envs: Any, batch: int, seconds: float, action_size: int = 4) -> Speed:
    """Return a round of random actions for about `seconds`, after one warm-up step. Environments reset themselves."""
    envs.reset()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (256, batch, action_size)).astype(np.float32)
    envs.step(actions[0])

    def speed() -> float:
        calls, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds or calls == 0:
            envs.step(actions[calls % len(actions)])
            calls += 1
        return calls * batch / elapsed

    return speed
