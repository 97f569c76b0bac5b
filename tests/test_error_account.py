"""How often verdicts are wrong: simulated comparisons of policies that are as good as their base, or worse."""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, ttest_ind

from residual_rl.evaluation import Outcome
from residual_rl.statistics import ALPHA, compare_returns, looks, newcombe, paired_interval, welch
from residual_rl.verdict import Pairing, compared

VERDICTS = 1000
PAIRS = 100
AT_MOST = 25
"""One of forty. The level of 2 % on each side leaves room for the chance of counting and for what t only approximates."""


def outcome(success: np.ndarray, returns: np.ndarray) -> Outcome:
    nothing = np.zeros(len(success))
    return Outcome(success, returns, nothing, nothing + 0.1, nothing, nothing, nothing)


def played(rng: np.random.Generator, drift: float, shared: float, worse: float, pairs: int = PAIRS) -> tuple[Outcome, Outcome]:
    """Base and policy in turns: a share of the start's luck is common to both, the plant gets better by `drift` in all."""
    first = rng.permutation(np.arange(pairs) % 2).astype(bool)  # whether the policy had the first turn
    time = 2.0 * np.arange(pairs)[:, None] + np.stack([first, ~first], axis=1)
    luck = shared * rng.normal(size=(pairs, 1)) + np.sqrt(1 - shared**2) * rng.normal(size=(pairs, 2))
    quality = luck + drift * time / (2 * pairs)
    # Success where quality is above a threshold; the policy's own successes are taken from it with a probability.
    success = quality > 0.5
    success[:, 1] &= rng.random(pairs) >= worse / max(float((quality[:, 1] > 0.5).mean()), 1e-9)
    returns = quality - np.array([0.0, worse])
    return outcome(success[:, 0], returns[:, 0]), outcome(success[:, 1], returns[:, 1])


rates_paired, rates_apart = lru_cache(paired_interval), lru_cache(newcombe)


def interval(base: Outcome, policy: Outcome, measured_by: str, pairing: Pairing, alpha: float = ALPHA) -> tuple[float, float]:
    """That of `compared`, without all that is only shown; `test_the_account_is_that_of_verdicts` says that it is the same."""
    if measured_by == "return":
        paired = pairing == "paired"
        return (
            compare_returns(policy.returns - base.returns, alpha)[1]
            if paired
            else welch(base.returns, policy.returns, alpha)[1]
        )
    if pairing == "paired":
        return rates_paired(*policy.fixed_and_broken(base), len(base.success), alpha)
    return rates_apart(int(base.success.sum()), int(policy.success.sum()), len(base.success), alpha)[0]


@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
@pytest.mark.parametrize("measured_by", ["success", "return"])
def test_the_account_is_that_of_verdicts(measured_by: Any, pairing: Pairing) -> None:
    base, policy = played(np.random.default_rng(0), 1.0, 0.5, 0.0)
    found = compared("task", "base", base, policy, measured_by, pairing=pairing)
    assert found.difference_interval == interval(base, policy, measured_by, pairing)
    assert found.better == (found.difference_interval[0] > 0)


@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
@pytest.mark.parametrize("measured_by", ["success", "return"])
@pytest.mark.parametrize(("drift", "shared"), [(0.0, 0.0), (0.0, 0.9), (3.0, 0.0), (3.0, 0.9)])
def test_an_equally_good_policy_is_promoted_in_at_most_one_of_forty_verdicts(
    measured_by: Any, pairing: Pairing, drift: float, shared: float
) -> None:
    rng = np.random.default_rng(0)
    verdicts = [interval(*played(rng, drift, shared, 0.0), measured_by, pairing)[0] > 0 for _ in range(VERDICTS)]
    assert sum(verdicts) <= AT_MOST


@pytest.mark.parametrize("pairing", ["paired", "unpaired"])
@pytest.mark.parametrize("measured_by", ["success", "return"])
def test_a_policy_that_is_worse_by_a_twentieth_is_hardly_ever_promoted(measured_by: Any, pairing: Pairing) -> None:
    """Of 300 pairs; by return the twentieth is that of the standard deviation between starts."""
    rng = np.random.default_rng(0)
    promoted = sum(interval(*played(rng, 0.0, 0.5, 0.05, 300), measured_by, pairing)[0] > 0 for _ in range(VERDICTS))
    assert promoted <= VERDICTS * 0.005


