"""House rules that every registered task keeps, through both of Gymnasium's doors."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from playing import STEPS, equal, lane_of, play, random_actions, registered_id

from residual_rl.controllers import can_be_requeried, make_controller
from residual_rl.tasks.gymnasium_envs import WorldVectorEnv

FIXED_GOAL = {"mbrl-pusher", "mbrl-pusher-as-described"}


# --- what is returned ---


def test_spaces_contain_what_is_shown_and_all_of_it_is_finite(task, make_envs):
    envs = make_envs(3)
    for lane in range(3):
        envs.single_action_space.seed(lane)
    actions = np.stack([[envs.single_action_space.sample() for _ in range(3)] for _ in range(STEPS)])
    for observation, reward, terminated, truncated, success in play(envs, 0, actions):
        assert envs.observation_space.contains(observation)
        assert all(np.isfinite(value).all() for value in observation.values())
        assert envs.single_observation_space.contains(lane_of(observation, 1))
        if reward is not None:
            low, high = task.spec.reward_range
            assert np.all((low <= reward) & (reward <= high))
            assert (terminated.dtype, truncated.dtype, success.dtype) == (bool, bool, bool)
            assert reward.shape == terminated.shape == truncated.shape == success.shape == (3,)


def test_spec_says_the_sizes_of_the_spaces(task, make_envs):
    spaces, spec = make_envs(2).single_observation_space, task.spec
    assert spaces["observation"].shape == (spec.observation_size,)
    assert spaces["achieved_goal"].shape == spaces["desired_goal"].shape == (spec.goal_size,)
    assert make_envs(2).action_space.shape == (2, spec.action_size)


def test_the_envs_own_reward_and_success_are_the_tasks_recomputed(task, make_envs):
    controller = make_controller(task.default_controller, task.spec, 2)
    envs = make_envs(8 if can_be_requeried(controller) else 2, with_state=True)
    observation, _ = envs.reset(seed=0)
    rewards = []
    for _ in range(task.spec.horizon):
        observation, reward, _, _, info = envs.step(controller(observation))
        achieved, desired = observation["achieved_goal"], observation["desired_goal"]
        assert np.array_equal(reward, task.reward(achieved, desired, info))
        assert np.array_equal(info["is_success"], task.success(achieved, desired))
        rewards.append(reward)
    assert len(np.unique(rewards)) > 1  # both kinds of step were seen


def test_what_was_returned_does_not_change_later(make_envs, task):
    envs = make_envs(2)
    action = np.ones((2, task.spec.action_size))
    first, _ = envs.reset(seed=0)
    second, reward, terminated, truncated, info = envs.step(action)
    returned = [*first.values(), *second.values(), reward, terminated, truncated, *info.values()]
    kept = [array.copy() for array in returned]
    third, *_ = envs.step(action)
    fourth, _ = envs.reset()
    assert all(np.array_equal(array, before) for array, before in zip(returned, kept, strict=True))
    arrays = [*returned, *third.values(), *fourth.values(), *envs.state]
    for index, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[index + 1 :])


def test_writing_into_what_was_returned_does_not_reach_the_world(make_envs, task):
    actions = random_actions(task, 0)[:, None]
    expected = play(make_envs(1), [5], actions)
    envs = make_envs(1)
    observation, _ = envs.reset(seed=[5])
    for action, (shown, *_) in zip(actions, expected[1:], strict=True):
        for value in observation.values():
            value[:] = np.nan
        observation, *_ = envs.step(action)
        assert equal(observation, shown)


def test_stepping_does_not_change_the_action_it_was_given(make_envs, task):
    envs = make_envs(2)
    envs.reset(seed=0)
    action = np.full((2, task.spec.action_size), 3.0)
    envs.step(action)
    assert np.all(action == 3.0)


def test_actions_beyond_the_space_are_clipped_to_it(make_envs, task):
    actions = 3.0 * random_actions(task, 1)[:, None]
    beyond, within = play(make_envs(1), 0, actions), play(make_envs(1), 0, actions.clip(-1.0, 1.0))
    assert all(equal(one[0], other[0]) for one, other in zip(beyond, within, strict=True))


# --- seeds ---


@pytest.mark.parametrize(("lanes", "looked_at"), [(2, [1]), (64, [0, 37, 63])])
def test_same_seed_gives_the_same_episode_in_any_batch(task, make_envs, lanes, looked_at):
    seeds = list(range(100, 100 + lanes))
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (STEPS, lanes, task.spec.action_size))
    together = play(make_envs(lanes, num_threads=3), seeds, actions)
    single = make_envs(1, num_threads=1)
    for lane in looked_at:
        alone = play(single, [seeds[lane]], actions[:, lane : lane + 1])
        for (one, *of_one), (many, *of_many) in zip(alone, together, strict=True):
            assert equal(lane_of(one, 0), lane_of(many, lane))
            assert all(a is b is None or np.array_equal(a[0], b[lane]) for a, b in zip(of_one, of_many, strict=True))


def test_an_integer_seed_counts_up_over_the_lanes(make_envs):
    counted, _ = make_envs(4).reset(seed=20)
    listed, _ = make_envs(4).reset(seed=[20, 21, 22, 23])
    assert equal(counted, listed)


def test_different_seeds_start_differently(task, make_envs):
    observation, _ = make_envs(16).reset(seed=0)
    assert len(np.unique(observation["achieved_goal"], axis=0)) == 16
    assert len(np.unique(observation["desired_goal"], axis=0)) == (1 if task.name in FIXED_GOAL else 16)


def test_without_a_seed_a_lane_goes_on_with_its_own_generator(make_envs):
    envs = make_envs(2)
    first, _ = envs.reset(seed=0)
    second, _ = envs.reset()
    assert not np.any(first["achieved_goal"][:, 0] == second["achieved_goal"][:, 0])
    envs.reset(seed=0)
    again, _ = envs.reset(seed=[None, 0])
    assert equal(lane_of(again, 0), lane_of(second, 0))
    assert not equal(lane_of(again, 1), lane_of(second, 1))


def test_never_seeded_lanes_differ(make_envs):
    observation, _ = make_envs(4).reset()  # no seed: that is the claim; four continuous draws are never equal
    assert len(np.unique(observation["achieved_goal"], axis=0)) == 4


# --- episode ends ---


def test_episodes_end_by_time_alone_and_at_the_horizon(task, make_envs):
    envs = make_envs(2)
    shown = play(envs, 0, np.zeros((task.spec.horizon, 2, task.spec.action_size)))
    assert not any(terminated.any() for _, _, terminated, _, _ in shown[1:])
    assert [truncated.all() for *_, truncated, _ in shown[1:]] == [False] * (task.spec.horizon - 1) + [True]


def test_next_step_autoreset_ignores_the_action_and_starts_the_lanes_next_episode(task, make_envs):
    envs = make_envs(3, max_episode_steps=3)
    assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    zeros = np.zeros((3, 3, task.spec.action_size))
    play(envs, 0, zeros)
    started, reward, terminated, truncated, _ = envs.step(np.ones((3, task.spec.action_size)))
    other = make_envs(3)
    other.reset(seed=0)
    expected, _ = other.reset()
    assert equal(started, expected)
    assert not reward.any()
    assert not terminated.any()
    assert not truncated.any()
    ends = [envs.step(action)[3].all() for action in zeros]
    assert ends == [False, False, True]


def test_disabled_autoreset_refuses_to_step_an_ended_lane_and_names_it(task, make_envs):
    envs = make_envs(3, autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=3)
    action = np.zeros((3, task.spec.action_size))
    envs.reset(seed=0)
    envs.step(action)
    envs.reset(options={"reset_mask": np.array([True, False, True])})
    envs.step(action)
    assert envs.step(action)[3].tolist() == [False, True, False]
    with pytest.raises(ResetNeeded, match=r"lanes \[1\] have ended"):
        envs.step(action)
    envs.reset(options={"reset_mask": np.array([False, True, False])})
    assert envs.step(action)[3].tolist() == [True, False, True]


def test_reset_mask_leaves_the_other_lanes_where_they_are(task, make_envs):
    envs, undisturbed = (make_envs(4, autoreset_mode=AutoresetMode.DISABLED) for _ in range(2))
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (6, 4, task.spec.action_size))
    before = play(envs, 0, actions[:3])[-1][0]
    expected = play(undisturbed, 0, actions)
    mask = np.array([False, True, False, True])
    after, _ = envs.reset(seed=[None, 77, None, 78], options={"reset_mask": mask})
    assert equal(lane_of(after, ~mask), lane_of(before, ~mask))
    fresh, _ = make_envs(2).reset(seed=77)
    assert equal(lane_of(after, mask), fresh)
    for action, (shown, *_) in zip(actions[3:], expected[4:], strict=True):
        observation, *_ = envs.step(action)
        assert equal(lane_of(observation, ~mask), lane_of(shown, ~mask))


@pytest.mark.parametrize("mask", [np.array([True]), np.array([1, 0]), np.ones((2, 1), dtype=bool)])
def test_a_reset_mask_that_is_none_is_refused(make_envs, mask):
    envs = make_envs(2)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask must be a bool array of shape"):
        envs.reset(options={"reset_mask": mask})


def test_a_seed_too_few_is_refused(make_envs):
    with pytest.raises(ValueError, match="one seed for each of the 3 lanes"):
        make_envs(3).reset(seed=[1, 2])


def test_nothing_can_be_done_before_the_first_reset(task, make_envs):
    envs = make_envs(2)
    with pytest.raises(ResetNeeded):
        envs.step(np.zeros((2, task.spec.action_size)))
    with pytest.raises(ResetNeeded):
        envs.reset(options={"reset_mask": np.array([True, False])})


def test_resetting_within_the_step_is_refused(make_envs):
    with pytest.raises(ValueError, match="SAME_STEP"):
        make_envs(2, autoreset_mode=AutoresetMode.SAME_STEP)


# --- the simulator's state ---


def test_the_state_is_shown_only_where_it_is_asked_for_and_changes_nothing_else(task, make_envs):
    envs, plain = make_envs(3, with_state=True), make_envs(3)
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (STEPS, 3, task.spec.action_size))
    assert "state" not in plain.observation_space.spaces
    for (shown, *rest), (without, *others) in zip(play(envs, 0, actions), play(plain, 0, actions), strict=True):
        assert envs.observation_space.contains(shown)
        assert "state" not in without
        assert equal(shown, without)
        assert all(a is b is None or np.array_equal(a, b) for a, b in zip(rest, others, strict=True))


def test_the_state_shown_is_where_the_world_goes_on_from(task, make_envs):
    envs = make_envs(3, with_state=True)
    observation, _ = envs.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1.0, 1.0, (4, 3, task.spec.action_size)):
        assert np.array_equal(observation["state"], envs.state.physics)
        expected = envs.world.step(envs.state, action)
        observation["state"][:] = np.nan  # writing into it does not reach the world
        observation, *_ = envs.step(action)
        assert np.array_equal(observation["state"], expected.physics)


@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
def test_the_state_can_be_asked_of_either_of_gymnasiums_doors(task):
    env = gymnasium.make(registered_id(task), with_state=True)
    envs = gymnasium.make_vec(registered_id(task), num_envs=2, with_state=True)
    observation, _ = env.reset(seed=4)
    shown, _ = envs.reset(seed=4)
    assert env.observation_space.contains(observation)
    assert envs.observation_space.contains(shown)
    assert np.array_equal(observation["state"], shown["state"][0])
    env.unwrapped.action_space.seed(0)  # the checker samples actions
    check_env(env.unwrapped, skip_render_check=True)
    env.close()
    envs.close()


def test_a_world_without_physics_has_no_state_to_show(task):
    class Line:
        spec = task.spec

        def reset(self, rngs):
            return (np.zeros((len(rngs), 1)),), np.zeros((len(rngs), 1))

    with pytest.raises(ValueError, match="Line has no physics state"):
        WorldVectorEnv(Line(), task.reward, task.success, with_state=True)
