"""Evaluation: what is counted, in which order, and with which seeds."""

from typing import NamedTuple

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

from residual_rl.controllers import ReactivePush, Zero, make_controller
from residual_rl.errors import ControllerError, WorldError
from residual_rl.evaluation import MAX_LANES, Act, Outcome, base_alone, bounded, evaluation_envs, roll_out
from residual_rl.residual import SILVER2018, Composition
from residual_rl.seeds import EPISODES_PER_RUN, Purpose, evaluation_seeds, training_seed
from residual_rl.statistics import mean_interval, wilson_interval
from residual_rl.tasks import TASKS
from residual_rl.tasks.block import BlockWorld
from residual_rl.tasks.gymnasium_envs import WorldVectorEnv
from residual_rl.types import Observation, Spec


class Place(NamedTuple):
    position: np.ndarray
    """[E, 1]"""


class Line:
    """A point on a line, moved by its action. It starts at 0; the goal lies at 2, 3 or 4, by the seed."""

    spec = Spec(observation_size=1, goal_size=1, action_size=2, horizon=5, reward_range=(-1.0, 0.0))

    def reset(self, rngs):
        goals = np.array([[float(rng.integers(2, 5))] for rng in rngs])
        return Place(np.zeros((len(rngs), 1))), goals

    def step(self, state, action):
        return Place(state.position + action[:, :1])

    def observe(self, state, goal):
        return Observation(observation=state.position.copy(), achieved_goal=state.position.copy(), desired_goal=goal.copy())

    def close(self):
        pass

    @staticmethod
    def success(achieved, desired):
        return np.abs(achieved - desired)[..., 0] < 0.25

    @staticmethod
    def reward(achieved, desired, info):
        return Line.success(achieved, desired) - 1.0


def line(lanes, horizon=5):
    return WorldVectorEnv(Line(), Line.reward, Line.success, lanes, AutoresetMode.DISABLED, horizon)


def goal_of(seed):
    return int(np.random.default_rng(seed).integers(2, 5))


@Act
def forward(observation):
    """Full speed along the line, without ever stopping; nothing with the second component."""
    move = np.tile([1.0, 0.0], (len(observation["observation"]), 1))
    return move, move


@Act
def until_there(observation):
    """The same, but stops at the goal."""
    move = np.where(Line.success(observation["achieved_goal"], observation["desired_goal"]), 0.0, 1.0)
    move = np.stack([move, np.zeros_like(move)], axis=1)
    return move, move


def equal(first, second):
    return all(np.array_equal(one, other, equal_nan=True) for one, other in zip(first, second, strict=True))


# --- what is counted: answers known by hand ---


def test_an_episode_that_passes_the_goal_reached_it_but_did_not_succeed():
    seeds = list(range(12))
    goals = np.array([goal_of(seed) for seed in seeds])
    outcome = roll_out(line(12), forward, seeds)
    assert set(goals) == {2, 3, 4}
    assert not outcome.success.any()  # at the last step it is at 5
    assert np.array_equal(outcome.steps_to_success, goals)  # one metre a step
    assert np.array_equal(outcome.returns, np.full(12, -4.0))  # -1 at each of 5 steps but one


def test_an_episode_that_stays_succeeds_and_its_return_tells_when_it_arrived():
    seeds = list(range(12))
    goals = np.array([goal_of(seed) for seed in seeds])
    outcome = roll_out(line(12), until_there, seeds)
    assert outcome.success.all()
    assert outcome.success.dtype == bool
    assert np.array_equal(outcome.steps_to_success, goals)
    assert np.array_equal(outcome.returns, -(goals - 1.0))


def test_steps_to_success_is_nan_where_the_goal_was_never_reached():
    seeds = list(range(12))
    goals = np.array([goal_of(seed) for seed in seeds])
    outcome = roll_out(line(12, horizon=3), until_there, seeds)
    assert np.array_equal(outcome.steps_to_success, np.where(goals <= 3, goals, np.nan), equal_nan=True)
    assert np.array_equal(outcome.success, goals <= 3)
    assert outcome.success_rate == np.mean(goals <= 3)
    assert outcome.interval == wilson_interval(int(np.sum(goals <= 3)), 12)