# ---- independent rates ----


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_the_interval_of_independent_rates_agrees_with_its_p_value_and_is_mirrored(case: tuple[int, int, int]) -> None:
    base, policy, episodes = case
    (low, high), p_value = newcombe(base, policy, episodes)
    assert -1.0 <= low <= (policy - base) / episodes <= high <= 1.0
    assert (low > 0 or high < 0) == (p_value < ALPHA)
    mirrored, same = newcombe(policy, base, episodes)
    assert (-mirrored[1], -mirrored[0], same) == pytest.approx((low, high, p_value))


def test_the_interval_of_independent_rates_is_that_of_the_textbook() -> None:
    """Newcombe 1998, table II, method 11: of 9 of 10 and 3 of 10 it is 0.1013 to 0.8387."""
    (low, high), _ = newcombe(3, 9, 10, 0.05)
    assert (low, high) == pytest.approx((0.1013, 0.8387), abs=5e-5)


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.5, 0.9])
def test_the_exact_error_of_independent_rates_is_below_one_in_forty(rate: float) -> None:
    episodes = 40
    chances = binom.pmf(np.arange(episodes + 1), episodes, rate)
    better = [[newcombe(base, policy, episodes)[0][0] > 0 for policy in range(episodes + 1)] for base in range(episodes + 1)]
    assert float(chances @ np.array(better) @ chances) <= 0.025


# ---- independent means ----


def test_without_skewness_independent_means_are_compared_by_welchs_t() -> None:
    half = np.random.default_rng(0).normal(0.0, 1.0, size=40)
    base, policy = np.concatenate([half, -half]), 0.3 + 2.0 * np.concatenate([half, -half])
    difference, interval, p_value = welch(base, policy)
    expected = ttest_ind(policy, base, equal_var=False)
    bounds = expected.confidence_interval(1 - ALPHA)
    assert difference == pytest.approx(0.3)
    assert interval == pytest.approx((bounds.low, bounds.high))
    assert p_value == pytest.approx(expected.pvalue)


values = st.lists(st.floats(-100, 100).map(lambda value: round(value, 2)), min_size=30, max_size=30).map(np.array)


@given(values, values)
def test_interval_and_p_value_of_independent_means_never_contradict_each_other(base: np.ndarray, policy: np.ndarray) -> None:
    difference, (low, high), p_value = welch(base, policy)
    assert (low > 0 or high < 0) == (p_value < ALPHA)
    slack = 1e-9 * max(1.0, float(np.abs([base, policy]).max()))
    assert low - slack <= difference <= high + slack


def test_few_episodes_of_a_world_that_does_not_repeat_itself_decide_nothing() -> None:
    _, (low, high), p_value = welch(np.zeros(5), np.ones(5))
    assert (low, high, p_value) == (0.0, 1.0, 1.0)
    assert welch(np.zeros(6), np.ones(6))[1] == (1.0, 1.0)


# ---- looking several times ----


@given(st.integers(1, 2000))
def test_all_looks_together_spend_the_error_once(episodes: int) -> None:
    plan = looks(episodes)
    assert plan[-1].episodes == episodes
    assert [look.episodes for look in plan] == sorted({look.episodes for look in plan})
    assert sum(look.alpha for look in plan) == pytest.approx(ALPHA)
    assert all(2.0 ** (1 - look.episodes) < look.alpha for look in plan[:-1])


@pytest.mark.parametrize("measured_by", ["success", "return"])
def test_looking_several_times_does_not_find_more_by_chance(measured_by: Any) -> None:
    """Both ways: one of twenty. Looking five times at 5 % each would find about one of seven."""
    rng, plan, found = np.random.default_rng(0), looks(200), 0
    for _ in range(250):
        base, policy = played(rng, 0.0, 0.5, 0.0, 200)
        for look in plan:
            parts = (Outcome(*(values[: look.episodes] for values in one)) for one in (base, policy))
            low, high = interval(*parts, measured_by, "paired", look.alpha)
            if low > 0 or high < 0:
                found += 1
                break
    assert found <= 250 * ALPHA + 2 * np.sqrt(250 * ALPHA * (1 - ALPHA))
