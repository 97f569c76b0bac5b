"""The Adroit tasks: models, rules, rewards, and both of Gymnasium's interfaces."""

import os
import subprocess
import sys

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from playing import random_actions

from residual_rl.errors import ResidualRLError
from residual_rl.tasks import TASKS, VISUAL, camera
from residual_rl.tasks.adroit.models import PLACED, adroit_model, adroit_picture_model, adroit_spec
from residual_rl.tasks.camera import Camera, backend_name
from residual_rl.tasks.ending import EndingTask
from residual_rl.types import Spec

NAMES = ("door", "hammer", "pen", "relocate")
ADROIT = [name for name, task in TASKS.items() if isinstance(task, EndingTask) and name.split("-")[0] in NAMES]
names = pytest.mark.parametrize("name", NAMES)


def envs_of(name, lanes=3, **fields):
    return TASKS[name].make_envs(lanes, num_threads=1, **{"autoreset_mode": AutoresetMode.DISABLED} | fields)


def state_where(world, lanes=1, **entries):
    """A start of an episode with other joint positions or counts, sensors as of there."""
    state, _ = world.reset([np.random.default_rng(seed) for seed in range(lanes)])
    for joint, position in entries.items():
        state.physics[:, 1 + world.physics.model.joint(joint).qposadr[0]] = position
    control = np.concatenate([np.zeros((lanes, world.spec.action_size)), state.place], axis=1)
    return state._replace(sensors=world.physics.feel(state.physics, control))


@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
@pytest.mark.parametrize("name", ADROIT)
def test_both_of_gymnasiums_interfaces_play_the_same_episodes(name):
    task = TASKS[name]
    env, envs = gymnasium.make(task.gymnasium_id), gymnasium.make_vec(task.gymnasium_id, num_envs=2)
    check_env(env.unwrapped, skip_render_check=True)
    shown, _ = env.reset(seed=5)
    both, _ = envs.reset(seed=[4, 5])
    for action in random_actions(task, 0)[:20]:
        assert np.array_equal(shown["observation"], both["observation"][1])
        shown, of_env, terminated, truncated, info = env.step(action)
        both, rewards, *_, infos = envs.step(np.stack([action, action]))
        assert (of_env, terminated, truncated) == (rewards[1], False, False)
        assert info["dense_reward"] == infos["dense_reward"][1]
        low, high = task.spec.reward_range
        assert low <= of_env <= high
    env.close()
    envs.close()


@names
def test_what_is_left_out_for_speed_has_neither_mass_nor_contacts(name):
    whole, ours = adroit_spec(name).compile(), adroit_model(name)
    assert np.array_equal(whole.body_mass, ours.body_mass)
    assert np.array_equal(whole.body_inertia, ours.body_inertia)
    colliding = [(model.geom_contype | model.geom_conaffinity) != 0 for model in (whole, ours)]
    for field in ("geom_size", "geom_pos", "geom_friction", "geom_solref", "geom_margin"):
        assert np.array_equal(*(getattr(model, field)[rows] for model, rows in zip((whole, ours), colliding, strict=True)))


@names
def test_a_seed_places_the_objects_in_their_ranges(name):
    world = TASKS[f"{name}-state"].make_world(1)
    state, _ = world.reset([np.random.default_rng(seed) for seed in range(200)])
    values, low, high = {
        "door": lambda: (state.place[:, :3], (-0.3, 0.25, 0.252), (-0.2, 0.35, 0.35)),
        "hammer": lambda: (state.place[:, 2:3], (0.1,), (0.25,)),
        "pen": lambda: (world.observe_state(state)[:, 38:39], (np.cos(1.0) ** 2,), (1.0,)),  # height of the direction's tip
        "relocate": lambda: (
            np.hstack([state.place[:, :3], world.read(state.sensors, "Object")[:, :2]]),
            (-0.2, -0.2, 0.15, -0.15, -0.15),
            (0.2, 0.2, 0.35, 0.15, 0.3),
        ),
    }[name]()
    assert (values >= low).all()
    assert (values <= high).all()
    assert (np.ptp(values, axis=0) > 0.8 * (np.array(high) - low)).all()
    world.close()


def test_an_episode_succeeds_with_the_26th_step_at_the_goal_and_ends_there():
    envs = envs_of("door-state", lanes=2)
    envs.reset(seed=0)
    hinge = 1 + envs.world.physics.model.joint("door_hinge").qposadr[0]
    hold = np.zeros((2, 28))
    for step in range(1, 28):
        envs.state.physics[0, hinge] = 1.5  # lane 0 is held open, lane 1 stays shut
        observation, reward, terminated, truncated, info = envs.step(hold)
        assert info["at_goal"].tolist() == [True, False]
        assert terminated.tolist() == info["is_success"].tolist() == [step > 25, False]
        assert reward.tolist() == [float(step == 26), 0.0]
        assert not truncated.any()
    again = envs.step(hold)[0]
    assert np.array_equal(again["observation"][0], observation["observation"][0])  # it has ended
    assert not np.array_equal(again["observation"][1], observation["observation"][1])
    envs.close()