def test_deviation_is_how_far_the_action_is_from_the_base_within_bounds():
    @Act
    def pushed(observation):
        base = np.tile([3.0, 0.5], (len(observation["observation"]), 1))  # beyond what can be executed: counts as 1
        return base, np.tile([0.6, 0.5], (len(base), 1))

    # |0.6 - 1| and |0.5 - 0.5|, averaged over two components.
    np.testing.assert_allclose(roll_out(line(2), pushed, [0, 1]).deviation, 0.2)


def test_jerk_is_the_mean_change_of_the_action_from_step_to_step():
    @Act
    def swinging(observation):
        size = len(observation["observation"])
        sign = 1.0 if round(float(observation["observation"][0, 0])) % 2 == 0 else -1.0
        move = np.tile([sign, 0.25], (size, 1))
        return move, move

    # The first component goes from +1 to -1 and back at each of the 4 changes, the second stays: (2 + 0) / 2.
    np.testing.assert_allclose(roll_out(line(1), swinging, [0]).jerk, 1.0)
    assert roll_out(line(1), forward, [0]).jerk == [0.0]
    assert roll_out(line(1, horizon=1), forward, [0]).jerk == [0.0]


# --- order and padding ---


@given(
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=20),
    lanes=st.integers(1, 8),
)
def test_neither_the_lanes_nor_the_padding_changes_an_outcome(seeds, lanes):
    alone = [roll_out(line(1, horizon=3), until_there, [seed]) for seed in seeds]
    outcome = roll_out(line(lanes, horizon=3), until_there, seeds)
    assert all(len(values) == len(seeds) for values in outcome)
    assert equal(outcome, Outcome(*(np.concatenate(values) for values in zip(*alone, strict=True))))


@pytest.mark.parametrize("lanes", [2, 3, 8])
def test_real_episodes_are_padded_without_a_trace_and_follow_the_order_of_the_seeds(lanes):
    task = TASKS["slippery-push"]
    act = base_alone(ReactivePush(), Composition(), 4)
    seeds = [31, 5, 77, 12, 40]

    def outcome_of(lanes, seeds):
        envs = task.make_envs(lanes, num_threads=2, autoreset_mode=AutoresetMode.DISABLED)
        outcome = roll_out(envs, act, seeds)
        envs.close()
        return outcome

    expected = outcome_of(5, seeds)
    assert len(set(expected.jerk)) == 5  # episodes can be told apart
    assert equal(outcome_of(lanes, seeds), expected)
    assert equal(outcome_of(lanes, seeds[::-1]), [values[::-1] for values in expected])


def test_an_evaluation_has_no_more_lanes_than_episodes_and_no_more_than_it_may():
    for episodes, lanes in ((3, 3), (MAX_LANES, MAX_LANES), (1000, MAX_LANES)):
        envs = evaluation_envs(TASKS["push"], episodes, num_threads=1)
        assert envs.num_envs == lanes
        assert envs.metadata["autoreset_mode"] == AutoresetMode.DISABLED
        envs.close()


# --- the base alone ---


@pytest.mark.parametrize("composition", [Composition(), SILVER2018])
def test_the_base_alone_does_not_deviate_from_itself(composition):
    envs = evaluation_envs(TASKS["push"], 4, num_threads=2)
    outcome = roll_out(envs, base_alone(ReactivePush(), composition, 4), [0, 1, 2, 3])
    envs.close()
    assert np.array_equal(outcome.deviation, np.zeros(4))
    assert outcome.jerk.min() > 0.0


