"""Racing: episodes, what they show and tell, and the drivers."""

from contextlib import closing

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from playing import random_actions

from residual_rl.controllers import CONTROLLERS, FollowTheGap, PotentialField, PurePursuit, propose
from residual_rl.errors import ControllerError
from residual_rl.evaluation import Act, base_alone, judged_in, roll_out
from residual_rl.residual import Composition
from residual_rl.seeds import Purpose
from residual_rl.tasks import TASKS, find_task
from residual_rl.tasks.racing import tracks
from residual_rl.tasks.racing.car import CAR
from residual_rl.tasks.racing.envs import reward_progress
from residual_rl.tasks.racing.task import on_tracks
from residual_rl.tasks.racing.track import track_through
from residual_rl.tasks.racing.world import HORIZON, RANGES, SPEC, RacingWorld, State
from residual_rl.types import select, without_state
from residual_rl.verdict import compared

NAMES = ("racing", "racing-validation", "racing-test")
DRIVERS = {"pure-pursuit": PurePursuit(), "racing-line": PurePursuit("fast"), "gap": FollowTheGap(), "field": PotentialField()}
TASK = TASKS["racing"]
ANGLES = np.linspace(0, 2 * np.pi, 16, endpoint=False)
SHORT = track_through(
    "short", np.column_stack([4.2 * np.cos(ANGLES), 2.8 * np.sin(ANGLES)]), np.full(16, 1.0), np.full(16, 0.9)
)
AHEAD = np.array([[0.0, 1.0]])
"""Straight into the next wall."""


def envs_of(task=TASK, lanes=3, **fields):
    return task.make_envs(lanes, num_threads=1, **{"autoreset_mode": AutoresetMode.DISABLED} | fields)


def race(driver, envs, seed=0, steps=HORIZON):
    """Observations, and what each step gave, until all have ended."""
    observation, _ = envs.reset(seed=seed)
    seen, given = [observation], []
    for _ in range(steps):
        observation, *rest = envs.step(driver(observation))
        seen.append(observation)
        given.append(rest)
        if (rest[1] | rest[2]).all():
            break
    envs.close()
    return seen, given


# --- doors and rules ---


@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_both_of_gymnasiums_doors_play_the_same_episodes(name):
    task = TASKS[name]
    env, envs = gymnasium.make(task.gymnasium_id), gymnasium.make_vec(task.gymnasium_id, num_envs=2)
    check_env(env.unwrapped, skip_render_check=True)
    shown, _ = env.reset(seed=5)
    both, _ = envs.reset(seed=[4, 5])
    for action in random_actions(task, 0):
        assert np.array_equal(shown["observation"], both["observation"][1])
        shown, of_env, terminated, truncated, info = env.step(action)
        both, rewards, *_, infos = envs.step(np.stack([action, action]))
        assert (of_env, terminated, truncated) == (rewards[1], False, False)
        assert (info["collision"], info["track"]) == (infos["collision"][1], infos["track"][1])
    env.close()
    envs.close()


def test_tasks_share_no_track_and_name_where_they_are_judged():
    drawn = {name: {track.name for track in TASKS[name].make_world(1).circuits.tracks} for name in NAMES}
    assert drawn == {
        "racing": set(tracks.TRAINING),
        "racing-validation": set(tracks.VALIDATION),
        "racing-test": set(tracks.TEST),
    }
    assert len(set.union(*drawn.values())) == 15
    assert find_task(TASK.selection_task).name == "racing-validation"
    assert find_task(TASK.verdict_task).name == "racing-test"
    assert TASKS["racing-test"].verdict_task is None


def test_the_seed_draws_the_track_and_every_track_is_drawn():
    envs = envs_of(lanes=90)
    observation, _ = envs.reset(seed=0)
    first = envs.state.physics.copy()
    assert set(first[:, 8]) == set(range(9))
    assert (first[:, 4] == 0.0).all()  # from a standing start
    again, _ = envs.reset(seed=0)
    assert np.array_equal(again["observation"], observation["observation"])
    envs.close()


