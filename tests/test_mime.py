"""The Mime tasks: kinematics, gripper, rules, scripts, and what the depth camera sees."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from playing import random_actions

import residual_rl
from residual_rl.errors import ResidualRLError
from residual_rl.tasks import TASKS, VISUAL
from residual_rl.tasks.camera import backend_name
from residual_rl.tasks.mime.arm import DOWN, START, joints_at, joints_from_start, reaches, tool_pose
from residual_rl.tasks.mime.models import mime_model
from residual_rl.tasks.mime.world import viewpoints

NAMES = ("pick", "bowl", "place-push")
names = pytest.mark.parametrize("name", NAMES)
NO_PICTURES = ""
try:
    backend_name()
except ResidualRLError as error:
    NO_PICTURES = str(error)
seen = pytest.mark.skipif(bool(NO_PICTURES), reason=NO_PICTURES)


def envs_of(name, lanes=3):
    return TASKS[f"{name}-state"].make_envs(lanes, num_threads=1, autoreset_mode=AutoresetMode.DISABLED)


# --- the arm ---


def test_inverse_kinematics_finds_joints_whose_tool_is_there_and_points_down():
    points = np.random.default_rng(0).uniform((0.3, -0.25, 0.02), (0.75, 0.25, 0.3), (100, 3))
    points = points[[reaches(point) for point in points]]
    assert len(points) > 40
    joints = joints_from_start(points)
    at, axes, _ = tool_pose(joints)
    np.testing.assert_allclose(at, points, atol=3e-4)
    np.testing.assert_allclose(axes, np.broadcast_to(DOWN, axes.shape), atol=3e-4)


def test_a_point_out_of_reach_leaves_the_joints_as_they_are():
    joints, found = joints_at(np.array([[1.5, 0.0, 0.2]]), START[None])
    assert not found.any()
    assert np.array_equal(joints, START[None])


def test_the_jacobian_is_the_derivative_of_the_pose():
    joints = START[None] + np.random.default_rng(0).normal(scale=0.3, size=(1, 6))
    jacobian, step = tool_pose(joints)[2][0], 1e-6
    moved = [(tool_pose(joints + step * axis)[0] - tool_pose(joints - step * axis)[0])[0] / (2 * step) for axis in np.eye(6)]
    np.testing.assert_allclose(jacobian[:3], np.transpose(moved), atol=1e-8)


def test_kinematics_and_simulation_agree_on_the_arm():
    mujoco = pytest.importorskip("mujoco")
    model = mime_model("pick")
    data = mujoco.MjData(model)
    for joints in START + np.random.default_rng(0).normal(scale=0.5, size=(5, 6)):
        data.qpos[:6] = joints
        mujoco.mj_kinematics(model, data)
        at, axes, _ = tool_pose(joints[None])
        np.testing.assert_allclose(data.site("tool").xpos, at[0], atol=1e-9)
        np.testing.assert_allclose(data.site("tool").xmat.reshape(3, 3), axes[0], atol=1e-9)


# --- episodes ---


@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
@names
def test_both_of_gymnasiums_interfaces_play_the_same_episodes(name):
    task = TASKS[f"{name}-state"]
    env, envs = gymnasium.make(task.gymnasium_id), gymnasium.make_vec(task.gymnasium_id, num_envs=2)
    check_env(env.unwrapped, skip_render_check=True)
    shown, _ = env.reset(seed=5)
    both, _ = envs.reset(seed=[4, 5])
    for action in random_actions(task, 0)[:6]:
        assert np.array_equal(shown["observation"], both["observation"][1])
        shown, reward, *_ = env.step(action)
        both, rewards, *_ = envs.step(np.stack([action, action]))
        assert reward == rewards[1]
    env.close()
    envs.close()


def test_the_tool_moves_as_commanded_and_stops_at_the_edge_of_its_workspace():
    envs = envs_of("pick", 2)
    shown, _ = envs.reset(seed=0)
    start = shown["observation"][:, 5:8]
    for _ in range(10):
        shown, *_ = envs.step(np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, -1.0, 0.0]]))
    rise = shown["observation"][:, 7] - start[:, 2]
    np.testing.assert_allclose(rise, np.clip([0.075, -0.075], 0.02 - start[:, 2], 0.3 - start[:, 2]), atol=0.009)
    for _ in range(40):
        shown, *_ = envs.step(np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, -1.0, 0.0]]))
    np.testing.assert_allclose(shown["observation"][:, 7], [0.3, 0.02], atol=0.004)
    envs.close()


def test_the_gripper_closes_at_its_rate_and_opens_again():
    envs = envs_of("pick", 1)
    envs.reset(seed=3)
    for _ in range(10):
        envs.step(np.array([[0.0, 0.0, 1.0, 0.0]]))
    shown = [envs.step(np.array([[0.0, 0.0, 0.0, -1.0]]))[0]["observation"][0, 0] for _ in range(35)]
    np.testing.assert_allclose(np.diff(shown[:10]), 0.192 * 2 * 0.1, atol=1e-9)
    assert shown[-1] == pytest.approx(1.04907)
    held = envs.step(np.zeros((1, 4)))[0]["observation"][0]
    assert held[:2].tolist() == [pytest.approx(1.04907), -2.0]
    for _ in range(35):
        shown = envs.step(np.array([[0.0, 0.0, 0.0, 1.0]]))[0]["observation"][0]
    assert shown[:2].tolist() == [0.0, 2.0]
    envs.close()


@names
def test_the_script_solves_its_task(name):
    """500 episodes each: docs/tasks.md."""
    found = residual_rl.evaluate(f"{name}-state", episodes=12, num_threads=1)
    assert found.base.success_rate >= 11 / 12


def test_what_is_held_follows_the_hand_and_falls_when_it_is_let_go():
    envs = envs_of("pick", 1)
    envs.horizon = 1000
    script = residual_rl.controllers.make_controller("script-pick", TASKS["pick-state"].spec)
    script.reset(np.ones(1, dtype=bool))
    shown, _ = envs.reset(seed=1)
    while not envs.state.held[0]:
        shown, *_ = envs.step(script(shown))
    offset = (shown["observation"][:, 8:11] - shown["observation"][:, 5:8])[0]
    for _ in range(6):
        shown, *_ = envs.step(np.array([[0.0, 0.0, 1.0, 0.0]]))
    np.testing.assert_allclose((shown["observation"][:, 8:11] - shown["observation"][:, 5:8])[0], offset, atol=0.006)
    high = shown["observation"][0, 10]
    for _ in range(8):
        shown, *_ = envs.step(np.array([[0.0, 0.0, 0.0, 1.0]]))
    assert not envs.state.held[0]
    assert shown["observation"][0, 10] < high - 0.02
    envs.close()


def test_a_cubes_contacts_have_the_size_of_its_episode():
    envs = envs_of("pick", 8)
    shown, _ = envs.reset(seed=0)
    for _ in range(10):
        shown, *_ = envs.step(np.zeros((8, 4)))
    np.testing.assert_allclose(shown["observation"][:, 10], envs.state.edge / 2, atol=5e-4)
    assert np.ptp(envs.state.edge) > 0.02
    envs.close()


# --- the depth camera ---


@seen
@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is:UserWarning")
@names
def test_a_visual_task_plays_the_episodes_of_the_task_from_state(name):
    task = VISUAL[name]
    env, plain = gymnasium.make(task.gymnasium_id), gymnasium.make(TASKS[task.state_task].gymnasium_id)
    check_env(env.unwrapped, skip_render_check=True)
    shown, info = env.reset(seed=5)
    of_state, _ = plain.reset(seed=5)
    assert shown["image"].shape == (84, 84, 3)
    for action in random_actions(task, 0)[:3]:
        assert np.array_equal(of_state["observation"], info["state"])
        assert np.array_equal(shown["proprioception"], info["state"][:8])
        shown, *_, info = env.step(action)
        of_state, *_ = plain.step(action)
    env.close()
    plain.close()


@seen
def test_depth_is_measured_in_metres_from_the_camera():
    """The middle of the picture is the origin, 1.62 m away, so it is known where a ray meets the table."""
    envs = VISUAL["pick"].make_envs(1, num_threads=1)
    envs.reset(seed=0)
    image = envs.world.camera(84)
    out = np.empty((1, 84, 84, 1), np.uint8)
    envs.world.take(image, envs.state, np.arange(1), out)
    metres = 0.5 + 1.5 * out[0, :, :, 0] / 255
    # A ray `down` degrees below the middle one meets the table where it is as high as the camera above it.
    for row in (70, 80):
        tangent = np.tan(np.radians(30)) * (row + 0.5 - 42) / 42
        height = 1.62 * np.sin(np.radians(28))
        expected = height / (np.sin(np.radians(28)) + tangent * np.cos(np.radians(28)))
        np.testing.assert_allclose(np.median(metres[row]), expected, atol=0.02)
    envs.close()


def test_viewpoints_of_recordings_lie_around_the_fixed_one():
    lenses = viewpoints(np.random.default_rng(0), 200)
    assert all(abs(lens.azimuth - 180) <= 20 and abs(lens.elevation + 28) <= 6 for lens in lenses)
    assert np.ptp([lens.distance for lens in lenses]) > 0.09
