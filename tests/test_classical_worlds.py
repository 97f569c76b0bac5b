"""The worlds of control engineering in the study `proof`: their physics, their controllers, and what these lack."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from residual_rl.studies.worlds import WORLDS, classical, quadrotor, tank
from residual_rl.studies.worlds.imperfections import Weak


def mean_return(env: gymnasium.Env, controller: Any, episodes: int) -> float:
    """Of a function of one observation, from the same starts each time."""
    total = 0.0
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        getattr(controller, "reset", lambda: None)()
        ended = False
        while not ended:
            action = np.clip(controller(observation), env.action_space.low, env.action_space.high)  # type: ignore[attr-defined]
            observation, reward, terminated, truncated, _ = env.step(action.astype(env.action_space.dtype))
            total += float(reward)
            ended = terminated or truncated
    return total / episodes


# ---- the heated tank ----


def test_water_at_the_end_of_the_pipe_shows_the_heat_after_the_pipes_volume_has_flowed() -> None:
    env = tank.HeatedTank()
    env.reset(seed=0)
    env.flow, env.pipe = 0.05, type(env.pipe)([tank.INLET] * 10)  # half a litre at 0.05 l/s: 10 s
    shown = [env.step(np.array([tank.POWER]))[0][1] for _ in range(12)]
    assert shown[:9] == [tank.INLET] * 9
    assert shown[9] > tank.INLET


def test_the_tank_settles_where_the_heater_carries_what_flows_away() -> None:
    env = tank.HeatedTank()
    env.reset(seed=0)
    for _ in range(1500):
        env.step(np.array([2000.0]))
    assert env.temperature == pytest.approx(tank.INLET + 2000.0 / (tank.HEAT * env.flow))


def test_the_thermostat_follows_at_the_largest_flow_and_oscillates_at_the_smallest(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simple_pid")

    def late_error(flow: float) -> float:
        monkeypatch.setattr(tank, "FLOW", (flow, flow))
        env, controller = tank.HeatedTank(), tank.Thermostat()
        observation, _ = env.reset(seed=0)
        errors = []
        for _ in range(tank.CHANGE - 1):
            observation, reward, *_ = env.step(controller(observation))
            errors.append(-reward)
        return float(np.mean(errors[-20:]))

    assert late_error(0.1) < 0.1  # K
    assert late_error(0.03) > 1.0


# ---- the quadrotor ----


def test_a_quadrotor_hovers_under_its_weight_and_falls_without_thrust() -> None:
    env = quadrotor.PlanarQuadrotor()
    env.reset(seed=0)
    env.state[:] = 0.0
    for _ in range(50):
        env.step(np.full(2, quadrotor.MASS * quadrotor.GRAVITY / 2))
    np.testing.assert_allclose(env.state, 0.0, atol=1e-12)
    for _ in range(quadrotor.DELAY + 50):  # the rotors stop late
        env.step(np.zeros(2))
    assert env.state[4] == pytest.approx(-quadrotor.GRAVITY * 50 * quadrotor.STEP)


def test_the_right_rotor_lifts_the_right_side_and_so_pushes_to_the_left() -> None:
    env = quadrotor.PlanarQuadrotor()
    env.reset(seed=0)
    env.state[:] = 0.0
    for _ in range(10):
        env.step(np.array([3.0, 3.2]))
    assert env.state[2] > 0.0
    assert env.state[0] < 0.0


def test_the_regulator_needs_the_mass_and_the_speed_of_the_rotors_for_which_it_was_computed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("control")
    env, regulator = quadrotor.planar_quadrotor(), quadrotor.regulator()
    as_it_is = mean_return(env, regulator, 5)
    monkeypatch.setattr(quadrotor, "DELAY", 0)
    without_delay = mean_return(env, regulator, 5)
    monkeypatch.setattr(quadrotor, "MASS", quadrotor.MODEL_MASS)
    as_computed = mean_return(env, regulator, 5)
    assert as_it_is < without_delay - 10.0 < as_computed - 40.0
    assert as_it_is > -150.0  # it flies all the same: a crash costs 100


# ---- Gymnasium's ----


def test_the_car_reaches_the_top_and_could_do_so_with_less_force() -> None:
    env = WORLDS["mountain-car"].make()
    full, some = mean_return(env, classical.rock, 3), mean_return(env, Weak(classical.rock, 0.6), 3)
    assert 85.0 < full < some - 5.0


def test_the_gains_of_the_double_pendulum_are_those_of_its_regulator() -> None:
    mujoco, control = pytest.importorskip("mujoco"), pytest.importorskip("control")
    world = WORLDS["inverted-double-pendulum"].make().unwrapped
    model: Any = world.model  # type: ignore[attr-defined]
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST  # MuJoCo linearises no Runge-Kutta
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    one, push = np.zeros((6, 6)), np.zeros((6, 1))
    mujoco.mjd_transitionFD(model, data, 1e-6, True, one, push, None, None)
    skip: int = world.frame_skip  # type: ignore[attr-defined]
    powers = [np.linalg.matrix_power(one, times) for times in range(skip + 1)]
    found = control.dlqr(powers[skip], sum(powers[:skip]) @ push, np.diag([1.0, 10.0, 10.0, 0.1, 0.1, 0.1]), np.eye(1))[0]
    np.testing.assert_allclose(found[0], classical.BALANCE, rtol=0.01)


def test_the_double_pendulum_stands_with_all_of_its_gains() -> None:
    pytest.importorskip("mujoco")
    env = WORLDS["inverted-double-pendulum"].make()
    assert mean_return(env, classical.balance, 1) > 9000.0


def test_the_arm_reaches_its_target_better_with_less_damping(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco")
    env = WORLDS["reacher"].make()
    damped = mean_return(env, classical.reach, 20)
    monkeypatch.setattr(classical, "DAMPING", 0.05)
    assert damped < mean_return(env, classical.reach, 20) - 1.0
    assert damped > -12.0  # without any torque it is -11 to -13


# ---- dm_control and panda-gym ----


@pytest.mark.filterwarnings("ignore")  # other people's packages warn of missing displays
def test_the_pole_is_swung_up_in_half_of_the_time() -> None:
    pytest.importorskip("dm_control")
    pytest.importorskip("shimmy")
    from residual_rl.studies.worlds import suite

    try:
        env = suite.cart_pole()
    except AttributeError:
        pytest.skip("this dm-control does not run on this MuJoCo")
    assert 550.0 < mean_return(env, suite.swing_up, 1) < 750.0


@pytest.mark.filterwarnings("ignore")
def test_the_panda_pushes_the_block_to_the_goal_in_some_episodes() -> None:
    pytest.importorskip("panda_gym")
    from residual_rl.studies.worlds import panda

    env = panda.panda_push()
    assert -48.0 < mean_return(env, panda.push, 15) < -35.0
