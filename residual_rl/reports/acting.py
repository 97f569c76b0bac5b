"""How the policy that acts in training did, exploration included: a moving average, because a cycle has few episodes."""

from collections.abc import Mapping, Sequence

import numpy as np

ACTING_EPISODES = 100
"""Training episodes that are averaged."""


def acting_average(metrics: Sequence[Mapping[str, float]], column: str, episodes_per_cycle: int) -> list[tuple[float, float]]:
    """The average over the last `ACTING_EPISODES` at each step, once there are so many.

    Args:
        metrics: the rows of `metrics.csv`, one a cycle. Those without a number, whose episodes were dropped, do not count.
        column: what is averaged.
        episodes_per_cycle: that a row is the mean of.

    Returns:
        Environment step and average, in the order of the steps.
    """
    kept = [(row["step"], row[column]) for row in metrics if np.isfinite(row[column])]
    cycles = max(1, round(ACTING_EPISODES / episodes_per_cycle))
    if len(kept) < cycles:
        return []
    means = np.convolve([value for _, value in kept], np.full(cycles, 1 / cycles), mode="valid")
    return [(step, float(mean)) for (step, _), mean in zip(kept[cycles - 1 :], means, strict=True)]
