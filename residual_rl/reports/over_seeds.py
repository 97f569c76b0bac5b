"""Means over seeds and their intervals, by the percentile bootstrap. Source: Agarwal et al. 2021."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy

RESAMPLES = 2_000


def bootstrap_interval(values: np.ndarray) -> tuple[Any, Any]:
    """95 % interval of the mean over seeds: `[S] -> [], []` or `[S, N] -> [N], [N]`."""
    return _bootstrapped([values], np.mean)


def iqm(scores: Sequence[np.ndarray]) -> float:
    """Interquartile mean of the scores of all tasks, each `[S]`: the mean of the middle half."""
    return float(scipy.stats.trim_mean(np.concatenate(scores), 0.25))


def iqm_interval(scores: Sequence[np.ndarray]) -> tuple[float, float]:
    """95 % interval of `iqm`, seeds resampled within each task."""
    return _bootstrapped(
        list(scores), lambda *samples, axis: scipy.stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis)
    )


def _bootstrapped(samples: list[np.ndarray], statistic: Callable[..., Any]) -> tuple[Any, Any]:
    """Each sample is resampled on its own, along its first axis."""
    rng = np.random.default_rng(0)
    found = scipy.stats.bootstrap(
        samples, statistic, n_resamples=RESAMPLES, method="percentile", rng=rng, vectorized=True, axis=0
    )
    return found.confidence_interval.low, found.confidence_interval.high
