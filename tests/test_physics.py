"""Batched MuJoCo: what goes in determines what comes out, whatever the batch, the order or the number of threads."""

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residual_rl.tasks.block import BlockWorld, block_model
from residual_rl.tasks.fetch import SUBSTEPS
from residual_rl.tasks.physics import Physics, state_columns
from residual_rl.tasks.variants import PUSH

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS

# All that a state can hold, in one small model: four kinds of joint, a motor, a mocap body, and contacts with the floor.
SMALL = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom type="plane" size="5 5 0.1"/>
    <body name="hand" mocap="true" pos="0 0 2"><site name="hand"/></body>
    <body name="pole" pos="0 0 1">
      <joint name="turn" type="hinge" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 0.3" size="0.02"/>
      <body pos="0 0 0.3">
        <joint name="slide" type="slide" axis="0 0 1" range="-0.1 0.1" limited="true"/>
        <geom type="sphere" size="0.05"/>
        <site name="tip"/>
      </body>
    </body>
    <body name="head" pos="1 1 1"><joint name="neck" type="ball"/><geom type="box" size="0.1 0.2 0.3" pos="0 0 0.1"/></body>
    <body name="box" pos="0.5 0 0.12">
      <joint name="free" type="free"/>
      <geom type="box" size="0.1 0.1 0.1"/>
      <site name="box"/>
    </body>
    <body name="held" pos="0 0 2"><freejoint name="held"/><geom type="sphere" size="0.02"/></body>
  </worldbody>
  <equality><weld body1="hand" body2="held"/></equality>
  <actuator><motor joint="turn"/></actuator>
  <sensor>
    <framepos name="tip" objtype="site" objname="tip"/>
    <framelinvel name="tip_velocity" objtype="site" objname="tip"/>
    <framequat name="box_turn" objtype="site" objname="box"/>
    <jointpos name="angle" joint="turn"/>
  </sensor>
