"""The comparison of returns, pair by pair: its interval, its p-value, and how often they are wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from residual_rl.statistics import ALPHA, FEWEST_PAIRS, compare_returns, skewed_t


def drops(size, rng, share):
    """Gains of 1 and, in a few episodes, great losses; together nothing is gained or lost."""
    lost = rng.random(size) < share
    return np.where(lost, -(1 - share) / share, 1.0) + 0.1 * rng.normal(size=size)


def in_few(differing, size, rng):
    """Most pairs do not differ; the others by 1, this way or that."""
    return np.concatenate([rng.choice([-1.0, 1.0], differing), np.zeros(size - differing)])


# What policies as good as their base may look like: all have a mean of zero.
EQUALLY_GOOD = {
    "normal": lambda rng: rng.normal(size=500),
    "Student's with 3 degrees of freedom": lambda rng: rng.standard_t(3, size=500),
    "Student's with 2, of no finite variance": lambda rng: rng.standard_t(2, size=500),
    "skewed to gains": lambda rng: rng.exponential(size=500) - 1.0,
    "skewed to losses": lambda rng: 1.0 - rng.exponential(size=500),
    "lognormal losses": lambda rng: np.exp(0.5) - rng.lognormal(size=500),
    "a loss in 20": lambda rng: drops(500, rng, 0.05),
    "a loss in 100": lambda rng: drops(500, rng, 0.01),
    "a gain in 20": lambda rng: -drops(500, rng, 0.05),
    "4 pairs differ": lambda rng: in_few(4, 500, rng),
    "7 pairs differ": lambda rng: in_few(7, 500, rng),
    "50 pairs differ": lambda rng: in_few(50, 500, rng),
}


@pytest.mark.parametrize("name", EQUALLY_GOOD)
def test_an_equally_good_policy_is_promoted_by_its_return_in_about_one_of_forty(name):
    """One of 40 where t is exact. The worst of these is 3.1 % (lognormal losses, in 20000 comparisons)."""
    rng, comparisons = np.random.default_rng(0), 1500
    promoted = np.mean([compare_returns(EQUALLY_GOOD[name](rng))[1][0] > 0 for _ in range(comparisons)])
    assert promoted <= 0.031 + 3 * np.sqrt(0.031 * 0.969 / comparisons)


def test_students_t_alone_would_promote_one_in_ten_where_losses_are_rare_and_great():
    """What the correction for skewness is for."""
    rng = np.random.default_rng(0)
    samples = [drops(500, rng, 0.01) for _ in range(1000)]
    by_t = [ttest_rel(sample, np.zeros(500)).confidence_interval(1 - ALPHA).low > 0 for sample in samples]
    assert np.mean(by_t) > 0.1
    assert np.mean([compare_returns(sample)[1][0] > 0 for sample in samples]) < 0.02


def test_a_gain_is_found_as_often_as_by_students_t_where_there_is_no_skewness():
    """A gain of a tenth of a standard deviation is found in 500 pairs about every second time."""
    rng = np.random.default_rng(0)
    samples = [rng.normal(0.1, 1.0, size=500) for _ in range(500)]
    found = np.mean([compare_returns(sample)[1][0] > 0 for sample in samples])
    by_t = np.mean([ttest_rel(sample, np.zeros(500)).confidence_interval(1 - ALPHA).low > 0 for sample in samples])
    assert 0.5 < by_t < 0.7
    assert found > by_t - 0.05


differences = st.lists(st.floats(-100, 100).map(lambda value: round(value, 2)), min_size=1, max_size=60).map(np.array)
"""Of no fixed sign or size, many of them equal."""


@given(differences)
def test_interval_and_p_value_of_returns_never_contradict_each_other(values):
    _, (low, high), p_value = compare_returns(values)
    assert (low > 0 or high < 0) == (p_value < ALPHA)


@given(differences)
def test_the_comparison_of_returns_is_mirrored_when_the_two_change_places(values):
    mean, (low, high), p_value = compare_returns(values)
    mirrored = compare_returns(-values)
    assert (-mean, -high, -low, p_value) == pytest.approx((mirrored[0], *mirrored[1], mirrored[2]))


@given(differences, st.sampled_from([0.01, 3.0, 1e4]))
def test_the_unit_of_the_reward_decides_nothing(values, unit):
    mean, (low, high), p_value = compare_returns(values)
    other = compare_returns(unit * values)
    assert (unit * mean, unit * low, unit * high) == pytest.approx((other[0], *other[1]), abs=1e-6 * unit)
    assert p_value == pytest.approx(other[2])


@given(differences)
def test_the_interval_holds_the_mean_and_that_of_students_t(values):
    (low, high), p_value = skewed_t(values)
    if len(set(values.tolist())) == 1:
        return
    t = ttest_rel(values, np.zeros(len(values)))
    expected = t.confidence_interval(1 - ALPHA)
    slack = 1e-9 * np.abs(values).max()
    assert low <= expected.low + slack <= values.mean() + 2 * slack
    assert high >= expected.high - slack >= values.mean() - 2 * slack
    assert p_value >= t.pvalue - 1e-9


def test_without_skewness_it_is_students_paired_t():
    half = np.random.default_rng(0).normal(0.1, 1.0, size=40)
    values = np.concatenate([half, 0.2 - half])  # symmetric about 0.1
    t = ttest_rel(values, np.zeros(80))
    expected = t.confidence_interval(1 - ALPHA)
    interval, p_value = skewed_t(values)
    assert interval == pytest.approx((expected.low, expected.high))
    assert p_value == pytest.approx(t.pvalue)


def test_halls_transformation_by_hand():
    """Of 0, 0, 0, 0, 5: mean 1, standard deviation sqrt(5), skewness 1.5; t's quantile at 4 degrees of freedom is 2.7764.

    So w = -2.7764 / sqrt(5) = -1.24166. Corrected it is 3 (c - 1) / 1.5 = -3.95744, where c = -0.97872 is the cube root of
    1 + 1.5 (w - 1.5 / 30) = -0.93749. That makes the upper end; the lower one is t's, since the losses are not the long side.
    """
    (low, high), _ = skewed_t(np.array([0.0, 0.0, 0.0, 0.0, 5.0]), 0.05)
    assert high == pytest.approx(1 + 3.95744 * np.sqrt(5), abs=1e-4)
    assert low == pytest.approx(1 - 1.24166 * np.sqrt(5), abs=1e-4)


def test_fewer_than_six_differing_pairs_decide_nothing():
    for differing in range(10):
        values = np.zeros(500)
        values[:differing] = np.linspace(1.0, 1.1, differing)
        _, (low, high), p_value = compare_returns(values)
        assert (low > 0) == (differing >= FEWEST_PAIRS)
        assert p_value >= min(1.0, 2.0 / 2**differing)
        assert high > 0 or not differing


def test_few_pairs_that_differ_this_way_and_that_are_no_evidence():
    values = np.zeros(500)
    values[:5] = [1.0, -1.0, 1.0, -1.0, -1.0]
    mean, interval, p_value = compare_returns(values)
    assert (mean, interval) == (pytest.approx(-0.002), (-1.0, 1.0))
    assert p_value > 0.5


def test_returns_that_do_not_differ_make_no_difference():
    assert compare_returns(np.zeros(500)) == (0.0, (0.0, 0.0), 1.0)
    assert compare_returns(np.zeros(1)) == (0.0, (0.0, 0.0), 1.0)


def test_a_gain_that_is_always_the_same_is_certain_and_a_single_one_is_not():
    assert compare_returns(np.ones(20)) == (1.0, (1.0, 1.0), 2.0 / 2**20)
    assert compare_returns(np.ones(1)) == (1.0, (0.0, 1.0), 1.0)
