"""Gymnasium's doors to every registered task: `make`, `make_vec`, `compute_reward`, and the checkers of others."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from playing import STEPS, equal, lane_of, play, random_actions, registered_id

from residual_rl.tasks import TASKS, find_task


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_is_found_by_its_name_and_by_its_gymnasium_id(task):
    assert find_task(task.name) is find_task(task.gymnasium_id) is task


@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_gymnasiums_own_checker_has_no_complaint(task):
    # But one, that the observation is unbounded: so it is in Gymnasium-Robotics too.
    env = gymnasium.make(registered_id(task)).unwrapped
    env.action_space.seed(0)  # the checker samples actions
    check_env(env, skip_render_check=True)
    env.close()


@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
def test_gymnasium_make_plays_the_same_episodes_and_truncates_at_the_horizon(task, make_envs):
    env = gymnasium.make(registered_id(task))
    assert env.spec.max_episode_steps == task.spec.horizon
    actions = random_actions(task, 2, task.spec.horizon)
    expected = play(make_envs(1), [9], actions[:, None])
    observation, _ = env.reset(seed=9)
    assert equal(observation, lane_of(expected[0][0], 0))
    for step, (action, (shown, reward, _, _, success)) in enumerate(zip(actions, expected[1:], strict=True), 1):
        observation, of_env, terminated, truncated, info = env.step(action)
        assert env.observation_space.contains(observation)
        assert equal(observation, lane_of(shown, 0))
        assert (of_env, info["is_success"]) == (reward[0], success[0])
        assert type(of_env) is float
        assert not terminated
        assert truncated == (step == task.spec.horizon)
    env.close()


def test_gymnasium_make_vec_gives_the_batched_world(task, make_envs):
    envs = gymnasium.make_vec(registered_id(task), num_envs=3)
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (STEPS, 3, task.spec.action_size))
    shown, expected = play(envs, 4, actions), play(make_envs(3), 4, actions)
    assert type(envs.unwrapped) is type(make_envs(1))
    assert all(equal(one[0], other[0]) for one, other in zip(shown, expected, strict=True))
    assert envs.spec.id == task.gymnasium_id
    envs.close()


def test_a_shorter_horizon_can_be_asked_of_either_door(task):
    name = registered_id(task)
    env, envs = gymnasium.make(name, max_episode_steps=2), gymnasium.make_vec(name, num_envs=2, max_episode_steps=2)
    action = np.zeros((2, task.spec.action_size), dtype=np.float32)
    envs.reset(seed=0)
    assert [envs.step(action)[3].all() for _ in range(2)] == [False, True]
    env.reset(seed=0)
    assert [env.step(action[0])[3] for _ in range(2)] == [False, True]
    env.close()
    envs.close()


def test_compute_reward_takes_batches_and_single_goals(task):
    env, rng = gymnasium.make(registered_id(task)).unwrapped, np.random.default_rng(0)
    goals = rng.normal(scale=0.05, size=(2, 6, task.spec.goal_size))
    info = {
        "observation": rng.normal(size=(6, task.spec.observation_size)),
        "action": rng.uniform(-1.0, 1.0, (6, task.spec.action_size)),
    }
    infos = [{key: array[row] for key, array in info.items()} for row in range(6)]
    rewards = env.compute_reward(goals[0], goals[1], info)
    assert rewards.shape == (6,)
    assert np.array_equal(rewards, task.reward(goals[0], goals[1], info))
    assert np.array_equal(rewards, env.compute_reward(goals[0], goals[1], np.array(infos)))
    assert [env.compute_reward(*one) for one in zip(*goals, infos, strict=True)] == rewards.tolist()
    env.close()


def test_compute_reward_gives_every_steps_reward_from_what_the_step_showed(task):
    env = gymnasium.make(registered_id(task)).unwrapped
    env.reset(seed=1)
    steps = [env.step(3.0 * action) for action in random_actions(task, 1)]
    shown = [(observation["achieved_goal"], observation["desired_goal"], info) for observation, _, _, _, info in steps]
    rewards = [reward for _, reward, *_ in steps]
    assert [env.compute_reward(*one) for one in shown] == rewards
    achieved, desired, infos = zip(*shown, strict=True)
    assert env.compute_reward(np.stack(achieved), np.stack(desired), infos).tolist() == rewards
    env.close()


def test_stable_baselines3s_own_checker_has_no_complaint(task):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gymnasium.make(registered_id(task)).unwrapped
    env.reset(seed=0)  # the checker resets without a seed, and samples actions
    env.action_space.seed(0)
    checker.check_env(env, skip_render_check=True)
    env.close()


def test_an_env_of_its_own_seeded_once_goes_on_to_new_episodes(task):
    env = task.make_env()
    first, _ = env.reset(seed=3)
    second, _ = env.reset()
    again, _ = env.reset(seed=3)
    assert equal(first, again)
    assert not np.array_equal(first["achieved_goal"], second["achieved_goal"])
    env.close()
