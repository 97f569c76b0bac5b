"""Intervals and tests: rates, means, paired differences, and means over seeds.

Sources stand with the functions. Means over seeds have percentile bootstrap intervals (Agarwal et al. 2021).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # loads its submodules on first use: `stats` takes longer than all others together

FEWEST_PAIRS = 6  # that must differ before a two-sided test at `ALPHA` can be significant: 2 / 2^6 = 0.03
RESAMPLES = 2_000
ALPHA = 0.04
"""Two-sided error of every interval and test of a difference, unless another one is given.

At most 2.5 % of equally good policies may be promoted. A level of 2.5 % on each side would spend all of that, although t and
the correction for skewness are approximations at small samples; 2 % leaves a fifth of it for them."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate. Source: Wilson 1927."""
    z, rate = scipy.special.ndtri(0.975), successes / trials
    size = 2 * (trials + z**2)
    centre = (2 * trials * rate + z**2) / size
    half = z / size * math.sqrt(4 * trials * rate * (1 - rate) + z**2)
    return (0.0 if successes == 0 else float(centre - half)), (1.0 if successes == trials else float(centre + half))


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `values` `[N]`. Source: Student 1908. A single value is its own interval."""
    if len(values) == 1:
        return float(values[0]), float(values[0])
    half = scipy.special.stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def mcnemar(fixed: int, broken: int) -> float:
    """Return the two-sided p-value of the exact McNemar test. Source: McNemar 1947, with the binomial distribution."""
    return min(1.0, 2 * float(scipy.special.bdtr(min(fixed, broken), fixed + broken, 0.5))) if fixed + broken else 1.0


def paired_interval(fixed: int, broken: int, episodes: int, alpha: float = ALPHA) -> tuple[float, float]:
    """Return the interval of the difference of two paired success rates, at confidence `1 - alpha`.

    Each end is the outer one of two intervals. The first is for the size of the difference: Wald's, with one more pair of each
    discordant kind. The second is for its sign, which only discordant pairs decide: given their number, the number of fixed
    ones is binomial, and its exact (Clopper-Pearson) interval converts to a difference. Alone it is far too narrow, because the
    number of discordant pairs is random too. So the interval excludes zero exactly if the one-sided binomial evidence reaches
    `1 - alpha / 2`.

    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data".
    """
    gains, losses = (fixed + 1) / (episodes + 2), (broken + 1) / (episodes + 2)
    half = scipy.special.ndtri(1 - alpha / 2) * np.sqrt((gains + losses - (gains - losses) ** 2) / (episodes + 2))
    low, high = gains - losses - half, gains - losses + half
    differing = fixed + broken
    if differing:
        least = scipy.special.betaincinv(fixed, broken + 1, alpha / 2) if fixed else 0.0
        most = scipy.special.betaincinv(fixed + 1, broken, 1 - alpha / 2) if broken else 1.0
        low = min(low, (2 * least - 1) * differing / episodes)
        high = max(high, (2 * most - 1) * differing / episodes)
    return max(-1.0, float(low)), min(1.0, float(high))


def compare_returns(differences: np.ndarray, alpha: float = ALPHA) -> tuple[float, tuple[float, float], float]:
    """Return the mean of paired differences `[N]`, its interval at `1 - alpha`, and the two-sided p-value of no difference.

    Student's paired t, corrected for skewness: `skewed_t`. As in McNemar's test, only pairs that differ are evidence: with `k`
    of them no p-value is below `2 / 2^k`, and with too few for a p-value below `alpha` the interval is the range of all
    differences and zero.
    """
    differing = int(np.count_nonzero(differences))
    interval, p_value = skewed_t(differences, alpha)
    if 2.0 ** (1 - differing) >= alpha:
        interval = min(float(differences.min()), 0.0), max(float(differences.max()), 0.0)
    return float(differences.mean()), interval, max(p_value, min(1.0, 2.0 ** (1 - differing)))


def skewed_t(values: np.ndarray, alpha: float = ALPHA) -> tuple[tuple[float, float], float]:
    """Return the interval of the mean of `values` `[N]` at `1 - alpha`, and the two-sided p-value of a mean of zero.

    If most values are small gains and few are large losses, a sample often has too few losses, and Student's t then finds a
    gain far too often. Hall's transformation corrects that; here each end of the interval is corrected only outwards.

    Source: Hall 1992, "On the removal of skewness by transformation".
    Differs: the quantile is Student's t, not the normal one: without skewness this is Student's interval. And each end only
    moves outwards.
    """
    size, mean = len(values), float(values.mean())
    deviation = float(values.std(ddof=1)) if size > 1 else 0.0
    if not deviation:
        return (mean, mean), 0.0 if mean else 1.0
    skewness = float((((values - mean) / values.std()) ** 3).mean())
    return _hall(mean, deviation, skewness, size, size - 1, alpha)


def welch(base: np.ndarray, policy: np.ndarray, alpha: float = ALPHA) -> tuple[float, tuple[float, float], float]:
    """Return the difference of the means of two independent samples `[N]`, its interval at `1 - alpha`, and the p-value.

    The p-value is two-sided. Welch's t with the correction of `skewed_t` for the skewness of the difference of means. With
    fewer than `FEWEST_PAIRS` values the interval is the range of all differences and zero.

    Source: Welch 1947, "The generalization of Student's problem"; Hall 1992, as in `skewed_t`.
    """
    size, difference = len(base), float(policy.mean() - base.mean())
    if 2.0 ** (1 - size) >= alpha:
        low, high = float(policy.min() - base.max()), float(policy.max() - base.min())
        return difference, (min(low, 0.0), max(high, 0.0)), 1.0
    shares = np.array([base.var(ddof=1), policy.var(ddof=1)])
    variance = float(shares.sum())
    if not variance:
        return difference, (difference, difference), 0.0 if difference else 1.0
    third = float(((policy - policy.mean()) ** 3).mean() - ((base - base.mean()) ** 3).mean())
    skewness = third / float(policy.var() + base.var()) ** 1.5
    freedom = (size - 1) * variance**2 / float((shares**2).sum())
    interval, p_value = _hall(difference, variance**0.5, skewness, size, freedom, alpha)
    return difference, interval, p_value


def _hall(
    mean: float, deviation: float, skewness: float, size: int, freedom: float, alpha: float
) -> tuple[tuple[float, float], float]:
    """Return interval and p-value of a mean of `size` values: Student's t with `freedom` degrees, corrected for skewness."""
    left, right, root = min(skewness, 0.0), max(skewness, 0.0), float(np.sqrt(size))
    quantile = float(scipy.special.stdtrit(freedom, 1 - alpha / 2)) / root
    low = mean - deviation * _skewed(quantile, left, size)
    high = mean - deviation * _skewed(-quantile, right, size)
    ratio = mean / deviation
    # Beyond a ratio of 9 / skewness the transformation points inwards; there, far from `ALPHA`, the p-value is t's.
    above = scipy.special.stdtr(freedom, -root * min(ratio, _unskewed(ratio, left, size)))
    below = scipy.special.stdtr(freedom, root * max(ratio, _unskewed(ratio, right, size)))
    return (low, high), min(1.0, 2.0 * float(min(above, below)))