def test_an_episode_is_the_same_in_any_company_and_with_threads():
    actions = np.random.default_rng(0).uniform(-1, 1, (30, 1, 2))
    alone, many = envs_of(lanes=1), TASK.make_envs(130, num_threads=2, autoreset_mode=AutoresetMode.DISABLED)
    one, _ = alone.reset(seed=[77])
    all_, _ = many.reset(seed=[*range(129), 77])
    for action in actions:
        assert np.array_equal(one["observation"][0], all_["observation"][-1])
        one, *_ = alone.step(action)
        all_, *_ = many.step(np.repeat(action, 130, axis=0))
    alone.close()
    many.close()


def test_a_state_determines_what_follows():
    world, rngs = RacingWorld([SHORT], 1), [np.random.default_rng(1)]
    state, goal = world.reset(rngs)
    copy = State(*(values.copy() for values in state))
    for _ in range(5):
        state, copy = world.step(state, AHEAD), world.step(copy, AHEAD)
        assert all(np.array_equal(one, other, equal_nan=True) for one, other in zip(state, copy, strict=True))
        assert np.array_equal(world.observe(state, goal)["observation"], world.observe(copy, goal)["observation"])


def test_the_scan_has_noise_of_its_own_in_each_step_and_episode():
    world = RacingWorld([SHORT], 1)
    state, goal = world.reset([np.random.default_rng(seed) for seed in range(50)])
    noise = []
    for step in range(20):
        still = state._replace(elapsed=np.full(50, step))
        noise.append(world.observe(still, goal)["observation"][:, RANGES] - world.ranges(state.physics))
    noise = np.stack(noise)
    assert np.std(noise) == pytest.approx(0.01, rel=0.03)
    assert abs(np.mean(noise)) < 2e-4
    rows = noise.reshape(1000, 60)
    likeness = np.corrcoef(rows) - np.eye(1000)
    assert np.abs(likeness).max() < 0.75  # no two scans share their noise
    assert np.std(likeness) == pytest.approx(1 / np.sqrt(60), rel=0.05)


def test_a_collision_terminates_costs_and_stays():
    envs = envs_of(lanes=4)
    _, given = race(lambda observation: np.repeat(AHEAD, 4, axis=0), envs)
    _, terminated, truncated, info = given[-1]
    assert terminated.all()
    assert not truncated.any()
    assert info["collision"].all()
    assert not info["is_success"].any()
    assert np.isinf(info["race_time"]).all()
    ends = [int(np.argmax([step[1][lane] for step in given])) for lane in range(4)]
    for lane, end in enumerate(ends):
        assert given[end][0][lane] < -19.0
        assert given[end - 1][0][lane] > -0.1
        assert all(step[0][lane] == 0.0 and step[1][lane] for step in given[end + 1 :])


def test_what_has_ended_shows_the_same_again_and_goes_on_after_a_reset():
    envs = envs_of(lanes=2)
    observation, _ = envs.reset(seed=3)
    for _ in range(400):
        observation, _, terminated, *_ = envs.step(np.repeat(AHEAD, 2, axis=0))
        if terminated.all():
            break
    observation, *_ = envs.step(-np.repeat(AHEAD, 2, axis=0))
    again, rewards, *_ = envs.step(np.repeat(AHEAD, 2, axis=0))
    assert np.array_equal(observation["observation"], again["observation"])
    assert (rewards == 0.0).all()
    envs.reset(options={"reset_mask": np.array([True, False])})
    _, _, terminated, _, info = envs.step(np.repeat(AHEAD, 2, axis=0))
    assert terminated.tolist() == info["collision"].tolist() == [False, True]
    envs.close()


def test_next_step_autoreset_begins_anew_with_reward_zero():
    envs = TASK.make_envs(1, num_threads=1)
    envs.reset(seed=3)
    terminated = np.array([False])
    while not terminated[0]:
        _, _, terminated, *_ = envs.step(AHEAD)
    observation, rewards, terminated, truncated, info = envs.step(AHEAD)
    assert (rewards[0], terminated[0], truncated[0], info["collision"][0]) == (0.0, False, False, False)
    assert observation["observation"][0, 60] == 0.0
    envs.close()


