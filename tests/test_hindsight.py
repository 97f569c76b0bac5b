"""What was achieved later, taken as if it had been the goal all along."""

import numpy as np
import pytest
from pydantic import ValidationError

from residual_rl.learning.hindsight import Hindsight, relabel, rewarded
from residual_rl.learning.replay import Replay, example_transition
from residual_rl.types import Observation, Spec, Transition, with_goal

SPEC = Spec(observation_size=1, goal_size=2, action_size=2, horizon=10, reward_range=(-1.0, 0.0))
EPISODES, STILL = 20, 10
"""In the first ten episodes nothing moves, in the others every step reaches a place of its own."""
NOBODYS_GOAL = 5000.0


def success(achieved_goal, desired_goal):
    return np.linalg.norm(achieved_goal - desired_goal, axis=-1) < 0.5


def reward(achieved_goal, desired_goal, info):
    return success(achieved_goal, desired_goal) - 1.0


def base(observation):
    """Reads everything, and says what it read."""
    assert observation["desired_goal"].dtype == np.float64
    to_goal = observation["desired_goal"] - observation["achieved_goal"]
    return np.tanh(to_goal / 1000 + observation["observation"] / 100)


def episode(number):
    """The observation is the row's number; at row n of a moving episode (n, 2 n) is achieved, and (n + 1, 2 n + 2) next."""
    rows = np.arange(number * SPEC.horizon, (number + 1) * SPEC.horizon)
    places = np.full(len(rows) + 1, rows[0]) if number < STILL else np.append(rows, rows[-1] + 1)

    def at(observation, places):
        return Observation(
            observation=observation[:, None].astype(np.float64),
            achieved_goal=np.stack([places, 2.0 * places], axis=1),
            desired_goal=np.full((len(places), 2), NOBODYS_GOAL),
        )

    observation, next_observation = at(rows, places[:-1]), at(rows + 1, places[1:])
    return Transition(
        observation=observation,
        base_action=base(observation),
        residual=np.full((len(rows), 2), 0.25) + rows[:, None] / 1024,
        action=np.full((len(rows), 2), -0.5) + rows[:, None] / 1024,
        reward=np.full(len(rows), -1.0),
        terminated=np.zeros(len(rows), dtype=bool),
        truncated=np.arange(len(rows)) == len(rows) - 1,
        discount=np.full(len(rows), SPEC.discount),
        next_observation=next_observation,
        next_base_action=base(next_observation),
    )


@pytest.fixture(scope="module")
def replay():
    replay = Replay(example_transition(SPEC), EPISODES * SPEC.horizon)
    for number in range(EPISODES):
        replay.add_episode(episode(number))
    return replay


def sample(replay, size=4000, base=base, seed=0, **fields):
    """A batch, and the stored rows it came from."""
    hindsight = Hindsight(**fields)
    batch = hindsight.sample(replay, np.random.default_rng(seed), size, reward, success, base)
    numbers = batch.observation["observation"][:, 0].astype(int)
    return batch, replay.rows(numbers), numbers


def was_relabelled(batch):
    return (batch.observation["desired_goal"] != NOBODYS_GOAL).all(axis=1)


def test_the_goal_was_achieved_later_in_the_same_episode(replay):
    batch, _, numbers = sample(replay)
    relabelled = was_relabelled(batch) & (numbers >= STILL * SPEC.horizon)
    goal = batch.observation["desired_goal"][relabelled]
    achieved_by = goal[:, 0].astype(int) - 1  # the row after which it was achieved
    np.testing.assert_array_equal(goal[:, 1], 2 * goal[:, 0])
    np.testing.assert_array_equal(achieved_by // SPEC.horizon, numbers[relabelled] // SPEC.horizon)
    assert (achieved_by >= numbers[relabelled]).all()
    assert (achieved_by > numbers[relabelled]).mean() > 0.5


def test_both_observations_get_the_same_goal(replay):
    batch, _, _ = sample(replay)
    np.testing.assert_array_equal(batch.observation["desired_goal"], batch.next_observation["desired_goal"])


def test_the_reward_is_the_tasks_at_the_new_goal(replay):
    batch, _, _ = sample(replay)
    recomputed = reward(batch.next_observation["achieved_goal"], batch.next_observation["desired_goal"], {})
    np.testing.assert_array_equal(batch.reward, recomputed)
    assert set(batch.reward[was_relabelled(batch)]) == {-1.0, 0.0}


def test_the_reward_is_told_where_each_relabelled_step_led_and_what_the_action_was(replay):
    def dense(achieved_goal, desired_goal, info):
        return info["observation"][:, 0] + info["action"].sum(axis=1)

    batch = Hindsight().sample(replay, np.random.default_rng(0), 4000, dense, success, base)
    told = batch.next_observation["observation"][:, 0] + batch.action.sum(axis=1)
    np.testing.assert_array_equal(batch.reward, np.where(was_relabelled(batch), told, -1.0))


def test_the_base_is_asked_anew_at_both_observations(replay):
    batch, stored, _ = sample(replay)

    def anew(observation):
        return base({name: array.astype(np.float64) for name, array in observation.items()}).astype(np.float32)

    np.testing.assert_array_equal(batch.base_action, anew(batch.observation))
    np.testing.assert_array_equal(batch.next_base_action, anew(batch.next_observation))
    relabelled = was_relabelled(batch)
    assert (batch.base_action[relabelled] != stored.base_action[relabelled]).any(axis=1).all()


def test_without_a_base_to_ask_the_stored_base_actions_stay(replay):
    batch, stored, _ = sample(replay, base=None)
    assert was_relabelled(batch).any()
    np.testing.assert_array_equal(batch.base_action, stored.base_action)
    np.testing.assert_array_equal(batch.next_base_action, stored.next_base_action)


def test_what_happened_never_changes(replay):
    batch, stored, _ = sample(replay)
    for name in ("residual", "action", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(stored, name))
    for name in ("observation", "next_observation"):
        for key in ("observation", "achieved_goal"):
            np.testing.assert_array_equal(getattr(batch, name)[key], getattr(stored, name)[key])


def test_what_was_not_relabelled_is_untouched(replay):
    batch, stored, _ = sample(replay)
    left = ~was_relabelled(batch)
    assert left.any()
    for name, array in batch._asdict().items():
        kept = getattr(stored, name)
        arrays = [(array, kept)] if not isinstance(array, dict) else [(array[key], kept[key]) for key in array]
        for one, other in arrays:
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one[left], other[left])