def newcombe(base: int, policy: int, episodes: int, alpha: float = ALPHA) -> tuple[tuple[float, float], float]:
    """Return the interval of the difference of two independent success rates at `1 - alpha`, and the two-sided p-value.

    The p-value is the `alpha` at which the interval just touches zero, so the two never contradict each other.

    Args:
        base: successes of the base.
        policy: successes of the policy.
        episodes: of each.
        alpha: two-sided error.

    Source: Newcombe 1998, "Interval estimation for the difference between independent proportions", method 11: from Wilson's
    intervals with continuity correction, which keep the error below its nominal value.
    """
    difference = (policy - base) / episodes
    ones, others = (_wilson_corrected(successes, episodes, alpha) for successes in (base, policy))
    rates = base / episodes, policy / episodes
    low = difference - float(np.hypot(rates[1] - others[0], ones[1] - rates[0]))
    high = difference + float(np.hypot(others[1] - rates[1], rates[0] - ones[0]))
    return (max(-1.0, low), min(1.0, high)), _newcombe_p(base, policy, episodes)


def _newcombe_p(base: int, policy: int, episodes: int) -> float:
    less, more = sorted((base, policy))

    def end(log_alpha: float) -> float:
        """Return the end of the interval that is nearer to zero."""
        alpha = 10.0**log_alpha
        above, below = _wilson_corrected(less, episodes, alpha)[1], _wilson_corrected(more, episodes, alpha)[0]
        return (more - less) / episodes - float(np.hypot(more / episodes - below, above - less / episodes))

    least, most = -15.0, -1e-9
    if end(most) <= 0.0:
        return 1.0
    if end(least) >= 0.0:
        return 10.0**least
    return float(10.0 ** scipy.optimize.brentq(end, least, most))