def test_two_laps_finish_the_race_and_its_time_is_in_the_info():
    seen, given = race(PurePursuit(), envs_of(on_tracks("short", [SHORT]), 6, with_state=True))
    rewards, terminated, truncated, info = given[-1]
    assert info["is_success"].all()
    assert truncated.all()
    assert not terminated.any()
    first, second = info["lap_times"].T
    assert (first > second - first).all()  # the first lap is from a standing start
    assert np.array_equal(info["race_time"], second)
    ends = np.array([np.argmax([step[2][lane] for step in given]) + 1 for lane in range(6)])
    assert ((second <= 0.02 * ends + 1e-9) & (second > 0.02 * (ends - 1) - 1e-9)).all()
    returns = np.sum([step[0] for step in given], axis=0)
    np.testing.assert_allclose(returns, 2 * SHORT.length, atol=0.25)
    assert rewards.shape == (6,)
    assert np.abs(seen[5]["observation"][:, 63:] - given[4][3]["action"]).max() == 0.0


def test_time_alone_truncates_a_car_that_stands():
    envs = envs_of(max_episode_steps=4)
    _, given = race(lambda observation: np.tile([0.0, -1.0], (3, 1)), envs)
    assert len(given) == 4
    assert given[-1][2].all()
    assert not given[-1][3]["is_success"].any()
    np.testing.assert_allclose([step[0] for step in given], 0.0, atol=1e-6)


def test_rewards_lie_in_the_range_that_the_spec_promises():
    info = {"progress": np.array([9.0, 0.1, -9.0]), "collision": np.array([False, False, True])}
    least, most = SPEC.reward_range
    np.testing.assert_allclose(reward_progress(info), [0.5, 0.1, least])
    assert most == 0.5


def test_a_mirrored_track_is_raced_mirrored():
    track = tracks.made_track("larch", tracks.TRAINING["larch"])
    points = track.position[::24]
    widths = track.right[::24], track.left[::24]
    worlds = [
        RacingWorld([track_through("one", points, *widths)], 1),
        RacingWorld([track_through("other", points * (1, -1), *widths[::-1])], 1),
    ]
    (one, goal), (other, _) = (world.reset([np.random.default_rng(0)]) for world in worlds)
    flip = np.array([1, 1, -1, -1, 1, -1, -1, -1, 1, 1.0])
    other = other._replace(physics=one.physics * flip)
    driver = PurePursuit()
    for _ in range(150):
        ranges = [world.ranges(state.physics)[0] for world, state in zip(worlds, (one, other), strict=True)]
        np.testing.assert_allclose(ranges[0], ranges[1][::-1], atol=2e-3)
        seen = worlds[0].observe(one, goal)
        action = driver({**seen, "state": worlds[0].with_map(one.physics)})
        one, other = worlds[0].step(one, action), worlds[1].step(other, action * (-1, 1))
        np.testing.assert_allclose(other.physics, one.physics * flip, atol=1e-6)
    assert one.travelled[0] > 5.0


# --- drivers ---


def test_the_drivers_are_among_the_controllers_and_fit_racing_alone():
    names = {"pure-pursuit", "racing-line", "follow-the-gap", "potential-field"}
    assert {name for name, entry in CONTROLLERS.items() if entry.fits(SPEC)} == {*names, "zero"}
    assert not any(CONTROLLERS[name].fits(TASKS["push"].spec) for name in names)
    assert TASK.default_controller == "pure-pursuit"


@pytest.mark.parametrize("name", DRIVERS)
def test_a_driver_answers_a_batch_like_its_rows_and_writes_into_nothing(name):
    driver = DRIVERS[name]
    seen, _ = race(driver, envs_of(lanes=5, with_state=True), steps=40)
    for observation in seen[::8]:
        kept = {key: value.copy() for key, value in observation.items()}
        together = propose(driver, observation, 2)
        alone = [driver(select(observation, slice(row, row + 1)))[0] for row in range(5)]
        assert np.array_equal(together, alone)
        assert (np.abs(together) <= 1.0).all()
        assert all(np.array_equal(observation[key], kept[key]) for key in kept)


