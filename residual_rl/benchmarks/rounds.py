"""Fair clocks on a machine that others use too.

All contestants of a benchmark are measured in one process, in short alternating rounds, and compared within each round;
medians over the rounds are reported. What does not depend on the machine's mood is the ratio.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Speed = Callable[[], float]
"""One round of one contestant: env steps per second, summed over envs."""


def alternate(measures: Mapping[str, Speed], rounds: int) -> dict[str, list[float]]:
    """Steps per second of each contestant in each round. Every other round goes backwards, so that no drift favours one."""
    speeds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in list(measures)[:: -1 if number % 2 else 1]:
            gc.collect()  # nobody pays for another one's garbage
            speeds[name].append(measures[name]())
    return speeds


def medians(speeds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median over the rounds of each contestant."""
    return {name: round(statistics.median(speed), 1) for name, speed in speeds.items()}


def compared(speeds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians over the rounds, and the median of each round's ratio `ours / peer`; None where no peer was measured.

    Likewise `ratio_to_raw` is `ours / raw` and `ratio_to_sbx` is `ours / sbx`, where those were measured.
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
    """Random actions for about `seconds`, after one that warms up. Finished episodes start again by themselves."""
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