def test_the_replay_is_untouched(replay):
    before = {name: array.copy() for name, array in replay.arrays().items()}
    sample(replay)
    for name, array in replay.arrays().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8, 1.0])
def test_the_relabel_ratio_is_the_share_of_the_batch(replay, ratio):
    size = 4000
    batch, _, _ = sample(replay, size=size, relabel_ratio=ratio)
    share = was_relabelled(batch).mean()
    assert abs(share - ratio) <= 5 * np.sqrt(ratio * (1 - ratio) / size)  # exact at 0 and 1


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_the_keep_achieved_ratio_is_the_share_of_goals_used_where_the_transition_starts_at_them(replay, ratio):
    """In the episodes where nothing moves every hindsight goal is such a goal; in the others none is."""
    size = 8000
    batch, stored, numbers = sample(replay, size=size, relabel_ratio=1.0, keep_achieved_ratio=ratio)
    still = numbers < STILL * SPEC.horizon
    relabelled = was_relabelled(batch)
    assert relabelled[~still].all()
    share = relabelled[still].mean()
    assert abs(share - ratio) <= 5 * np.sqrt(ratio * (1 - ratio) / still.sum())
    np.testing.assert_array_equal(batch.base_action[still & ~relabelled], stored.base_action[still & ~relabelled])
    achieved = success(batch.observation["achieved_goal"], batch.observation["desired_goal"])
    np.testing.assert_array_equal(achieved, still & relabelled)


def test_latest_draws_from_the_rows_added_last(replay):
    hindsight = Hindsight()
    batch = hindsight.sample(replay, np.random.default_rng(0), 500, reward, success, base, latest=10)
    assert set(batch.observation["observation"][:, 0].astype(int)) == set(range(190, 200))


def test_the_same_generator_gives_the_same_batch(replay):
    one, other = sample(replay, seed=3)[0], sample(replay, seed=3)[0]
    np.testing.assert_array_equal(one.observation["desired_goal"], other.observation["desired_goal"])
    np.testing.assert_array_equal(one.action, other.action)
    third = sample(replay, seed=4)[0]
    assert (third.action != one.action).any()


def test_relabelling_by_hand(replay):
    """Row 100 leads from (100, 200) to (101, 202). Asked for (101, 202) it succeeds, asked for (105, 210) it does not."""
    batch = replay.rows(np.array([100, 100, 100]))
    rows, goals = np.array([0, 2]), np.array([[101.0, 202.0], [105.0, 210.0]])
    changed = relabel(rewarded(batch, rows, goals, reward), rows, goals, base)
    np.testing.assert_array_equal(changed.reward, [0.0, -1.0, -1.0])
    goals = [[101.0, 202.0], [NOBODYS_GOAL, NOBODYS_GOAL], [105.0, 210.0]]
    np.testing.assert_array_equal(changed.observation["desired_goal"], goals)
    # tanh((goal - achieved) / 1000 + observation / 100)
    np.testing.assert_allclose(changed.base_action[0], np.tanh([1.001, 1.002]), atol=1e-6)
    np.testing.assert_allclose(changed.next_base_action[0], np.tanh([1.01, 1.01]), atol=1e-6)
    np.testing.assert_allclose(changed.base_action[2], np.tanh([1.005, 1.010]), atol=1e-6)