def test_the_base_alone_executes_its_proposal_within_bounds():
    observation = Observation(observation=np.zeros((2, 1)), achieved_goal=np.zeros((2, 1)), desired_goal=np.zeros((2, 1)))

    def loud(observation):
        return np.array([[3.0, -0.5], [-7.0, 0.0]])

    base, action = base_alone(loud, SILVER2018, 2)(observation)
    assert np.array_equal(base, loud(observation))
    assert np.array_equal(action, [[1.0, -0.5], [-1.0, 0.0]])
    base, action = base_alone(loud, Composition(), 2)(observation)
    assert np.array_equal(base, action)


def test_doing_nothing_succeeds_only_where_the_episode_starts_solved():
    task = TASKS["push"]
    envs = evaluation_envs(task, 40, num_threads=2)
    outcome = roll_out(envs, base_alone(Zero(4), Composition(), 4), list(range(40)))
    start, _ = envs.reset(seed=list(range(40)))
    assert np.array_equal(outcome.success, task.success(start["achieved_goal"], start["desired_goal"]))
    envs.close()


def test_a_base_that_proposes_no_action_is_an_error_that_names_it():
    def my_base(observation):
        return np.zeros(3)

    with pytest.raises(ControllerError, match="'my_base' returned shape"):
        roll_out(line(1), base_alone(my_base, Composition(), 2), [0])


# --- intervals ---


def test_the_interval_of_a_mean_is_students():
    # Student 1908: with 9 degrees of freedom 95 % lie within 2.262 standard errors.
    values = np.arange(10.0)
    half = 2.262157 * np.sqrt(55 / 6) / np.sqrt(10)
    assert mean_interval(values) == pytest.approx((4.5 - half, 4.5 + half))
    assert mean_interval(np.array([3.0])) == (3.0, 3.0)


def test_an_outcome_is_measured_by_what_is_asked_for():
    outcome = roll_out(line(12), until_there, list(range(12)))
    assert outcome.measured("success") == outcome.success_rate == 1.0
    assert outcome.measured("return") == outcome.mean_return == outcome.returns.mean()
    assert outcome.return_interval == mean_interval(outcome.returns)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_those_of_the_textbook(successes, trials, low, high):
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials))))
def test_wilson_intervals_hold_the_rate_and_mirror_with_it(counts):
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    assert 0.0 <= low <= successes / trials <= high <= 1.0
    assert wilson_interval(trials - successes, trials) == pytest.approx((1.0 - high, 1.0 - low), abs=1e-12)


# --- seeds ---

EVALUATIONS = (Purpose.VERDICT, Purpose.SELECTION)


@given(run_seed=st.integers(0, 10**6), episode=st.integers(0, EPISODES_PER_RUN - 1), other=st.integers(0, 10**6))
def test_training_shares_no_seed_with_an_evaluation_nor_with_another_run(run_seed, episode, other):
    seed = training_seed(run_seed, episode)
    for purpose in EVALUATIONS:
        assert not purpose <= seed < purpose + 1_000_000  # what evaluation_seeds can give, at the most
    first, last = training_seed(other, 0), training_seed(other, EPISODES_PER_RUN - 1)
    assert (first <= seed <= last) == (run_seed == other)


def test_selection_and_verdict_share_no_seed_at_any_size():
    verdict, selection = (evaluation_seeds(purpose, 1_000_000) for purpose in EVALUATIONS)
    assert set(verdict).isdisjoint(selection)
    assert max(selection) < training_seed(0, 0)


@given(st.sampled_from(EVALUATIONS), st.integers(1, 500), st.integers(1, 500))
def test_a_smaller_evaluation_is_the_beginning_of_a_larger_one(purpose, first, second):
    small, large = sorted((first, second))
    assert evaluation_seeds(purpose, small) == evaluation_seeds(purpose, large)[:small]
    assert len(set(evaluation_seeds(purpose, large))) == large


@pytest.mark.parametrize("episodes", [0, -1, 1_000_001])
def test_an_impossible_number_of_episodes_is_refused(episodes):
    with pytest.raises(ValueError, match=rf"between 1 and 1000000, not {episodes}"):
        evaluation_seeds(Purpose.VERDICT, episodes)


