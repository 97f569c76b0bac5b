"""The paired comparison with the base, and the decision."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, ttest_rel

from residual_rl.evaluation import Outcome
from residual_rl.runs.reading import formatted, read_verdict
from residual_rl.statistics import ALPHA, compare_returns, mcnemar, paired_interval, wilson_interval
from residual_rl.verdict import compared, in_digits, in_digits_apart, judge


def outcome(success, steps=20.0):
    success = np.asarray(success, dtype=bool)
    return Outcome(
        success=success,
        returns=np.where(success, -steps, -50.0),
        steps_to_success=np.where(success, steps, np.nan),
        deviation=np.full(len(success), 0.25),
        jerk=np.full(len(success), 0.5),
        time=np.where(success, steps, 500.0),
        scene=np.zeros(len(success), dtype=int),
    )


def paired(both, fixed, broken, neither):
    """Outcomes of base and policy with so many episodes of each kind."""
    base = [True] * both + [False] * fixed + [True] * broken + [False] * neither
    policy = [True] * both + [True] * fixed + [False] * broken + [False] * neither
    order = np.random.default_rng(0).permutation(len(base))
    return outcome(np.array(base)[order]), outcome(np.array(policy)[order], steps=12.0)


# ---- McNemar's test ----


@pytest.mark.parametrize(
    ("fixed", "broken", "p_value"),
    [
        (10, 2, 2 * (1 + 12 + 66) / 2**12),  # 0.0386: both tails of twelve fair coins, at most two of a kind
        (5, 0, 2 / 2**5),
        (6, 0, 2 / 2**6),
        (1, 0, 1.0),
        (4, 4, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(fixed, broken, p_value):
    assert mcnemar(fixed, broken) == pytest.approx(p_value)
    assert mcnemar(broken, fixed) == pytest.approx(p_value)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_twice_the_smaller_tail(fixed, broken):
    tail = binom.cdf(min(fixed, broken), fixed + broken, 0.5)
    assert mcnemar(fixed, broken) == pytest.approx(min(1.0, 2 * tail))


# ---- the interval of the difference ----

counts = st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(0, 400)).filter(sum)


@given(counts)
def test_the_interval_is_mirrored_when_the_two_change_places(case):
    fixed, broken, same = case
    low, high = paired_interval(fixed, broken, fixed + broken + same)
    mirrored = paired_interval(broken, fixed, fixed + broken + same)
    assert (low, high) == pytest.approx((-mirrored[1], -mirrored[0]))


@given(counts)
def test_the_interval_holds_the_difference_and_what_is_possible(case):
    fixed, broken, same = case
    episodes = fixed + broken + same
    low, high = paired_interval(fixed, broken, episodes)
    assert -1.0 <= low <= (fixed - broken) / episodes <= high <= 1.0


@given(counts)
def test_the_interval_excludes_zero_exactly_at_evidence_of_97_5_percent(case):
    fixed, broken, same = case
    low, high = paired_interval(fixed, broken, fixed + broken + same)
    differing = fixed + broken
    at_least, at_most = binom.sf(fixed - 1, differing, 0.5), binom.cdf(fixed, differing, 0.5)
    assert (low > 0) == (differing > 0 and at_least < ALPHA / 2)
    assert (high < 0) == (differing > 0 and at_most < ALPHA / 2)


@given(counts)
def test_interval_and_test_never_contradict_each_other(case):
    fixed, broken, same = case
    low, high = paired_interval(fixed, broken, fixed + broken + same)
    assert (low > 0 or high < 0) == (mcnemar(fixed, broken) < ALPHA)


def test_more_agreeing_pairs_shrink_the_interval_and_decide_nothing():
    few, many = paired_interval(10, 2, 100), paired_interval(10, 2, 1000)
    assert many[1] - many[0] < (few[1] - few[0]) / 8
    assert few[0] > 0
    assert many[0] > 0


def test_the_interval_by_hand():
    """Six of six fixed: with probability 0.025 a share of 0.025^(1/6) = 0.5407 still gives that, so low = 2 * 0.5407 - 1."""
    low, high = paired_interval(6, 0, 6, 0.05)
    assert (low, high) == pytest.approx((2 * 0.025 ** (1 / 6) - 1, 1.0))


def test_the_interval_of_a_large_difference_by_hand():
    """With one more of each kind 0.5 of 500 were fixed and 0.02 broken: variance (0.52 - 0.48^2) / 500."""
    half = 1.959963984540054 * np.sqrt((0.52 - 0.48**2) / 500)
    assert paired_interval(249, 9, 498, 0.05) == pytest.approx((0.48 - half, 0.48 + half))


def test_where_no_pair_differs_the_interval_says_how_little_can_be_known():
    low, high = paired_interval(0, 0, 498, 0.05)
    assert (low, high) == pytest.approx((-1.959963984540054 * np.sqrt(0.004 / 500), 1.959963984540054 * np.sqrt(0.004 / 500)))


@pytest.mark.parametrize("episodes", [100, 500])
@pytest.mark.parametrize(("fixed", "broken"), [(0.5, 0.0), (0.53, 0.006), (0.9, 0.0), (0.2, 0.02), (0.06, 0.03), (0.01, 0.01)])
def test_the_interval_covers_the_truth_in_96_of_100_comparisons(fixed, broken, episodes):
    """Whatever share of the episodes the policy fixes and breaks."""
    rng = np.random.default_rng(0)
    samples = rng.multinomial(episodes, [fixed, broken, 1 - fixed - broken], size=1000).tolist()
    table = {(gains, losses): paired_interval(gains, losses, episodes) for gains, losses, _ in samples}
    covered = [table[gains, losses][0] <= fixed - broken <= table[gains, losses][1] for gains, losses, _ in samples]
    assert np.mean(covered) > 1 - ALPHA - 4 * np.sqrt(ALPHA * (1 - ALPHA) / 1000)


def test_a_policy_as_good_as_the_base_is_promoted_in_at_most_one_of_forty():
    for differing in (1, 5, 6, 20, 100):
        promoted = [fixed for fixed in range(differing + 1) if paired_interval(fixed, differing - fixed, 500)[0] > 0]
        assert binom.pmf(promoted, differing, 0.5).sum() <= 0.025


# ---- judging ----


def test_judging_counts_pairs():
    verdict = judge("slippery-push", "reactive-push", *paired(both=40, fixed=10, broken=2, neither=48))
    assert (verdict.episodes, verdict.fixed, verdict.broken) == (100, 10, 2)
    assert verdict.difference == pytest.approx(0.08)
    assert verdict.base.success_rate == pytest.approx(0.42)
    assert verdict.policy.success_rate == pytest.approx(0.50)
    assert verdict.difference == pytest.approx(verdict.policy.success_rate - verdict.base.success_rate)
    assert verdict.p_value == pytest.approx(0.0386, abs=1e-4)
    assert verdict.difference_interval == paired_interval(10, 2, 100)
    assert verdict.promoted
    assert (verdict.task, verdict.controller) == ("slippery-push", "reactive-push")


def test_a_side_is_summed_up():
    verdict = judge("task", "controller", *paired(both=40, fixed=10, broken=2, neither=48))
    side = verdict.policy
    assert side.interval == wilson_interval(50, 100)
    assert side.mean_return == pytest.approx((50 * -12 + 50 * -50) / 100)
    assert (side.steps_to_success, side.deviation, side.jerk) == (12.0, 0.25, 0.5)


def test_an_episode_that_was_reached_and_lost_does_not_count_for_the_steps_to_success():
    policy = outcome([True, False, True])._replace(steps_to_success=np.array([10.0, 1.0, 20.0]))
    assert judge("task", "controller", outcome([True] * 3), policy).policy.steps_to_success == 15.0


def test_a_side_without_success_has_no_steps_to_success():
    verdict = judge("task", "controller", *paired(both=0, fixed=0, broken=0, neither=5))
    assert verdict.base.steps_to_success is None
    assert json.loads(json.dumps(verdict.to_json()))["base"]["steps_to_success"] is None


@pytest.mark.parametrize(
    ("fixed", "broken", "promoted"),
    [
        (0, 0, False),  # nothing differs: nothing gained
        (5, 0, False),  # one-sided 1/32
        (6, 0, True),  # one-sided 1/64
        (9, 2, False),  # one-sided 67/2048, 3.3 %
        (10, 2, True),  # one-sided 79/4096, 1.9 %
        (2, 10, False),
        (50, 50, False),
    ],
)
def test_promoted_only_where_the_interval_excludes_a_loss(fixed, broken, promoted):
    verdict = judge("task", "controller", *paired(both=100, fixed=fixed, broken=broken, neither=20))
    assert verdict.promoted is promoted
    assert verdict.promoted == (verdict.difference_interval[0] > 0)


def test_the_verdict_of_one_policy_on_itself_is_no_difference():
    base = outcome(np.arange(50) % 3 == 0)
    verdict = judge("task", "controller", base, base)
    assert (verdict.difference, verdict.difference_interval, verdict.p_value) == (0.0, paired_interval(0, 0, 50), 1.0)
    assert not verdict.promoted


def test_a_verdict_reads_as_one_line():
    verdict = judge("task", "controller", *paired(both=222, fixed=266, broken=3, neither=9))
    power = int(np.ceil(np.log10(binomtest(266, 269).pvalue)))
    expected = f"base 0.450 -> 0.976, fixed 266 of 275 failures, broke 3; promoted (p < 1e{power}); "
    assert str(verdict) == expected + "the 222 episodes that both solve take 20 -> 12 steps (-40.0%)"
    assert verdict.p_value < float(f"1e{power}")


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ((40, 10, 2, 48), "base 0.420 -> 0.500, fixed 10 of 58 failures, broke 2; promoted (p = 0.039)"),
        (
            (40, 2, 10, 48),
            "base 0.500 -> 0.420, fixed 2 of 50 failures, broke 10; not promoted, the base is delivered (p = 0.039)",
        ),
        ((3, 0, 0, 0), "base 1.000 -> 1.000, fixed 0 of 0 failures, broke 0; not promoted, the base is delivered (p = 1.000)"),
        ((0, 11, 0, 1), "base 0.000 -> 0.917, fixed 11 of 12 failures, broke 0; promoted (p < 1e-3)"),
    ],
)
def test_what_a_verdict_says(counts, line):
    both = f"; the {counts[0]} episodes that both solve take 20 -> 12 steps (-40.0%)" if counts[0] else ""
    assert str(judge("task", "controller", *paired(*counts))) == line + both


@pytest.mark.parametrize(
    ("counts", "conclusion"),
    [
        ((40, 10, 2, 48), "better (p = 0.039)"),
        ((40, 2, 10, 48), "worse (p = 0.039)"),
        ((40, 3, 2, 48), "neither better nor worse beyond chance (p = 1.000)"),
    ],
)
def test_a_comparison_that_decides_nothing_says_what_it_shows_and_not_what_is_delivered(counts, conclusion):
    comparison = compared("task", "controller", *paired(*counts))
    assert f"; {conclusion}; " in str(comparison)
    assert comparison.better == conclusion.startswith("better")
    assert "promoted" not in comparison.to_json()


def with_returns(returns, success=False):
    returns = np.asarray(returns, dtype=float)
    return outcome(np.full(len(returns), success))._replace(returns=returns)


def test_judging_by_return_looks_at_the_returns_alone():
    rng = np.random.default_rng(0)
    base, gain = rng.normal(-100.0, 20.0, size=500), rng.normal(2.0, 5.0, size=500)
    verdict = judge("task", "controller", with_returns(base), with_returns(base + gain), "return")
    assert verdict.measured_by == "return"
    assert verdict.difference == pytest.approx(gain.mean())
    assert verdict.difference_interval == pytest.approx(compare_returns(gain)[1])
    assert verdict.promoted
    assert (verdict.fixed, verdict.broken, verdict.policy.success_rate) == (0, 0, 0.0)
    t = ttest_rel(base + gain, base).confidence_interval(1 - ALPHA)
    assert verdict.difference_interval == pytest.approx((t.low, t.high), abs=0.02)
    assert not judge("task", "controller", with_returns(base), with_returns(base - gain), "return").promoted
    assert not judge("task", "controller", with_returns(base), with_returns(base + gain)).promoted  # none succeeds


def test_more_successes_for_less_return_are_not_promoted_by_return():
    base, policy = with_returns(np.arange(100.0)), with_returns(np.arange(100.0) - 1.0, success=True)
    assert judge("task", "controller", base, policy).promoted
    verdict = judge("task", "controller", base, policy, "return")
    assert not verdict.promoted
    assert (verdict.fixed, verdict.difference, verdict.difference_interval) == (100, -1.0, (-1.0, -1.0))


def test_a_side_has_the_interval_of_its_mean_return():
    verdict = judge("task", "controller", with_returns([-3.0, -1.0, -2.0]), with_returns([-1.0] * 3), "return")
    half = 4.302653 / np.sqrt(3)  # Student's t with 2 degrees of freedom; the standard deviation is 1
    assert verdict.base.return_interval == pytest.approx((-2.0 - half, -2.0 + half))
    assert verdict.policy.return_interval == (-1.0, -1.0)


def test_a_verdict_by_return_reads_as_one_line():
    base, gain = np.linspace(-130.0, -90.0, 100), np.concatenate([np.linspace(7.0, 9.0, 50), np.linspace(9.0, 7.0, 50)])
    given = judge("task", "controller", with_returns(base), with_returns(base + gain), "return")
    low, high = map(in_digits, given.difference_interval)
    assert str(given) == f"base -110 -> -102 mean return, difference 8 ({low} to {high}); promoted (p < 1e-29)"
    assert (low, high) == ("7.877", "8.123")
    lost = judge("task", "controller", with_returns(base), with_returns(base - gain), "return")
    assert str(lost).startswith("base -110 -> -118 mean return, difference -8 (-8.123 to -7.877); not promoted, the base is")


@pytest.mark.parametrize(
    ("value", "text"), [(-109.7312, "-109.7"), (0.0123456, "0.01235"), (123456.7, "123500"), (-5.0, "-5"), (0.0, "0")]
)
def test_returns_are_written_in_four_digits(value, text):
    assert in_digits(value) == text


def test_a_verdict_by_return_is_what_is_read_again(tmp_path):
    given = judge("task", "controller", with_returns(np.arange(9.0)), with_returns(np.arange(9.0) ** 1.1), "return")
    (tmp_path / "verdict.json").write_text(json.dumps(formatted(given.to_json())))
    assert read_verdict(tmp_path) == given


def test_a_verdict_becomes_plain_json():
    verdict = judge("task", "controller", *paired(both=40, fixed=10, broken=2, neither=48))
    values = json.loads(json.dumps(verdict.to_json()))
    assert (values["fixed"], values["promoted"], values["policy"]["success_rate"]) == (10, True, 0.5)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 50), (25, 50), (50, 50), (3, 4)])
def test_wilsons_interval_by_its_formula(successes, trials):
    z, rate = 1.959963984540054, successes / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    assert wilson_interval(successes, trials) == pytest.approx((centre - half, centre + half))


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ((-2_000_000.0, -1_999_990.0), ["-2000000", "-1999990"]),
        ((1e7 + 0.25, 1e7 + 0.5), ["10000000.25", "10000000.5"]),
        ((-674.0641, -150.558), ["-674.1", "-150.6"]),
        ((3.0, 3.0), ["3", "3"]),
        ((0.0, 1e-5), ["0", "0.00001"]),
        ((1.0, float("nan")), ["1", "nan"]),
    ],
)
def test_returns_beside_each_other_have_enough_digits_to_tell_them_apart(values, texts):
    assert in_digits_apart(values) == texts


def test_a_small_gain_on_a_great_return_can_be_read_in_the_verdict():
    base, policy = (outcome([False] * 20)._replace(returns=np.linspace(low, low + 1, 20)) for low in (-2e6, -2e6 + 3))
    told = str(judge("task", "controller", base, policy, "return"))
    assert "base -1999999.5 -> -1999996.5 mean return, difference 3 (3 to 3)" in told