def _wilson_corrected(successes: int, trials: int, alpha: float) -> tuple[float, float]:
    """Return Wilson's interval of a rate, continuity-corrected. Source: Newcombe 1998, method 4 for single proportions."""
    z, rate = float(scipy.special.ndtri(1 - alpha / 2)), successes / trials
    inner = 2 * successes + z**2
    low = (inner - 1 - z * np.sqrt(max(0.0, z**2 - 2 - 1 / trials + 4 * rate * (trials * (1 - rate) + 1)))) / (
        2 * (trials + z**2)
    )
    high = (inner + 1 + z * np.sqrt(max(0.0, z**2 + 2 - 1 / trials + 4 * rate * (trials * (1 - rate) - 1)))) / (
        2 * (trials + z**2)
    )
    return (0.0 if successes == 0 else max(0.0, float(low))), (1.0 if successes == trials else min(1.0, float(high)))


class Look(NamedTuple):
    """A point at which a sequential comparison may stop."""

    episodes: int
    """Pairs that are complete by then."""
    alpha: float
    """Two-sided error that is spent there."""


def looks(episodes: int, alpha: float = ALPHA) -> list[Look]:
    """Return the looks of a sequential comparison of at most `episodes` pairs, and the error that each of them spends.

    Looks come at `episodes` divided by 16, 8, 4, 2 and 1, if these are enough pairs for a result at all. The last one spends
    half of the error, the earlier ones share the other half. By the union bound the probability of any false result is at most
    `alpha`, for any dependence between the looks, so every interval that is exact for a fixed number of pairs can be used.

    Source: the error-spending approach of Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials".
    Differs: Bonferroni's inequality in place of the joint normal distribution of the looks.
    """
    early = [-(-episodes // part) for part in (16, 8, 4, 2)]
    share = alpha / 2 / len(early)
    enough = [size for size in early if size < episodes and 2.0 ** (1 - size) < share]
    return [Look(size, alpha / 2 / len(enough)) for size in enough] + [Look(episodes, alpha / 2 if enough else alpha)]


def _unskewed(ratio: float, skewness: float, size: int) -> float:
    """Return the ratio of a mean's error to the standard deviation with the skewness removed. Source: Hall 1992."""
    return ratio + skewness * ratio**2 / 3 + skewness**2 * ratio**3 / 27 + skewness / (6 * size)


def _skewed(ratio: float, skewness: float, size: int) -> float:
    """Return the inverse of `_unskewed`, written so that nothing cancels if the skewness is small."""
    shifted = ratio - skewness / (6 * size)
    root = float(np.cbrt(1 + skewness * shifted))
    return 3 * shifted / (root**2 + root + 1)


def bootstrap_interval(values: np.ndarray) -> tuple[Any, Any]:
    """Return the 95 % interval of the mean over seeds: `[S] -> [], []` or `[S, N] -> [N], [N]`."""
    return _bootstrapped([values], np.mean)


def iqm(scores: Sequence[np.ndarray]) -> float:
    """Return the interquartile mean of the scores of all tasks, each `[S]`: the mean of the middle half."""
    return float(scipy.stats.trim_mean(np.concatenate(scores), 0.25))


def iqm_interval(scores: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the 95 % interval of `iqm`, with seeds resampled within each task."""
    return _bootstrapped(
        list(scores), lambda *samples, axis: scipy.stats.trim_mean(np.concatenate(samples, axis=axis), 0.25, axis=axis)
    )


def _bootstrapped(samples: list[np.ndarray], statistic: Callable[..., Any]) -> tuple[Any, Any]:
    """Return the bootstrap interval of a statistic; each sample is resampled on its own, along its first axis."""
    rng = np.random.default_rng(0)
    found = scipy.stats.bootstrap(
        samples, statistic, n_resamples=RESAMPLES, method="percentile", rng=rng, vectorized=True, axis=0
    )
    return found.confidence_interval.low, found.confidence_interval.high
