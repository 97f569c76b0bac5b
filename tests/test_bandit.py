"""Who drives the next training episodes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from residual_rl.learning.bandit import FEWEST, Bandit, Scores

BANDIT = Bandit()
masks = st.lists(st.booleans(), min_size=0, max_size=80)


def share(scores, num_envs=16, bandit=BANDIT, cycles=200):
    """Of the lanes that base plus residual drives."""
    rng = np.random.default_rng(0)
    return np.mean([bandit.drivers(rng, num_envs, scores).mean() for _ in range(cycles)])


def successes(rate, episodes=60):
    return tuple((np.arange(episodes) < rate * episodes).astype(float))


def test_a_residual_that_fails_drives_its_least_share():
    assert share(Scores(successes(0.5), successes(0.0))) == 0.25


def test_a_residual_that_is_clearly_better_drives_all_lanes_but_one():
    assert share(Scores(successes(0.5), successes(1.0))) == 15 / 16


def test_equals_share_the_lanes():
    assert 0.4 < share(Scores(successes(0.5), successes(0.5))) < 0.8


def test_the_more_it_is_worth_the_more_it_drives():
    shares = [share(Scores(successes(0.5), successes(rate))) for rate in (0.2, 0.4, 0.5, 0.6, 0.8)]
    assert shares == sorted(shares)


def test_returns_are_compared_as_successes_are():
    """Any unit, any sign: a return that is better by a constant is better."""
    base = tuple(np.random.default_rng(1).normal(-1000.0, 10.0, 60))
    assert share(Scores(base, tuple(score + 30 for score in base))) > 0.9
    assert share(Scores(base, tuple(score - 30 for score in base))) == 0.25


def test_while_little_is_known_neither_is_preferred():
    assert 0.4 < share(Scores(successes(1.0), successes(0.0, FEWEST - 1))) < 0.75


def test_a_single_lane_can_be_driven_by_either():
    assert share(Scores(successes(0.5), successes(1.0)), num_envs=1) == 1.0
    assert share(Scores(successes(0.5), successes(0.0)), num_envs=1, bandit=Bandit(least_share=0.0)) == 0.0


@given(
    num_envs=st.integers(1, 40), least=st.floats(0, 1), base=st.floats(0, 1), residual=st.floats(0, 1), seed=st.integers(0, 99)
)
def test_no_lane_is_forgotten_and_no_share_undercut(num_envs, least, base, residual, seed):
    scores = Scores(successes(base), successes(residual))
    driven = Bandit(least_share=least).drivers(np.random.default_rng(seed), num_envs, scores)
    assert (driven.shape, driven.dtype) == ((num_envs,), bool)
    if num_envs > 1:
        assert min(num_envs - 1, int(num_envs * least)) <= driven.sum() <= num_envs - 1


@pytest.mark.parametrize(("num_envs", "mean"), [(1, 0.25), (2, 0.5), (3, 0.75), (6, 1.5), (16, 4.0)])
def test_a_residual_that_fails_drives_its_share_on_average_however_few_lanes_there_are(num_envs, mean):
    scores, rng = Scores(successes(1.0), successes(0.0)), np.random.default_rng(0)
    driven = [BANDIT.drivers(rng, num_envs, scores).sum() for _ in range(2000)]
    assert np.mean(driven) == pytest.approx(mean, abs=0.05)
    assert set(driven) <= {int(mean), int(np.ceil(mean))}


@given(first=masks, second=masks)
def test_the_latest_episodes_of_each_are_remembered(first, second):
    """Scores that count the episodes: of each driver the last 60 are kept, in their order."""
    numbered = [(float(number), driven) for number, driven in enumerate(first + second)]
    scores = BANDIT.after(BANDIT.after(Scores(), numbered[: len(first)]), numbered[len(first) :])
    for kept, driven in zip(scores, (False, True), strict=True):
        assert list(kept) == [score for score, by_residual in numbered if by_residual == driven][-60:]


@pytest.mark.parametrize(("field", "value"), [("least_share", 1.5), ("least_share", -0.1), ("memory", 3)])
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        Bandit(**{field: value})