@pytest.mark.parametrize(("run_seed", "episode"), [(-1, 0), (0, -1), (0, EPISODES_PER_RUN)])
def test_a_training_seed_that_belongs_to_others_is_refused(run_seed, episode):
    with pytest.raises(ValueError, match="seed"):
        training_seed(run_seed, episode)


def test_a_world_that_breaks_in_an_evaluation_is_a_failed_episode_and_not_the_controllers_fault(monkeypatch):
    task = TASKS["push"]
    step = BlockWorld.step

    def breaking(self, state, action):
        after = step(self, state, action)
        after.physics[1] = np.nan
        after.sensors[1] = np.nan
        return after

    act = base_alone(make_controller("reactive-push", task.spec), Composition(), 4)
    envs = evaluation_envs(task, 3, 1)
    sound = roll_out(envs, act, [1, 2, 3])
    monkeypatch.setattr(BlockWorld, "step", breaking)
    broken = roll_out(envs, act, [1, 2, 3])
    assert not broken.success[1]
    assert np.array_equal(broken.success[[0, 2]], sound.success[[0, 2]])
    assert np.array_equal(broken.returns[[0, 2]], sound.returns[[0, 2]])
    assert broken.returns[1] == 50 * -1.0  # the least that is possible


class Breaking(Line):
    """Rewarded without bound by its position. A lane that is pushed beyond 2 shows nothing finite any more."""

    spec = Line.spec._replace(reward_range=(-np.inf, np.inf))

    def observe(self, state, goal):
        shown = super().observe(state, goal)
        return shown | {"observation": np.where(shown["observation"] > 2.0, np.nan, shown["observation"])}

    @staticmethod
    def reward(achieved, desired, info):
        return np.where(achieved > 2.0, np.nan, -achieved)[..., 0]


@pytest.mark.parametrize(("rewarded", "worst", "mean"), [((-np.inf, np.inf), -np.inf, -9.0), ((-7.0, 0.0), -35.0, -22.0)])
def test_breaking_the_world_never_pays(rewarded, worst, mean):

    class World(Breaking):
        spec = Breaking.spec._replace(reward_range=rewarded)

    @Act
    def one_runs_one_stops_at_two(observation):
        position = observation["observation"]
        move = np.where((np.arange(len(position)) == 0)[:, None] | (position < 2.0), 1.0, 0.0)
        move = np.concatenate([move, np.zeros_like(move)], axis=1)
        return move, move

    envs = WorldVectorEnv(World(), World.reward, World.success, 2, AutoresetMode.DISABLED, 5)
    outcome = roll_out(envs, one_runs_one_stops_at_two, [0, 0])
    assert outcome.returns.tolist() == [worst, -1.0 - 4 * 2.0]
    assert outcome.measured("return") == mean
    assert not outcome.success[0]


def with_returns(*returns):
    nothing = np.zeros(len(returns))
    return Outcome(nothing > 0, np.array(returns), nothing, nothing, nothing, nothing, nothing)


def test_an_episode_that_breaks_under_both_tells_nothing_and_under_one_never_speaks_for_it():
    base, policy = with_returns(-np.inf, -5.0, -149.0, -np.inf), with_returns(-np.inf, -np.inf, -300.0, -3.0)
    one, other = bounded(base, policy)
    assert (other.returns - one.returns).tolist() == [0.0, -295.0, -151.0, 297.0]
    assert bounded(with_returns(-np.inf))[0].mean_return == 0.0
    assert bounded(with_returns(-4.0, 2.0))[0].returns.tolist() == [-4.0, 2.0]


def test_a_world_that_raises_in_an_evaluation_is_named(monkeypatch):
    task = TASKS["push"]

    def raising(self, state, action):
        raise FloatingPointError("unstable")

    monkeypatch.setattr(BlockWorld, "step", raising)
    act = base_alone(make_controller("zero", task.spec), Composition(), 4)
    with pytest.raises(WorldError, match=r"step 0 raised FloatingPointError: unstable"):
        roll_out(evaluation_envs(task, 2, 1), act, [1, 2])
