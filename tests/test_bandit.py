"""Who drives the next training episodes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from residual_rl.learning.bandit import Bandit

BANDIT = Bandit()
FEWEST = BANDIT.fewest
NOTHING = ((), (), ())
arms = st.lists(st.integers(0, 2), min_size=0, max_size=120)


def shares(scores, num_envs=16, bandit=BANDIT, cycles=200):
    """Of the lanes, of each arm."""
    rng = np.random.default_rng(0)
    drivers = np.concatenate([bandit.drivers(rng, num_envs, scores) for _ in range(cycles)])
    return [float(np.mean(drivers == arm)) for arm in range(len(scores))]


def residuals_share(scores, **fields):
    return 1 - shares(scores, **fields)[0]


def successes(rate, episodes=60):
    return tuple((np.arange(episodes) < rate * episodes).astype(float))


def test_residuals_that_fail_drive_their_least_share_each_as_much():
    assert residuals_share((successes(0.5), successes(0.0))) == 0.25
    assert shares((successes(0.5), successes(0.0), successes(0.0))) == pytest.approx([0.75, 0.125, 0.125], abs=0.02)
    assert shares((successes(0.5), successes(0.2), successes(0.0))) == pytest.approx([0.75, 0.1875, 0.0625], abs=0.02)


def test_a_residual_that_is_clearly_better_drives_all_lanes_but_one():
    assert residuals_share((successes(0.5), successes(1.0))) == 15 / 16


def test_the_clearly_better_of_two_drives_all_lanes_but_one_and_the_others_share():
    assert shares((successes(0.5), successes(0.5), successes(1.0))) == pytest.approx([1 / 16, 1 / 16, 14 / 16], abs=0.02)
    assert shares((successes(0.5), successes(1.0), successes(0.5))) == pytest.approx([1 / 16, 14 / 16, 1 / 16], abs=0.02)


def test_equals_share_the_lanes():
    assert 0.4 < residuals_share((successes(0.5), successes(0.5))) < 0.8
    assert min(shares((successes(0.5),) * 3)) > 0.2


def test_where_nobody_has_succeeded_yet_the_first_residual_drives():
    assert shares((successes(0.0),) * 3) == pytest.approx([1 / 16, 14 / 16, 1 / 16], abs=0.02)


def test_the_more_it_is_worth_the_more_it_drives():
    driven = [residuals_share((successes(0.5), successes(rate))) for rate in (0.2, 0.4, 0.5, 0.6, 0.8)]
    assert driven == sorted(driven)


def test_returns_are_compared_as_successes_are():
    """Any unit, any sign: a return that is better by a constant is better."""
    base = tuple(np.random.default_rng(1).normal(-1000.0, 10.0, 60))
    better, worse = (tuple(score + change for score in base) for change in (30, -30))
    assert residuals_share((base, better)) > 0.9
    assert residuals_share((base, worse)) == 0.25
    assert BANDIT.best((base, worse, better)) == 2


def test_an_arm_that_was_hardly_tried_drives_its_part_of_the_trial_share_however_well_it_did():
    assert residuals_share((successes(0.5), successes(1.0, FEWEST - 1))) == 0.5
    assert residuals_share((successes(0.5), ())) == 0.5
    assert shares((successes(0.5), successes(0.0), successes(1.0, FEWEST - 1))) == pytest.approx([0.5, 0.375, 0.125], abs=0.02)
    assert residuals_share((successes(0.5), successes(1.0, FEWEST))) > 0.8


def test_without_burn_in_any_drives():
    assert min(shares((successes(1.0, FEWEST - 1), (), ()))) > 0.3


def test_a_single_lane_can_be_driven_by_any():
    assert residuals_share((successes(0.5), successes(1.0)), num_envs=1) == 1.0
    assert residuals_share((successes(0.5), successes(0.0)), num_envs=1, bandit=Bandit(least_share=0.0)) == 0.0
    assert min(shares((successes(1.0), successes(0.0), successes(0.0)), num_envs=1, cycles=2000)) > 0.1


@given(
    num_envs=st.integers(1, 40),
    least=st.floats(0, 1),
    rates=st.lists(st.floats(0, 1), min_size=2, max_size=4),
    seed=st.integers(0, 99),
)
def test_no_lane_is_forgotten_and_no_share_undercut(num_envs, least, rates, seed):
    scores = tuple(map(successes, rates))
    drivers = Bandit(least_share=least).drivers(np.random.default_rng(seed), num_envs, scores)
    assert drivers.shape == (num_envs,)
    assert set(drivers) <= set(range(len(rates)))
    if num_envs > 1:
        driven = min(num_envs - 1, int(num_envs * least))
        assert driven <= (drivers > 0).sum() <= num_envs - 1
        assert all((drivers == arm).sum() >= driven // 2 // (len(rates) - 1) for arm in range(1, len(rates)))


@pytest.mark.parametrize(("num_envs", "mean"), [(1, 0.25), (2, 0.5), (3, 0.75), (6, 1.5), (16, 4.0)])
@pytest.mark.parametrize("others", [1, 2, 3])
def test_residuals_that_fail_drive_their_share_on_average_however_few_lanes_there_are(num_envs, mean, others):
    scores, rng = (successes(1.0), *(successes(0.0),) * others), np.random.default_rng(0)  # the arms are equals
    drivers = [BANDIT.drivers(rng, num_envs, scores) for _ in range(3000)]
    driven = [(each > 0).sum() for each in drivers]
    assert np.mean(driven) == pytest.approx(mean, abs=0.05)
    assert set(driven) <= {int(mean), int(np.ceil(mean))}
    for arm in range(1, others + 1):
        assert np.mean([(each == arm).sum() for each in drivers]) == pytest.approx(mean / others, abs=0.07)


@given(first=arms, second=arms)
def test_the_latest_episodes_of_each_are_remembered(first, second):
    """Scores that count the episodes: of each driver the last 60 are kept, in their order."""
    numbered = [(float(number), driver) for number, driver in enumerate(first + second)]
    scores = BANDIT.after(BANDIT.after(NOTHING, numbered[: len(first)]), numbered[len(first) :])
    for arm, kept in enumerate(scores):
        assert list(kept) == [score for score, driver in numbered if driver == arm][-60:]


def test_the_best_is_never_the_base_and_never_one_of_which_little_is_known():
    assert BANDIT.best((successes(1.0), successes(0.5), successes(0.4))) == 1
    assert BANDIT.best((successes(0.0), successes(0.4), successes(0.5))) == 2
    assert BANDIT.best((successes(1.0), successes(0.7), successes(0.7))) == 1
    assert BANDIT.best((successes(1.0), successes(0.2), successes(1.0, FEWEST - 1))) == 1
    assert BANDIT.best(NOTHING) == 1


def test_the_best_is_the_one_that_exceeds_the_base_most_surely_not_the_one_that_was_luckier():
    assert BANDIT.best((successes(0.3), successes(0.9, 50), successes(1.0, FEWEST))) == 1


def test_an_arm_is_better_only_if_its_episodes_show_it():
    assert not BANDIT.is_better(NOTHING)
    assert not BANDIT.is_better((successes(0.5), successes(0.5)))
    assert not BANDIT.is_better((successes(1.0), successes(1.0)))
    assert not BANDIT.is_better((successes(0.0), successes(0.0)))
    assert not BANDIT.is_better((successes(0.5), successes(1.0, FEWEST - 1)))
    assert not BANDIT.is_better((successes(0.5, 2), successes(1.0)))
    assert BANDIT.is_better((successes(0.5), successes(0.0), successes(1.0, FEWEST)))
    assert BANDIT.is_better((successes(0.5), successes(0.7)))


def test_an_arm_as_good_as_the_base_is_seldom_taken_for_better():
    """By the normal approximation in 16 of 100."""
    rng = np.random.default_rng(0)
    taken = [BANDIT.is_better(tuple(tuple((rng.random(n) < 0.5).astype(float)) for n in (60, 20))) for _ in range(2000)]
    assert 0.1 < np.mean(taken) < 0.2


@pytest.mark.parametrize(
    ("field", "value"), [("least_share", 1.5), ("least_share", -0.1), ("memory", 3), ("fewest", 1), ("sure", -1.0)]
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        Bandit(**{field: value})