def test_relabelling_nothing_changes_nothing(replay):
    batch = replay.rows(np.arange(5))
    nothing = np.array([], dtype=int), np.zeros((0, 2))
    changed = relabel(rewarded(batch, *nothing, reward), *nothing, base)
    np.testing.assert_array_equal(changed.base_action, batch.base_action)
    np.testing.assert_array_equal(changed.reward, batch.reward)


def test_nothing_follows_what_the_world_has_ended(replay):
    """An episode that is terminated leaves nothing to bootstrap from."""
    ended = Replay(example_transition(SPEC), 10)
    steps = episode(10)
    last = np.arange(SPEC.horizon) == SPEC.horizon - 1
    ended.add_episode(
        steps._replace(terminated=last, truncated=np.zeros(SPEC.horizon, dtype=bool), discount=np.where(last, 0.0, 0.9))
    )
    batch, _, numbers = sample(ended)
    np.testing.assert_array_equal(batch.discount == 0, numbers % SPEC.horizon == SPEC.horizon - 1)


def test_with_goal_changes_only_the_goal(replay):
    observation = replay.rows(np.arange(5)).observation
    other = with_goal(observation, np.ones((5, 2)))
    np.testing.assert_array_equal(other["desired_goal"], np.ones((5, 2)))
    for key in ("observation", "achieved_goal"):
        np.testing.assert_array_equal(other[key], observation[key])


@pytest.mark.parametrize("field", ["relabel_ratio", "keep_achieved_ratio"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_ratio_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValidationError, match=field):
        Hindsight(**{field: value})


# ---- several steps ----


@pytest.mark.parametrize("base_asked", [True, False])
def test_one_step_is_what_it_always_was(replay, base_asked):
    one, other = (
        Hindsight().sample(replay, np.random.default_rng(0), 500, reward, success, base if base_asked else None, **steps)
        for steps in ({}, {"steps": 1})
    )
    for name in ("reward", "discount", "base_action", "next_base_action"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_a_return_over_steps_is_the_discounted_sum_within_the_episode_at_the_new_goal(replay):
    steps, discount, size = 4, SPEC.discount, 2000
    batch = Hindsight().sample(replay, np.random.default_rng(0), size, reward, success, base, steps=steps)
    first = batch.observation["observation"][:, 0].astype(int)
    ends = (first // SPEC.horizon + 1) * SPEC.horizon - 1
    goal = batch.observation["desired_goal"]
    expected, last = np.zeros(size), first.copy()
    for step in range(steps):
        inside = first + step <= ends
        last = np.where(inside, first + step, last)
        achieved = replay.rows(np.minimum(first + step, ends)).next_observation["achieved_goal"]
        expected += np.where(inside, discount**step * reward(achieved, goal, {}), 0.0)
    np.testing.assert_allclose(batch.reward, expected, rtol=1e-6)
    np.testing.assert_allclose(batch.discount, discount ** (last - first + 1), rtol=1e-6)
    np.testing.assert_array_equal(batch.next_observation["observation"][:, 0], last + 1)
    np.testing.assert_array_equal(batch.truncated, last == ends)
    np.testing.assert_array_equal(batch.next_observation["desired_goal"], goal)
    assert set(last - first + 1) == {1, 2, 3, 4}


def test_each_of_several_steps_is_learned_from_as_alone(replay):
    def centred(reward, discount):
        return 2.0 * (reward + (1 - discount) * 5.0)

    learners = Replay(example_transition(SPEC), EPISODES * SPEC.horizon)
    for number in range(EPISODES):
        steps = episode(number)
        learners.add_episode(steps._replace(reward=centred(steps.reward, steps.discount)))
    plain, learned = (
        Hindsight(relabel_ratio=0.0).sample(held, np.random.default_rng(0), 500, reward, success, None, steps=3)
        for held in (replay, learners)
    )
    # V - u with u = -5, as `learner_reward` promises: r + (1 - d) 5 over one step, and over several.
    np.testing.assert_allclose(learned.reward, 2.0 * (plain.reward + (1 - plain.discount) * 5.0), rtol=1e-5)


def test_nothing_follows_an_end_within_the_steps():
    ended = Replay(example_transition(SPEC), 10)
    steps = episode(10)
    last = np.arange(SPEC.horizon) == SPEC.horizon - 1
    ended.add_episode(
        steps._replace(terminated=last, truncated=np.zeros(SPEC.horizon, dtype=bool), discount=np.where(last, 0.0, 0.9))
    )
    batch = Hindsight().sample(ended, np.random.default_rng(0), 200, reward, success, base, steps=3)
    np.testing.assert_array_equal(batch.discount == 0.0, batch.observation["observation"][:, 0] % SPEC.horizon >= 7)
    np.testing.assert_array_equal(batch.terminated, batch.discount == 0.0)