def test_steps_at_the_goal_count_together_also_if_they_are_not_in_a_row():
    world = TASKS["door-state"].make_world(1)
    state = state_where(world, door_hinge=1.5)
    state = state._replace(reached=np.array([25]))
    hinge = 1 + world.physics.model.joint("door_hinge").qposadr[0]
    state.physics[:, hinge] = 0.5
    state = world.step(state, np.zeros((1, 28)))
    assert not world.signals(state)["is_success"]
    state.physics[:, hinge] = 1.5
    assert world.signals(world.step(state, np.zeros((1, 28))))["is_success"]
    world.close()


def test_a_dropped_pen_ends_the_episode_without_success():
    world = TASKS["pen-state"].make_world(1)
    for height, failed in ((0.0, False), (-0.18, True)):
        # The pen lies on its side, so its third slide is along x, and its first along z, downwards.
        signals = world.signals(state_where(world, OBJTx=-height))
        assert signals["terminated"].tolist() == [failed]
        assert signals["is_success"].tolist() == [False]
    world.close()


@pytest.mark.parametrize(("name", "joints"), [("door", ("ARTz",)), ("relocate", ("ARTz",)), ("hammer", ("OBJTy",))])
def test_the_dense_reward_rises_when_the_palm_comes_nearer(name, joints):
    """Published copies of these tasks have the other sign."""
    world = TASKS[f"{name}-state"].make_world(1)
    target = {"door": "S_handle", "relocate": "Object", "hammer": "Object"}[name]
    apart, rewards = [], []
    for position in (-0.03, -0.015, 0.0):  # the hammer's second slide points up; lifting it would be rewarded too
        state = state_where(world, **dict.fromkeys(joints, position))
        apart.append(np.linalg.norm(world.read(state.sensors, "S_grasp") - world.read(state.sensors, target)))
        reward = world.dense_reward(state)[0]
        if name == "hammer":  # its head moves along
            reward += np.linalg.norm(world.read(state.sensors, "tool") - world.read(state.sensors, "S_target"))
        rewards.append(reward)
    order = np.argsort(apart)
    assert np.ptp(apart) > 0.01
    np.testing.assert_allclose(np.diff(np.array(rewards)[order]), -0.1 * np.diff(np.array(apart)[order]), atol=1e-9)
    world.close()


@names
def test_episodes_are_the_same_in_any_company_and_with_threads(name):
    task = TASKS[f"{name}-state"]
    alone, many = envs_of(task.name, 1), task.make_envs(5, num_threads=2, autoreset_mode=AutoresetMode.DISABLED)
    one, _ = alone.reset(seed=[77])
    all_, _ = many.reset(seed=[*range(4), 77])
    for action in random_actions(task, 0)[:30]:
        assert np.array_equal(one["observation"][0], all_["observation"][-1])
        one, *_ = alone.step(action[None])
        all_, *_ = many.step(np.repeat(action[None], 5, axis=0))
    alone.close()
    many.close()


@names
def test_motors_reach_over_their_range(name):
    world = TASKS[f"{name}-state"].make_world(1)
    model, ones = world.physics.model, np.ones((1, world.spec.action_size))
    state, _ = world.reset([np.random.default_rng(0)])
    for end, action in ((1, ones), (0, -ones)):
        assert np.allclose(
            world._control(world._middle + world._half * action, state.place)[0, : model.nu], model.actuator_ctrlrange[:, end]
        )
    world.close()


def test_rewards_differ_between_the_variants_and_nothing_else_does():
    tasks = [TASKS[f"door-state{suffix}"] for suffix in ("", "-time", "-dense")]
    rewards = []
    for task in tasks:
        envs = envs_of(task.name, 2)
        envs.reset(seed=3)
        steps = [envs.step(np.full((2, 28), 0.2)) for _ in range(5)]
        rewards.append([step[1] for step in steps])
        assert task.spec._replace(reward_range=(0, 0)) == Spec(39, 0, 28, 200, (0, 0))
        envs.close()
    assert np.array_equal(rewards[0], np.zeros((5, 2)))
    assert np.array_equal(rewards[1], np.full((5, 2), -1.0))
    assert np.ptp(rewards[2]) > 0


def test_bodies_that_are_placed_stand_still():
    for name in NAMES:
        model = adroit_model(name)
        assert model.body(PLACED[name]).mocapid[0] >= 0
        assert model.opt.timestep == 0.002
        assert isinstance(model, mujoco.MjModel)


# --- seen through a camera ---

NO_PICTURES = ""
try:
    backend_name()
except ResidualRLError as error:
    NO_PICTURES = str(error)
seen = pytest.mark.skipif(bool(NO_PICTURES), reason=NO_PICTURES)


