"""Average the success of training episodes, exploration included, over several cycles: one cycle has few episodes."""

from collections.abc import Mapping, Sequence

import numpy as np

ACTING_EPISODES = 100
"""Number of training episodes in an average."""


def acting_average(metrics: Sequence[Mapping[str, float]], column: str, episodes_per_cycle: int) -> list[tuple[float, float]]:
    """Return the average over the last `ACTING_EPISODES` at each step, from the first step with so many.

    Args:
        metrics: the rows of `metrics.csv`, one a cycle. Rows without a finite number, whose episodes were dropped, are skipped.
        column: the column to average.
        episodes_per_cycle: the number of episodes of a row.

    Returns:
        Pairs of environment step and average, in the order of the steps.
    """
    kept = [(row["step"], row[column]) for row in metrics if np.isfinite(row[column])]
    cycles = max(1, round(ACTING_EPISODES / episodes_per_cycle))
    if len(kept) < cycles:
        return []
    means = np.convolve([value for _, value in kept], np.full(cycles, 1 / cycles), mode="valid")
    return [(step, float(mean)) for (step, _), mean in zip(kept[cycles - 1 :], means, strict=True)]
