"""The verdict by time: a failure is never a fast episode."""

import numpy as np
import pytest

from residual_rl.evaluation import Outcome
from residual_rl.rollout import FAILED
from residual_rl.times import by_scene, times_of
from residual_rl.types import Timing
from residual_rl.verdict import compared

LIMIT = 40.0
TRACKS = Timing(unit="s", scene="track", scenes=("alder", "birch"))


def outcome(time, success=None, scene=None, deviation=0.1):
    """Episodes that take so long, or fail."""
    time = np.asarray(time, dtype=float)
    success = np.ones(len(time), dtype=bool) if success is None else np.asarray(success)
    nothing = np.zeros(len(time))
    scene = nothing.astype(int) if scene is None else np.asarray(scene)
    steps = np.where(success, time, np.nan)
    return Outcome(success, nothing, steps, nothing + deviation, nothing, np.where(success, time, FAILED * LIMIT), scene)


def by_time(base, policy, **how):
    return compared("task", "base", base, policy, "time", **how)


def races(size=100, seed=0):
    return np.random.default_rng(seed).normal(25.0, 3.0, size)


def test_a_policy_that_always_takes_a_second_less_is_better_by_a_second():
    time = races()
    found = by_time(outcome(time), outcome(time - 1.0))
    assert found.better
    assert found.difference == pytest.approx(1.0)
    assert (found.times.ahead, found.times.behind, found.times.pairs) == (100, 0, 100)
    assert found.times.change == pytest.approx(-1.0 / time.mean())


def test_one_more_failure_than_the_base_has_is_not_bought_with_any_time():
    time, fails = races(), np.arange(100) > 0
    fast = outcome(time - 10.0, fails)
    assert not by_time(outcome(time), fast).better
    assert by_time(outcome(time, fails), fast).better  # the base fails there too
    assert by_time(outcome(time, np.arange(100) < 99), fast).better  # it fails as often, elsewhere


def test_failing_far_more_often_is_worse_however_fast_the_rest():
    time = races()
    found = by_time(outcome(time), outcome(time - 10.0, np.arange(100) % 4 > 0))
    assert found.worse
    assert not found.better
    assert found.times.saved == pytest.approx(10.0)  # of what both finish


def test_a_fast_failure_is_no_fast_episode():
    time, fails = races(), np.arange(100) % 2 == 0
    found = times_of(outcome(time), outcome(np.where(fails, time, 1.0), fails), "s")
    assert (found.pairs, found.saved, found.behind) == (50, 0.0, 50)


def test_the_sign_of_most_pairs_and_the_mean_must_agree():
    """A hundred seconds saved in one pair of ten, and a second lost in the others: the mean gains, nine in ten lose."""
    time, wins = races(200), np.arange(200) % 10 == 0
    found = by_time(outcome(time + 100.0), outcome(np.where(wins, time, time + 101.0)))
    assert found.difference > 0.0
    assert found.difference_interval[0] <= 0.0
    assert not found.better
    assert found.p_value == 1.0


@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_an_equally_fast_policy_is_promoted_in_no_more_than_one_of_forty(spread):
    rng, promoted = np.random.default_rng(0), 0
    for _ in range(400):
        base, policy = rng.normal(25.0, spread, (2, 40))
        fails = rng.random((2, 40)) < 0.05
        promoted += by_time(outcome(base, ~fails[0]), outcome(policy, ~fails[1])).better
    assert promoted <= 400 * 0.025 + 2 * np.sqrt(400 * 0.025 * 0.975)


def test_a_policy_that_does_what_the_base_does_is_never_faster():
    time = races()
    assert not by_time(outcome(time), outcome(time - 1.0, deviation=0.0)).better


def test_each_scene_has_its_own_times_and_together_they_are_all():
    time, scene = races(), np.arange(100) % 2
    base, policy = outcome(time, scene=scene), outcome(time - scene, np.arange(100) != 3, scene)
    alder, birch = by_scene(base, policy, TRACKS)
    assert (alder.name, alder.episodes, alder.broken, alder.times.saved) == ("alder", 50, 0, 0.0)
    assert (birch.name, birch.broken, birch.times.pairs) == ("birch", 1, 49)
    assert birch.times.saved == pytest.approx(1.0)
    assert by_scene(base, policy, Timing()) == ()


def test_a_verdict_by_success_says_how_much_faster_solved_episodes_are():
    steps = races()
    found = compared("task", "base", outcome(steps), outcome(steps / 2))
    assert found.measured_by == "success"
    assert "both solve" in str(found)
    assert found.times.change == pytest.approx(-0.5)