@seen
@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
@names
def test_a_visual_task_plays_the_episodes_of_the_task_from_state(name):
    task = VISUAL[name]
    env, envs = gymnasium.make(task.gymnasium_id), gymnasium.make_vec(task.gymnasium_id, num_envs=2)
    check_env(env.unwrapped, skip_render_check=True)
    plain = gymnasium.make(TASKS[task.state_task].gymnasium_id)
    shown, info = env.reset(seed=5)
    both, infos = envs.reset(seed=[4, 5])
    of_state, _ = plain.reset(seed=5)
    for action in random_actions(task, 0)[:4]:
        assert np.array_equal(of_state["observation"], info["state"])
        assert np.array_equal(info["state"], infos["state"][1])
        assert all(np.array_equal(shown[key], both[key][1]) for key in shown)
        shown, *_, info = env.step(action)
        both, *_, infos = envs.step(np.stack([action, action]))
        of_state, *_ = plain.step(action)
    for one in (env, envs, plain):
        one.close()


@seen
def test_an_image_holds_three_frames_the_oldest_first():
    envs = VISUAL["door"].make_envs(2, num_threads=1, autoreset_mode=AutoresetMode.DISABLED)
    shown, _ = envs.reset(seed=0)
    frames = [shown["image"][..., 6:]]
    assert np.array_equal(shown["image"], np.tile(frames[0], 3))
    for action in random_actions(VISUAL["door"], 0)[:3]:
        before = shown["image"].copy()
        now, *_ = envs.step(np.stack([action, -action]))
        assert np.array_equal(shown["image"], before)  # what was shown stays as it was
        shown = now
        frames.append(shown["image"][..., 6:])
        assert np.array_equal(shown["image"], np.concatenate([frames[max(0, len(frames) - n)] for n in (3, 2, 1)], axis=-1))
    envs.reset(options={"reset_mask": np.array([True, False])})
    after, *_ = envs.step(np.zeros((2, 28)))
    assert np.array_equal(after["image"][0, ..., :3], after["image"][0, ..., 3:6])  # its second frame
    assert np.array_equal(after["image"][1, ..., 3:6], frames[-1][1])
    envs.close()


@seen
def test_what_an_episode_places_is_seen_where_it_is():
    envs = VISUAL["relocate"].make_envs(6, num_threads=1)
    shown, _ = envs.reset(seed=0)
    image = shown["image"][..., 6:].astype(int)
    green = (image[..., 1] > image[..., 0] + 25) & (image[..., 1] > image[..., 2] + 15)
    columns = np.array([np.flatnonzero(one.any(axis=0)).mean() for one in green])
    assert np.corrcoef(columns, envs.state.place[:, 0])[0, 1] > 0.98  # the target, from left to right
    envs.close()


@seen
def test_one_camera_serves_all_environments_of_a_process():
    first, second = (VISUAL["pen"].make_envs(1, num_threads=1) for _ in range(2))
    assert first.eye is second.eye
    first.close()
    second.close()


@seen
def test_a_picture_for_people_shows_what_the_policy_sees_beside_the_scene():
    env = gymnasium.make(VISUAL["hammer"].gymnasium_id, render_mode="rgb_array", size=96)
    shown, _ = env.reset(seed=0)
    picture = env.render()
    assert picture.shape == (480, 960, 3)
    assert np.array_equal(picture[:480:5, :480:5], shown["image"][..., 6:])
    assert np.ptp(picture[:, 480:]) > 100
    env.close()


def test_without_opengl_visual_tasks_say_so_and_tasks_from_state_work():
    script = (
        "import residual_rl, gymnasium\n"
        "from residual_rl.errors import ResidualRLError\n"
        "env = gymnasium.make('residual_rl/DoorState-v0'); env.reset(seed=0); env.action_space.seed(0)\n"
        "env.step(env.action_space.sample())\n"
        "try: residual_rl.VISUAL['door'].make_envs(1)\n"
        "except ResidualRLError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"MUJOCO_GL": "off"}, capture_output=True, text=True, check=True
    )
    assert "MUJOCO_GL=off switches pictures off" in done.stdout


def test_without_its_libraries_the_message_names_what_to_install(monkeypatch):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(camera, "LIBRARIES", {"egl": ("libNothingOfThatName.so",)})
    with pytest.raises(ResidualRLError, match=r"apt-get install libegl1 libgl1-mesa-dri .*door-state, need none"):
        camera.open_gl.__wrapped__()


@seen
def test_a_camera_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ResidualRLError, match=r"no camera 'wrist'; there are: fixed, vil_camera"):
        Camera(adroit_picture_model("door", 32), "wrist", 32)
    with pytest.raises(ResidualRLError, match="8 to 2048 pixels an edge, not 4"):
        VISUAL["door"].make_envs(1, size=4)


PROPRIOCEPTION = {"door": 100, "hammer": 98, "pen": 72, "relocate": 54}


@names
def test_proprioception_has_the_published_entries_and_touch_is_among_them(name):
    world = TASKS[f"{name}-state"].make_world(1)
    state, _ = world.reset([np.random.default_rng(0)])
    assert world.proprioception(state).shape == (1, PROPRIOCEPTION[name])
    touched = state._replace(sensors=state.sensors.copy())
    touched.sensors[:, 30] += 1.0  # one of the fingers
    assert (world.proprioception(touched) != world.proprioception(state)).sum() == 1
    world.close()