</mujoco>
"""


def small_model():
    return mujoco.MjModel.from_xml_string(SMALL)


MODELS = {"small": (small_model(), 7), "fetch": (block_model(PUSH), SUBSTEPS)}


@pytest.fixture(scope="module")
def engines():
    """One engine for each model and number of threads."""
    made = {(name, threads): Physics(*MODELS[name], threads) for name in MODELS for threads in (1, 2, 3)}
    yield made
    for engine in made.values():
        engine.close()


def some_states(name, batch, seed=0):
    """States and controls that differ from row to row, in motion and, on the floor or the table, in contact."""
    rng = np.random.default_rng(seed)
    model, _ = MODELS[name]
    if name == "fetch":
        world = BlockWorld(PUSH, 1)
        state, _ = world.reset([np.random.default_rng(seed + lane) for lane in range(batch)])
        for _ in range(5):
            state = world.step(state, rng.uniform(-1.0, 1.0, (batch, 4)))
        hand = state.sensors[:, world.arm.physics.sensor_columns("hand_position")]
        world.close()
        states = state.physics
    else:
        data = mujoco.MjData(model)
        states = np.empty((batch, mujoco.mj_stateSize(model, FULL)))
        for row in states:
            mujoco.mj_resetData(model, data)
            data.qvel[:] = rng.normal(size=model.nv)
            mujoco.mj_integratePos(model, data.qpos, rng.normal(scale=0.05, size=model.nv), 1.0)
            mujoco.mj_getState(model, data, row, FULL)
        hand = np.array([0.0, 0.0, 2.0])
    motors = rng.normal(size=(batch, model.nu))
    targets = hand + rng.uniform(-0.05, 0.05, (batch, 3))
    pointing_down = np.repeat([[1.0, 0.0, 1.0, 0.0]], batch, axis=0)
    return states, np.concatenate([motors, targets, pointing_down], axis=1)


def cold_mujoco(name, state, control):
    """The same by hand: one state, plain `mj_step`, a solver that remembers nothing."""
    model, substeps = MODELS[name]
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, state, FULL)
    data.ctrl[:] = control[: model.nu]
    data.mocap_pos[0] = control[model.nu : model.nu + 3]
    data.mocap_quat[0] = control[model.nu + 3 :]
    data.qacc_warmstart[:] = 0.0
    mujoco.mj_step(model, data, substeps)
    after = np.empty_like(state)
    mujoco.mj_getState(model, data, after, FULL)
    return after


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_batch_steps_like_its_rows_one_by_one(engines, name, threads):
    states, controls = some_states(name, 7)
    together = engines[name, threads].step(states, controls)
    alone = [engines[name, 1].step(states[row : row + 1], controls[row : row + 1])[0] for row in range(7)]
    assert not np.array_equal(together, states)
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_batch_is_sensed_like_its_rows_one_by_one(engines, name, threads):
    states, _ = some_states(name, 7)
    together = engines[name, threads].sense(states)
    assert np.array_equal(together, [engines[name, 1].sense(states[row : row + 1])[0] for row in range(7)])


@given(rows=st.lists(st.integers(0, 9), min_size=1, max_size=12), threads=st.sampled_from([1, 2, 3]))
def test_neither_order_nor_company_of_a_row_matters(engines, rows, threads):
    states, controls = some_states("small", 10)
    every = engines["small", 1].step(states, controls)
    assert np.array_equal(engines["small", threads].step(states[rows], controls[rows]), every[rows])


@pytest.mark.parametrize("name", MODELS)
def test_plain_mujoco_started_cold_takes_the_same_steps(engines, name):
    # No tolerance: it is the same library doing the same arithmetic in the same order. What is left out of the
    # stepping model, sensors, feeds nothing back.
    states, controls = some_states(name, 4)
    by_hand = [cold_mujoco(name, state, control) for state, control in zip(states, controls, strict=True)]
    assert np.array_equal(engines[name, 2].step(states, controls), by_hand)


@pytest.mark.parametrize("name", MODELS)
def test_sense_reads_what_mj_forward_computes(engines, name):
    # No tolerance: positions and velocities are computed before contacts and forces, which the reader leaves out.
    states, controls = some_states(name, 4)
    states = engines[name, 1].step(states, controls)
    model, _ = MODELS[name]
    data = mujoco.MjData(model)
    for state, sensed in zip(states, engines[name, 1].sense(states), strict=True):
        mujoco.mj_setState(model, data, state, FULL)
        mujoco.mj_forward(model, data)
        assert np.array_equal(sensed, data.sensordata)


@pytest.mark.parametrize("name", MODELS)
def test_sensor_columns_hold_the_sensor_of_that_name_and_leave_no_gap(engines, name):
    model, _ = MODELS[name]
    engine = engines[name, 1]
    states, _ = some_states(name, 1)
    sensed = engine.sense(states)[0]
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, states[0], FULL)
    mujoco.mj_forward(model, data)
    names = [model.sensor(index).name for index in range(model.nsensor)]
    for sensor in names:
        assert np.array_equal(sensed[engine.sensor_columns(sensor)], data.sensor(sensor).data)
    covered = [column for sensor in names for column in np.arange(model.nsensordata)[engine.sensor_columns(sensor)]]
    assert covered == list(range(model.nsensordata))


@pytest.mark.parametrize("name", MODELS)
def test_stepping_and_sensing_are_pure(engines, name):
    states, controls = some_states(name, 5)
    kept = states.copy(), controls.copy()
    engine = engines[name, 2]
    first, sensed = engine.step(states, controls), engine.sense(states)
    engine.step(*some_states(name, 5, seed=99))  # whatever happens in between
    assert np.array_equal(engine.step(states, controls), first)
    assert np.array_equal(engine.sense(states), sensed)
    assert np.array_equal(states, kept[0])
    assert np.array_equal(controls, kept[1])


def test_results_of_two_calls_share_no_memory(engines):
    engine = engines["small", 1]
    states, controls = some_states("small", 3)
    first, second = engine.step(states, controls), engine.step(states, controls)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(first, states)
    assert not np.shares_memory(engine.sense(states), engine.sense(states))


def test_states_may_lie_scattered_in_memory(engines):
    engine = engines["small", 2]
    states, controls = some_states("small", 6)
    assert np.array_equal(engine.step(states[::2], controls[::2]), engine.step(states, controls)[::2])
    assert np.array_equal(engine.step(np.asfortranarray(states), controls), engine.step(states, controls))


def test_time_advances_by_the_substeps(engines):
    states, controls = some_states("small", 2)
    after = engines["small", 1].step(states, controls)
    # The sum of 7 steps of 5 ms, up to the rounding of seven additions.
    np.testing.assert_allclose(after[:, 0] - states[:, 0], 7 * 0.005, rtol=1e-14)


@pytest.mark.parametrize("joint", ["turn", "slide", "neck", "free", "held"])
def test_state_columns_are_where_mujoco_puts_the_joint(joint):
    model = small_model()
    data = mujoco.MjData(model)
    data.qpos[:] = 1000 + np.arange(model.nq)
    data.qvel[:] = 2000 + np.arange(model.nv)
    state = np.empty(mujoco.mj_stateSize(model, FULL))
    mujoco.mj_getState(model, data, state, FULL)
    position, velocity = state_columns(model, joint)
    assert np.array_equal(state[position], data.joint(joint).qpos)
    assert np.array_equal(state[velocity], data.joint(joint).qvel)


@pytest.fixture
def quiet_mujoco(tmp_path, monkeypatch):
    """MuJoCo writes its complaints to a file in the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("quiet_mujoco")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_that_blows_up_harms_no_other(engines, threads):
    engine = engines["fetch", threads]
    states, controls = some_states("fetch", 5)
    sound = engine.step(states, controls)
    broken = states.copy()
    broken[2, -1] = np.nan
    others = [0, 1, 3, 4]
    assert np.array_equal(engine.step(broken, controls)[others], sound[others])
    assert np.array_equal(engine.step(states, controls), sound)


@pytest.mark.usefixtures("quiet_mujoco")
@pytest.mark.parametrize("velocity", [np.nan, 1e12])
def test_a_row_that_blows_up_shows_it(engines, velocity):
    states, controls = some_states("fetch", 2)
    states[1, -1] = velocity
    assert not np.isfinite(engines["fetch", 1].step(states, controls)[1]).all()