def test_drivers_with_a_map_say_that_they_need_it_and_the_others_do_without():
    seen, _ = race(FollowTheGap(), envs_of(), steps=2)
    for driver in (FollowTheGap(), PotentialField()):
        assert propose(driver, without_state(seen[-1]), 2).shape == (3, 2)
    with pytest.raises(ControllerError, match="with_state=True"):
        propose(PurePursuit(), without_state(seen[-1]), 2)


def test_every_driver_races_two_laps_and_the_racing_line_is_fastest():
    times = {}
    for name, driver in DRIVERS.items():
        _, given = race(driver, envs_of(on_tracks("short", [SHORT]), 4, with_state=True), seed=100)
        info = given[-1][3]
        assert info["is_success"].all(), name
        times[name] = info["race_time"]
    assert (times["racing-line"] < times["pure-pursuit"]).all()
    assert np.mean(times["pure-pursuit"] / times["racing-line"]) > 1.02


def test_the_evaluation_counts_finished_races_as_successes():
    envs = envs_of(on_tracks("short", [SHORT]), 4, with_state=True)
    outcome = roll_out(envs, base_alone(PurePursuit(), Composition(), 2), [0, 1, 2, 3])
    envs.close()
    assert outcome.success.all()
    assert (outcome.returns > 20.0).all()
    assert np.isfinite(outcome.steps_to_success).all()
    np.testing.assert_allclose(outcome.time, 0.02 * outcome.steps_to_success, atol=0.02)
    assert (outcome.time < 0.02 * outcome.steps_to_success).all()  # the finish lies within a step


def test_a_race_that_is_not_finished_is_never_a_fast_one():
    envs = envs_of(on_tracks("short", [SHORT]), 4, with_state=True)
    crashing = Act(lambda observation: (np.repeat(AHEAD, 4, axis=0),) * 2)
    base, policy = (roll_out(envs, act, [0, 1, 2, 3]) for act in (base_alone(PurePursuit(), Composition(), 2), crashing))
    envs.close()
    assert (policy.steps_to_success != policy.steps_to_success).all()
    np.testing.assert_allclose(policy.time, 10 * 2000 * 0.02)
    assert policy.measured("time") < base.measured("time")
    found = compared("racing", "pure-pursuit", base, policy, "time", timing=envs.timing)
    assert found.times is None
    assert not found.better
    assert (found.scenes[0].name, found.scenes[0].broken) == ("short", 4)


def test_the_verdict_is_on_tracks_that_neither_training_nor_selection_shows():
    names = {}
    for purpose in (Purpose.TRAINING, Purpose.SELECTION, Purpose.INTERIM, Purpose.VERDICT, Purpose.CONFIRMATION):
        with closing(judged_in(TASK, purpose).make_envs(1)) as envs:
            names[purpose] = set(envs.timing.scenes)
    assert names[Purpose.INTERIM] == names[Purpose.SELECTION]
    assert names[Purpose.CONFIRMATION] == names[Purpose.VERDICT]
    assert len(names[Purpose.TRAINING] | names[Purpose.SELECTION] | names[Purpose.VERDICT]) == 15


def test_the_map_shows_the_lines_ahead_in_the_cars_frame():
    envs = envs_of(lanes=8, with_state=True)
    observation, _ = envs.reset(seed=0)
    physics, preview = observation["state"][:, :10], observation["state"][:, 10:].reshape(8, 2, 3, 41)
    np.testing.assert_array_equal(physics, envs.state.physics)
    assert envs.single_observation_space["state"].shape == (256,)
    np.testing.assert_allclose(preview[:, 0, 0, 0], 0.0, atol=0.05)  # the centre line begins beside the car
    assert (np.abs(preview[:, 0, 1, 0]) <= 0.21).all()
    gaps = np.hypot(*np.diff(preview[:, 0, :2], axis=2).transpose(1, 0, 2))
    np.testing.assert_allclose(gaps, 0.25, atol=0.06)
    assert (preview[:, 0, 0, 4] > 0.9).all()  # and leads forward
    assert CAR.width / 2 < 0.2
    envs.close()
