"""Intervals and tests: rates, means, paired differences, and means over seeds.

Sources stand with the functions. Means over seeds have percentile bootstrap intervals (Agarwal et al. 2021).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy

FEWEST_PAIRS = 6  # so many must differ before a two-sided test at 5 % can be significant: 2 / 2^6 = 0.03
RESAMPLES = 2_000


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a rate. Source: Wilson 1927."""
    interval = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of `values` `[N]`. Source: Student 1908. A single value is its own interval."""
    if len(values) == 1:
        return float(values[0]), float(values[0])
    half = scipy.special.stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def mcnemar(fixed: int, broken: int) -> float:
    """Two-sided p-value of the exact McNemar test. Source: McNemar 1947, with the binomial distribution."""
    return float(scipy.stats.binomtest(fixed, fixed + broken, 0.5).pvalue) if fixed + broken else 1.0


def paired_interval(fixed: int, broken: int, episodes: int) -> tuple[float, float]:
    """95 % interval of the difference of two paired success rates.

    How large the difference is: Wald's interval with one more pair of each kind that differs. Which is better, only the pairs
    that differ say: given their number, how many of them were fixed is binomial, and its exact (Clopper-Pearson) interval is
    that of a difference too. Alone it would be far too narrow, because their number is chance as well. Each end is the outer
    one of the two, so the interval excludes zero exactly where the one-sided binomial evidence reaches 97.5 %.

    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data".
    """
    gains, losses = (fixed + 1) / (episodes + 2), (broken + 1) / (episodes + 2)
    half = scipy.special.ndtri(0.975) * np.sqrt((gains + losses - (gains - losses) ** 2) / (episodes + 2))
    low, high = gains - losses - half, gains - losses + half
    differing = fixed + broken
    if differing:
        share = scipy.stats.binomtest(fixed, differing).proportion_ci(0.95, method="exact")
        low = min(low, (2 * share.low - 1) * differing / episodes)
        high = max(high, (2 * share.high - 1) * differing / episodes)
    return max(-1.0, float(low)), min(1.0, float(high))


def compare_returns(differences: np.ndarray) -> tuple[float, tuple[float, float], float]:
    """Mean of the paired differences `[N]`, its 95 % interval, and the two-sided p-value of no difference.

    Student's paired t, corrected for skewness: `skewed_t`. As in McNemar's test, only pairs that differ say which is better:
    with `k` of them no p-value is below `2 / 2^k`, and with fewer than `FEWEST_PAIRS` the interval is the range of all
    differences and zero.
    """
    differing = int(np.count_nonzero(differences))
    interval, p_value = skewed_t(differences)
    if differing < FEWEST_PAIRS:
        interval = min(float(differences.min()), 0.0), max(float(differences.max()), 0.0)
    return float(differences.mean()), interval, max(p_value, min(1.0, 2.0 ** (1 - differing)))


def skewed_t(values: np.ndarray) -> tuple[tuple[float, float], float]:
    """95 % interval of the mean of `values` `[N]`, and the two-sided p-value of a mean of zero.

    Where most values are small gains and few are great losses, a sample often has too few of the losses, and Student's t then
    finds a gain far too often. Hall's transformation corrects that; here each end of the interval is corrected only outwards.

    Source: Hall 1992, "On the removal of skewness by transformation".
    Differs: the quantile is Student's t, not the normal one: without skewness this is Student's interval. And each end is only
    moved outwards, as said.
    """
    size, mean = len(values), float(values.mean())
    deviation = float(values.std(ddof=1)) if size > 1 else 0.0
    if not deviation:
        return (mean, mean), 0.0 if mean else 1.0
    skewness = float((((values - mean) / values.std()) ** 3).mean())
    left, right, root = min(skewness, 0.0), max(skewness, 0.0), float(np.sqrt(size))
    quantile = float(scipy.special.stdtrit(size - 1, 0.975)) / root
    low = mean - deviation * _skewed(quantile, left, size)
    high = mean - deviation * _skewed(-quantile, right, size)
    ratio = mean / deviation
    # Beyond a ratio of 9 / skewness the transformation points inwards; there, far from 0.05, the p-value is t's.
    above = scipy.special.stdtr(size - 1, -root * min(ratio, _unskewed(ratio, left, size)))
    below = scipy.special.stdtr(size - 1, root * max(ratio, _unskewed(ratio, right, size)))
    return (low, high), min(1.0, 2.0 * float(min(above, below)))


def _unskewed(ratio: float, skewness: float, size: int) -> float:
    """What the ratio of a mean's error to the standard deviation would be without skewness. Source: Hall 1992."""
    return ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27 + skewness / (6 * size)


def _skewed(ratio: float, skewness: float, size: int) -> float:
    """The inverse of `_unskewed`, written so that nothing cancels where the skewness is small."""
    shifted = ratio - skewness / (6 * size)
    root = float(np.cbrt(1 + skewness * shifted))
    return 3 * shifted / (root**2 + root + 1)


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
